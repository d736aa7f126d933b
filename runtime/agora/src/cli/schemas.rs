//! Every document type of the program, for `agora output-schema`.

use agora_shell::schema::Registry;

use super::call::Answer;
use super::datanet::documents::{Given, ItemList, Made, Said, Written};
use super::documents::{Balance, Deployment, NetworkList, Sent};
use super::factory::documents::{Answered, TrainedDocument};
use super::ledger::{AuditReport, LogBatch};
use super::model::{AdapterDocument, ModelList, Published};
use super::receipt::{Call, Explained, Export, Exported, ReceiptList, Recomputed};
use super::verify::VerdictDocument;
use crate::control::{
    AgentLine, AgentStep, AgentStopped, Agents, ApiKeyRemoved, ApiKeys, DatanetView, Datanets, Earnings,
    EarningsClaimed, Secret, Sellers, Stopping,
};

/// The types that commands write, with the shell's.
pub fn registry() -> Registry {
    Registry::of_shell()
        .with::<crate::demo::DemoReport>()
        .with::<Answer>()
        .with::<Balance>()
        .with::<Sent>()
        .with::<Deployment>()
        .with::<Agents>()
        .with::<AgentLine>()
        .with::<AgentStep>()
        .with::<AgentStopped>()
        .with::<Stopping>()
        .with::<Secret>()
        .with::<Sellers>()
        .with::<ApiKeys>()
        .with::<ApiKeyRemoved>()
        .with::<DatanetView>()
        .with::<Datanets>()
        .with::<ItemList>()
        .with::<Given>()
        .with::<Said>()
        .with::<Made>()
        .with::<Written>()
        .with::<TrainedDocument>()
        .with::<Answered>()
        .with::<Earnings>()
        .with::<EarningsClaimed>()
        .with::<Published>()
        .with::<NetworkList>()
        .with::<ModelList>()
        .with::<AdapterDocument>()
        .with::<ReceiptList>()
        .with::<Call>()
        .with::<Exported>()
        .with::<Export>()
        .with::<VerdictDocument>()
        .with::<Recomputed>()
        .with::<Explained>()
        .with::<AuditReport>()
        .with::<LogBatch>()
}

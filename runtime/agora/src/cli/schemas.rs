//! Every document type of the program, for `agora output-schema`.

use agora_shell::schema::Registry;

use super::call::Answer;
use super::documents::{Balance, Deployment, NetworkList, Sent};
use super::ledger::{AuditReport, LogBatch};
use super::model::{ModelList, Published};
use super::receipt::{Call, Export, Exported, ReceiptList};
use super::verify::VerdictDocument;
use crate::control::{
    AgentLine, AgentStep, AgentStopped, Agents, ApiKeyRemoved, ApiKeys, Earnings, EarningsClaimed, Secret, Sellers,
    Stopping,
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
        .with::<Earnings>()
        .with::<EarningsClaimed>()
        .with::<Published>()
        .with::<NetworkList>()
        .with::<ModelList>()
        .with::<ReceiptList>()
        .with::<Call>()
        .with::<Exported>()
        .with::<Export>()
        .with::<VerdictDocument>()
        .with::<AuditReport>()
        .with::<LogBatch>()
}

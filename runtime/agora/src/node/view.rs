//! What the actors say, in the words of the control protocol.

use agora_actors::agent::record::Status;
use agora_actors::agent::{self, Step};
use agora_attribution::AttributionSpec;
use agora_catalog::Listing;
use agora_economy::ports::ledger::Payment;
use agora_economy::{HeldPayment, PaymentRecord, PendingState};
use agora_inference_api::AdapterInfo;
use agora_types::{Canonical as _, Hash};

use super::engine::Loaded;
use crate::control::{AgentLine, AgentStatus, AgentStep, AgentView, MeasureView, ModelView, Offered, SinglePayment};

pub(super) fn agent(view: agent::AgentView) -> AgentView {
    let record = view.record;
    AgentView {
        name: view.name,
        status: match record.status {
            Status::Running => AgentStatus::Running,
            Status::Suspended => AgentStatus::Suspended,
            Status::Stopped => AgentStatus::Stopped,
        },
        account: record.account,
        owner: record.owner,
        component: record.component,
        budget: view.budget,
        used: view.used,
        balance: view.balance,
        handled: record.handled,
        waiting: view.waiting,
        failures: record.failures,
        failure: record.failure,
    }
}

pub(super) fn line(line: agent::Line) -> AgentLine {
    AgentLine { number: line.number, time: line.time, level: line.level.to_owned(), text: line.text }
}

pub(super) fn offered(listing: &Listing) -> Offered {
    Offered {
        listing: listing.id(),
        name: listing.name.clone(),
        title: listing.title.clone(),
        owner: listing.owner,
        prices: listing.prices,
        base_hash: listing.base_hash,
        adapter_hash: listing.adapter_hash,
        context_max: listing.context_max,
        output_max: listing.output_max,
        hosts: listing.hosts.iter().map(|host| host.account).collect(),
        datanets: listing.datanets.iter().map(|part| (Hash::new(*part.datanet.as_bytes()), part.weight)).collect(),
    }
}

pub(super) fn models(loaded: &Loaded) -> Vec<ModelView> {
    let engine = loaded.engine.as_ref();
    let base = engine.base();
    let first = ModelView {
        name: base.name.clone(),
        hash: base.hash,
        base: None,
        context_max: Some(base.context_max),
        rank: None,
        measure: None,
    };
    let adapters = engine.adapters().into_iter().map(|known| adapter(loaded, known));
    std::iter::once(first).chain(adapters).collect()
}

pub(super) fn adapter(loaded: &Loaded, adapter: AdapterInfo) -> ModelView {
    let measure = |spec: AttributionSpec| {
        let datanets = spec.datanets.iter().map(|datanet| datanet.id).collect();
        MeasureView { spec: spec.hash(), method: spec.method.name().to_owned(), datanets }
    };
    ModelView {
        name: adapter.name,
        hash: adapter.hash,
        base: Some(loaded.engine.base().hash),
        context_max: None,
        rank: Some(adapter.rank),
        measure: loaded.attributor.as_ref().and_then(|known| known.spec_of(&adapter.hash)).map(measure),
    }
}

/// A step for followers; `None` for the last one, whose event's row says more.
pub(super) fn step(step: Step) -> Option<AgentStep> {
    Some(match step {
        Step::Found(names) => AgentStep::Found { names },
        Step::Quoted { name, input_tokens, output_max, charge_max } => {
            AgentStep::Quoted { name, input_tokens, output_max, charge_max }
        }
        Step::Opened { call, authorised } => AgentStep::Opened { call, authorised },
        Step::Text { text, tokens, spent, authorised } => AgentStep::Text { text, tokens, spent, authorised },
        Step::Receipted { call, index, charge } => AgentStep::Receipted { call, index, charge },
        Step::Fetched { host, status, paid } => AgentStep::Fetched { host, status, paid },
        Step::Logged { number, time, level, text } => {
            AgentStep::Logged { line: AgentLine { number, time, level: level.to_owned(), text } }
        }
        Step::Ended(_) => return None,
    })
}

/// A single payment as it is told.
pub(super) fn payment(found: Option<Payment>) -> SinglePayment {
    match found {
        None => SinglePayment::Unknown,
        Some(Payment::Posted(PaymentRecord { payee, amount, settler, seq, digest })) => {
            SinglePayment::Posted { payee, amount, settler, seq, digest }
        }
        Some(Payment::Held(HeldPayment { digest, payee, max, settler, expires_at, state })) => {
            let open = state == PendingState::Open;
            SinglePayment::Held { digest, payee, max, settler, expires_at, open }
        }
    }
}

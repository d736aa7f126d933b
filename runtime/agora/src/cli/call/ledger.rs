//! The ledger as `agora call` needs it, over the control port: one account, single payments, commits.

use std::sync::Arc;

use agora_channels::Channel;
use agora_economy::ports::ledger::{Ledger, LedgerFailure, ListingTerms, Payment, Pending};
use agora_economy::{
    CallRecord, CommitRecord, Distributor, HeldPayment, KeyRecord, OpenCall, PaymentRecord, PendingState,
};
use agora_shell::Failure;
use agora_types::batch::Entry;
use agora_types::eip712::Network;
use agora_types::genesis::{Genesis, Parameters};
use agora_types::key::StatementKey;
use agora_types::{Address, Amount, CallId, Canonical as _, ChannelId, Code, DatanetId, Hash, ListingId};

use crate::control::{Account, Committed, Request, Service, SinglePayment};

/// The ledger behind a service. What no single payment needs is answered as a failure, never as absent.
pub(super) struct RemoteLedger {
    pub(super) service: Arc<dyn Service>,
    pub(super) genesis: Genesis,
}

fn failed(failure: Failure) -> LedgerFailure {
    LedgerFailure { code: failure.code, what: failure.what }
}

fn unasked<T: Send>() -> Pending<'static, T> {
    let what = "this is not asked of a node by a command".to_owned();
    Box::pin(async move { Err(LedgerFailure { code: Code::NodeIo, what }) })
}

impl From<SinglePayment> for Option<Payment> {
    fn from(found: SinglePayment) -> Self {
        match found {
            SinglePayment::Unknown => None,
            SinglePayment::Posted { payee, amount, settler, seq, digest } => {
                Some(Payment::Posted(PaymentRecord { payee, amount, settler, seq, digest }))
            }
            SinglePayment::Held { digest, payee, max, settler, expires_at, open } => {
                let state = if open { PendingState::Open } else { PendingState::Voided };
                Some(Payment::Held(HeldPayment { digest, payee, max, settler, expires_at, state }))
            }
        }
    }
}

impl Ledger for RemoteLedger {
    fn network(&self) -> Network {
        self.genesis.network()
    }

    fn parameters(&self) -> &Parameters {
        &self.genesis.parameters
    }

    fn commit(&self, group: Vec<Entry>) -> Pending<'_, Vec<Result<(), Code>>> {
        Box::pin(async move {
            let entries = group.iter().map(|entry| hex::encode(entry.to_bytes())).collect();
            let committed: Committed = self.service.call(Request::Commit { entries }).await.map_err(failed)?;
            let known = |number| Code::from_number(number).unwrap_or(Code::WireUnsupported);
            Ok(committed.refused.into_iter().map(|refused| refused.map_or(Ok(()), |code| Err(known(code)))).collect())
        })
    }

    fn available(&self, account: Address) -> Pending<'_, Amount> {
        Box::pin(async move {
            let account: Account = self.service.call(Request::Account { address: account }).await.map_err(failed)?;
            Ok(account.available)
        })
    }

    fn payment(&self, payer: Address, nonce: Hash) -> Pending<'_, Option<Payment>> {
        Box::pin(async move {
            let found: SinglePayment = self.service.call(Request::Payment { payer, nonce }).await.map_err(failed)?;
            Ok(found.into())
        })
    }

    fn channel(&self, _: ChannelId) -> Pending<'_, Option<Channel>> {
        unasked()
    }

    fn listing(&self, _: ListingId) -> Pending<'_, Option<ListingTerms>> {
        unasked()
    }

    fn statement_key(&self, _: StatementKey) -> Pending<'_, Option<KeyRecord>> {
        unasked()
    }

    fn call(&self, _: Address, _: CallId) -> Pending<'_, Option<CallRecord>> {
        unasked()
    }

    fn open_call(&self, _: Address, _: CallId) -> Pending<'_, Option<OpenCall>> {
        unasked()
    }

    fn unsettled(&self, _: Address) -> Pending<'_, Amount> {
        unasked()
    }

    fn distributor(&self, _: Address) -> Pending<'_, Option<Distributor>> {
        unasked()
    }

    fn claimed(&self, _: Address, _: Address) -> Pending<'_, Amount> {
        unasked()
    }

    fn commitment(&self, _: DatanetId, _: Address, _: Hash) -> Pending<'_, Option<CommitRecord>> {
        unasked()
    }

    fn receipt(&self, _: u64) -> Pending<'_, Option<Vec<u8>>> {
        unasked()
    }
}

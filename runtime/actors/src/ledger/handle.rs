//! The ledger port over the ledger actor: what the way of a call sees of it.

use std::time::Duration;

use agora_channels::Channel;
use agora_economy::ports::ledger::{Ledger, LedgerFailure, ListingTerms, Payment, Pending};
use agora_economy::ports::log::{Index, LogFault, Row, call_key, payment_key};
use agora_economy::{
    CallRecord, CommitRecord, Distributor, Economy, HeldPayment, KeyRecord, OpenCall, PaymentRecord, Verified,
};
use agora_receipts::receipt::DatanetRef;
use agora_types::batch::{Batch, Entry};
use agora_types::command::PublicKey;
use agora_types::eip712::Network;
use agora_types::genesis::{Genesis, Parameters};
use agora_types::key::StatementKey;
use agora_types::{Address, Amount, CallId, Canonical as _, ChannelId, Code, DatanetId, Hash, ListingId};
use kameo::actor::ActorRef;
use kameo::error::SendError;

use super::actor::{LedgerActor, LedgerError, Look, Submit};
use super::node::LedgerNode;

/// How long an answer may take: a slow disk's commit many times over.
const ANSWER: Duration = Duration::from_secs(30);

/// The ledger of a node, for callers in the same process.
#[derive(Clone)]
pub struct LedgerHandle {
    actor: ActorRef<LedgerActor>,
    network: Network,
    parameters: Parameters,
}

impl LedgerHandle {
    /// Speaks to this actor, which keeps its place over restarts.
    pub fn new(actor: ActorRef<LedgerActor>, genesis: &Genesis) -> Self {
        Self { actor, network: genesis.network(), parameters: genesis.parameters.clone() }
    }

    /// The actor.
    pub fn actor(&self) -> &ActorRef<LedgerActor> {
        &self.actor
    }

    /// Looks at state and log together, as of the newest durable batch.
    ///
    /// # Errors
    /// The actor is starting anew, or too slow.
    pub async fn look<R: Send + 'static>(
        &self,
        look: impl FnOnce(&LedgerNode) -> Result<R, LogFault> + Send + 'static,
    ) -> Result<R, LedgerFailure> {
        self.actor.ask(Look::new(look)).reply_timeout(ANSWER).await.map_err(failure)
    }

    /// Asks a question about the durable state.
    ///
    /// # Errors
    /// As [`LedgerHandle::look`].
    pub async fn query<R: Send + 'static>(
        &self,
        question: impl FnOnce(&Economy) -> R + Send + 'static,
    ) -> Result<R, LedgerFailure> {
        self.look(|node| Ok(question(node.economy()))).await
    }

    /// A value of a permanent index.
    ///
    /// # Errors
    /// As [`LedgerHandle::look`].
    pub async fn lookup(&self, index: Index, key: Vec<u8>) -> Result<Option<Vec<u8>>, LedgerFailure> {
        self.look(move |node| node.store().record(index, &key)).await
    }

    /// Keys and values of a permanent index, from a key on, at most `limit`.
    ///
    /// # Errors
    /// As [`LedgerHandle::look`].
    pub async fn rows(&self, index: Index, from: Vec<u8>, limit: usize) -> Result<Vec<Row>, LedgerFailure> {
        self.look(move |node| node.store().records_from(index, &from, limit)).await
    }

    /// Durable batches from a position on, at most `limit`.
    ///
    /// # Errors
    /// As [`LedgerHandle::look`].
    pub async fn batches(&self, from: u64, limit: usize) -> Result<Vec<Batch>, LedgerFailure> {
        self.look(move |node| node.store().read_from(from, limit)).await
    }

    /// Number of durable batches.
    ///
    /// # Errors
    /// As [`LedgerHandle::look`].
    pub async fn size(&self) -> Result<u64, LedgerFailure> {
        self.look(|node| Ok(node.next_seq())).await
    }
}

/// A payment as its index and the state have it. What was posted is not held any more.
fn payment(posted: Option<Vec<u8>>, held: Option<HeldPayment>) -> Result<Option<Payment>, LedgerFailure> {
    let Some(bytes) = posted else { return Ok(held.map(Payment::Held)) };
    let record = PaymentRecord::from_bytes(&bytes).map_err(|_| damaged("the record of a payment"))?;
    Ok(Some(Payment::Posted(record)))
}

/// What the mailbox or the actor answered, as one failure. Whether a commit happened is not known after any of them.
pub(crate) fn failure<M>(error: SendError<M, LedgerError>) -> LedgerFailure {
    let (code, what) = match error {
        SendError::HandlerError(error) => (error.code(), error.to_string()),
        SendError::MailboxFull(_) => (Code::LedgerBusy, "the ledger's mailbox is full".to_owned()),
        SendError::ActorNotRunning(_) | SendError::ActorStopped | SendError::ActorRestarting(_) => {
            (Code::StoreFailed, "the ledger is being opened again".to_owned())
        }
        SendError::Timeout(_) => (Code::LedgerBusy, "the ledger did not answer in time".to_owned()),
    };
    LedgerFailure { code, what }
}

fn damaged(what: &str) -> LedgerFailure {
    LedgerFailure { code: Code::StoreDamaged, what: what.to_owned() }
}

impl Ledger for LedgerHandle {
    fn network(&self) -> Network {
        self.network
    }

    fn parameters(&self) -> &Parameters {
        &self.parameters
    }

    fn commit(&self, group: Vec<Entry>) -> Pending<'_, Vec<Result<(), Code>>> {
        Box::pin(async move {
            // Signatures are checked here, on the caller's thread: they cost more than the rules.
            let checked: Vec<_> = group.into_iter().map(|entry| Verified::check(&self.network, entry)).collect();
            if checked.iter().any(Result::is_err) {
                let answer = |one: Result<Verified, Code>| one.map_or_else(Err, |_| Err(Code::LinkedFailed));
                return Ok(checked.into_iter().map(answer).collect());
            }
            let group = checked.into_iter().flatten().collect();
            self.actor.ask(Submit(group)).reply_timeout(ANSWER).await.map_err(failure)
        })
    }

    fn available(&self, account: Address) -> Pending<'_, Amount> {
        Box::pin(self.query(move |economy| economy.available(&account)))
    }

    fn channel(&self, channel: ChannelId) -> Pending<'_, Option<Channel>> {
        Box::pin(self.query(move |economy| economy.channel(&channel).cloned()))
    }

    fn listing(&self, listing: ListingId) -> Pending<'_, Option<ListingTerms>> {
        Box::pin(self.query(move |economy| {
            let record = economy.listing(&listing)?.clone();
            let version = |share: &agora_types::command::DatanetShare| {
                let known = economy.datanet(&share.datanet)?;
                Some(DatanetRef { id: share.datanet, root: known.root, tree_size: known.tree_size })
            };
            let datanets = record.datanets.iter().filter_map(version).collect();
            Some(ListingTerms { record, datanets })
        }))
    }

    fn statement_key(&self, key: StatementKey) -> Pending<'_, Option<KeyRecord>> {
        Box::pin(self.query(move |economy| economy.state().keys.get(&PublicKey::Statement(key)).copied()))
    }

    fn call(&self, payer: Address, call: CallId) -> Pending<'_, Option<CallRecord>> {
        Box::pin(async move {
            let bytes = self.lookup(Index::Call, call_key(&payer, &call)).await?;
            let record = bytes.map(|bytes| CallRecord::from_bytes(&bytes)).transpose();
            record.map_err(|_| damaged("the record of a call"))
        })
    }

    fn open_call(&self, payer: Address, call: CallId) -> Pending<'_, Option<OpenCall>> {
        Box::pin(self.query(move |economy| economy.open_call(payer, call).cloned()))
    }

    fn payment(&self, payer: Address, nonce: Hash) -> Pending<'_, Option<Payment>> {
        Box::pin(async move {
            let (payment, _) = self.purse(payer, nonce).await?;
            Ok(payment)
        })
    }

    fn purse(&self, payer: Address, nonce: Hash) -> Pending<'_, (Option<Payment>, Amount)> {
        Box::pin(async move {
            let look = move |node: &LedgerNode| {
                let posted = node.store().record(Index::Payment, &payment_key(&payer, &nonce))?;
                let economy = node.economy();
                Ok((posted, economy.held_payment(payer, nonce), economy.available(&payer)))
            };
            let (posted, held, available) = self.look(look).await?;
            Ok((payment(posted, held)?, available))
        })
    }

    fn unsettled(&self, receiver: Address) -> Pending<'_, Amount> {
        Box::pin(
            self.query(move |economy| economy.state().channels.unsettled.get(&receiver).copied().unwrap_or_default()),
        )
    }

    fn distributor(&self, host: Address) -> Pending<'_, Option<Distributor>> {
        Box::pin(self.query(move |economy| economy.distributor(&host).copied()))
    }

    fn claimed(&self, host: Address, account: Address) -> Pending<'_, Amount> {
        Box::pin(self.query(move |economy| economy.claimed(host, account)))
    }

    fn commitment(&self, datanet: DatanetId, contributor: Address, root: Hash) -> Pending<'_, Option<CommitRecord>> {
        Box::pin(self.query(move |economy| economy.commitment(datanet, contributor, root).copied()))
    }

    fn receipt(&self, index: u64) -> Pending<'_, Option<Vec<u8>>> {
        Box::pin(self.lookup(Index::Receipt, index.to_be_bytes().to_vec()))
    }
}

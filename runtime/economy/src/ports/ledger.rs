//! The ledger as its callers see it: commit signed commands, and read what is durable.

use std::future::Future;
use std::pin::Pin;

use agora_channels::Channel;
use agora_receipts::receipt::DatanetRef;
use agora_types::batch::Entry;
use agora_types::eip712::Network;
use agora_types::genesis::Parameters;
use agora_types::key::StatementKey;
use agora_types::{Address, Amount, CallId, ChannelId, Code, DatanetId, Hash, ListingId};

use crate::{CallRecord, CommitRecord, Distributor, HeldPayment, KeyRecord, ListingRecord, OpenCall, PaymentRecord};

/// An answer that is still on its way.
pub type Pending<'a, T> = Pin<Box<dyn Future<Output = Result<T, LedgerFailure>> + Send + 'a>>;

/// The ledger could not be asked, or nobody knows whether a commit happened: repeat with the same ids.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{code}: {what}; {}", .code.meaning())]
pub struct LedgerFailure {
    /// The stable code.
    pub code: Code,
    /// The world's words.
    pub what: String,
}

/// What a listing's receipts must say, as the ledger has it now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListingTerms {
    /// The registered terms.
    pub record: ListingRecord,
    /// Its datanets' newest versions, in the order of the listing.
    pub datanets: Vec<DatanetRef>,
}

/// A single payment: posted for ever, or held and perhaps released.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Payment {
    /// Money moved.
    Posted(PaymentRecord),
    /// It is held, or was and is remembered.
    Held(HeldPayment),
}

/// The ledger of one network. Callable from many tasks at once.
///
/// Every answer is as of the newest durable batch. `commit` is durable when it answers; a repeat of the same entries gets
/// the first answers. Callers retry; nobody retries inside.
pub trait Ledger: Send + Sync {
    /// Chain id and asset.
    fn network(&self) -> Network;

    /// The governed numbers.
    fn parameters(&self) -> &Parameters;

    /// Commits a group of entries and answers each. Bad signatures are answered with their code and never enter the log.
    fn commit(&self, group: Vec<Entry>) -> Pending<'_, Vec<Result<(), Code>>>;

    /// What an account can spend now.
    fn available(&self, account: Address) -> Pending<'_, Amount>;

    /// A channel.
    fn channel(&self, channel: ChannelId) -> Pending<'_, Option<Channel>>;

    /// A listing's terms.
    fn listing(&self, listing: ListingId) -> Pending<'_, Option<ListingTerms>>;

    /// A registered statement key.
    fn statement_key(&self, key: StatementKey) -> Pending<'_, Option<KeyRecord>>;

    /// What is remembered of a settled call, for ever.
    fn call(&self, payer: Address, call: CallId) -> Pending<'_, Option<CallRecord>>;

    /// A call that waits for its final receipt.
    fn open_call(&self, payer: Address, call: CallId) -> Pending<'_, Option<OpenCall>>;

    /// What became of a single payment; `nonce` is [`Authorization::key`]. `None` for one that was never held, or whose
    /// hold ended unpaid and is forgotten.
    ///
    /// [`Authorization::key`]: agora_types::authorization::Authorization::key
    fn payment(&self, payer: Address, nonce: Hash) -> Pending<'_, Option<Payment>>;

    /// A single payment, and what its payer can spend now: what is asked before a hold.
    fn purse(&self, payer: Address, nonce: Hash) -> Pending<'_, (Option<Payment>, Amount)> {
        Box::pin(async move {
            // The payment first: money that it takes in between is then missing, and the ledger refuses the hold.
            let payment = self.payment(payer, nonce).await?;
            Ok((payment, self.available(payer).await?))
        })
    }

    /// What claims gathered for a receiver and nobody settled yet.
    fn unsettled(&self, receiver: Address) -> Pending<'_, Amount>;

    /// What a host has set aside for contributors whose shares are measured.
    fn distributor(&self, host: Address) -> Pending<'_, Option<Distributor>>;

    /// What an account has claimed of a host's earnings.
    fn claimed(&self, host: Address, account: Address) -> Pending<'_, Amount>;

    /// What an account committed to in a datanet by this root.
    fn commitment(&self, datanet: DatanetId, contributor: Address, root: Hash) -> Pending<'_, Option<CommitRecord>>;

    /// A leaf of the receipt log.
    fn receipt(&self, index: u64) -> Pending<'_, Option<Vec<u8>>>;
}

impl dyn Ledger + '_ {
    /// Commits one entry; the failure and the refusal become one code with words.
    ///
    /// # Errors
    /// The ledger's refusal, or that it could not be asked.
    pub async fn commit_one(&self, entry: Entry) -> Result<(), LedgerFailure> {
        let kind = entry.command.kind_name();
        let answers = self.commit(vec![entry]).await?;
        match answers.first() {
            Some(Ok(())) => Ok(()),
            Some(Err(code)) => Err(LedgerFailure { code: *code, what: format!("the ledger refused `{kind}`") }),
            None => Err(LedgerFailure { code: Code::StoreFailed, what: "the ledger gave no answer".to_owned() }),
        }
    }
}

//! Answers of a node. Amounts are decimal strings of atoms, hashes and addresses 0x-hex.

use agora_types::key::StatementKey;
use agora_types::{Address, Amount, CallId, DatanetId, Hash, ListingId, Prices, Timestamp};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What a node is and has.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Status {
    /// The network's name.
    pub network: String,
    /// Its chain id.
    pub chain_id: u64,
    /// Hash of its genesis file.
    pub genesis: Hash,
    /// True for a network of this machine only, whose money is worth nothing.
    pub dev: bool,
    /// The release that answers.
    pub version: String,
    /// The process; absent when the command opened the folder itself.
    pub pid: Option<u32>,
    /// Milliseconds since the start.
    pub uptime_ms: u64,
    /// Durable batches.
    pub batches: u64,
    /// Leaves of the receipt log.
    pub receipts: u64,
    /// Everything that exists.
    pub supply: Amount,
    /// Registered listings.
    pub listings: u64,
    /// Deployed agents.
    pub agents: u64,
    /// The address of the port that others pay at, if there is one.
    pub http: Option<String>,
    /// The account that this node serves calls with.
    pub host: Address,
    /// The key that signs the host's quotes and receipts.
    pub host_key: StatementKey,
    /// The key under which the receipt log's checkpoints are signed, as a C2SP verifier key.
    pub checkpoint_key: String,
}

/// What became of each entry of a group.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Committed {
    /// `None`: accepted. Else the code's number.
    pub refused: Vec<Option<u16>>,
}

/// An account.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Account {
    /// Whose.
    pub address: Address,
    /// False when nothing was ever booked on it.
    pub exists: bool,
    /// What it holds.
    pub balance: Amount,
    /// What it can spend now: without reservations and what has not vested.
    pub available: Amount,
}

/// What became of a single payment.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "state", rename_all = "snake_case")]
pub enum SinglePayment {
    /// It was never held, or its hold ended unpaid and is forgotten.
    Unknown,
    /// It is held, or was and is remembered.
    Held {
        /// What its payer signed.
        digest: Hash,
        /// Will be paid.
        payee: Address,
        /// Most that may be posted.
        max: Amount,
        /// Who posts or releases it.
        settler: Address,
        /// The hold ends by itself.
        expires_at: Timestamp,
        /// False: it was released.
        open: bool,
    },
    /// Money moved.
    Posted {
        /// Was paid.
        payee: Address,
        /// How much.
        amount: Amount,
        /// Who posted it.
        settler: Address,
        /// The batch in which it was posted.
        seq: u64,
        /// What its payer signed.
        digest: Hash,
    },
}

/// Batches of the log, each the hex of a canonical batch.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct LogPage {
    /// In order.
    pub batches: Vec<String>,
    /// Number of durable batches.
    pub size: u64,
}

/// One leaf of the receipt log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptRow {
    /// Its index.
    pub index: u64,
    /// The hex of the signed receipt's canonical bytes.
    pub leaf: String,
}

/// Receipts.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ReceiptPage {
    /// Newest first.
    pub receipts: Vec<ReceiptRow>,
    /// Leaves of the log.
    pub size: u64,
}

/// What the shares of a measured call follow from.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Measured {
    /// The hex of the canonical `agora/attribution-spec/v1`; absent when its index is not served here any more.
    pub spec: Option<String>,
    /// The hex of the canonical `agora/attribution-evidence/v1`.
    pub evidence: String,
}

/// Where tokens of an answer stand in its text.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Passages {
    /// For each run its first byte and the byte behind its last, whole characters; absent where the node has another
    /// tokenizer.
    pub bytes: Option<Vec<(u64, u64)>>,
}

/// One listing as the directory has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Offered {
    /// Its id.
    pub listing: ListingId,
    /// Its name.
    pub name: String,
    /// One line.
    pub title: String,
    /// Who offers it.
    pub owner: Address,
    /// Atoms per token.
    pub prices: Prices,
    /// SHA-256 of the base model's file.
    pub base_hash: Hash,
    /// The adapter, if any.
    pub adapter_hash: Option<Hash>,
    /// Most tokens of prompt and answer together.
    pub context_max: u64,
    /// Most tokens of an answer.
    pub output_max: u64,
    /// Its hosts' accounts.
    pub hosts: Vec<Address>,
    /// Its datanets, with their weights.
    pub datanets: Vec<(Hash, u32)>,
}

/// Listings.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Listings {
    /// Best first.
    pub listings: Vec<Offered>,
}

/// A model that a node serves.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ModelView {
    /// Its name.
    pub name: String,
    /// SHA-256 of its file, or of the adapter's.
    pub hash: Hash,
    /// The base model's hash, for an adapter.
    pub base: Option<Hash>,
    /// Most tokens of prompt and answer together; absent for an adapter.
    pub context_max: Option<u64>,
    /// Rank; absent for a base model.
    pub rank: Option<u32>,
    /// How its answers are attributed, for an adapter with an attribution index.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub measure: Option<MeasureView>,
}

/// How an adapter's answers are attributed.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct MeasureView {
    /// Hash of the attribution spec.
    pub spec: Hash,
    /// The method.
    pub method: String,
    /// Whose data taught it.
    pub datanets: Vec<DatanetId>,
}

/// Models.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Models {
    /// The base model first, then its adapters.
    pub models: Vec<ModelView>,
}

/// An agent's standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum AgentStatus {
    /// It handles events.
    Running,
    /// It failed too often and waits to be deployed again.
    Suspended,
    /// It was stopped; its money went back to its owner.
    Stopped,
}

/// One agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentView {
    /// Its name.
    pub name: String,
    /// How it stands.
    pub status: AgentStatus,
    /// Its account: what is on it, it can spend.
    pub account: Address,
    /// Who gets back what is left.
    pub owner: Address,
    /// SHA-256 of its component.
    pub component: Hash,
    /// What its manifest allows it to spend in all; zero without a wallet.
    pub budget: Amount,
    /// Spent or set aside of it.
    pub used: Amount,
    /// On its account now.
    pub balance: Amount,
    /// Events handled.
    pub handled: u64,
    /// Events that wait.
    pub waiting: u64,
    /// Failures in a row.
    pub failures: u32,
    /// Why it failed last.
    pub failure: Option<String>,
}

/// Agents.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Agents {
    /// By name.
    pub agents: Vec<AgentView>,
}

/// A deployed agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Deployed {
    /// It.
    pub agent: AgentView,
    /// What its account lacks to cover what is left of its budget: the caller transfers so much.
    pub missing: Amount,
}

/// A line of an agent's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentLine {
    /// Its number.
    pub number: u64,
    /// When.
    pub time: Timestamp,
    /// `debug`, `info`, `warn` or `error`.
    pub level: String,
    /// What.
    pub text: String,
}

/// Lines of an agent's log.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentLogs {
    /// Oldest first.
    pub lines: Vec<AgentLine>,
}

/// A stopped agent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentStopped {
    /// It.
    pub agent: AgentView,
    /// What came back out of channels.
    pub refunded: Amount,
    /// What went back to the owner.
    pub returned: Amount,
    /// Still in channels with sellers over HTTP: it goes back to the owner by itself while a node runs.
    pub waiting: Amount,
    /// When all of that can be had.
    pub until: Option<agora_types::Timestamp>,
}

/// The node is about to stop.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Stopping {
    /// Its process.
    pub pid: u32,
}

/// What an agent does while it handles a message.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(tag = "step", rename_all = "snake_case")]
pub enum AgentStep {
    /// The message is written down and will be handled, once, whatever happens to the node.
    Accepted {
        /// The event's id.
        event: String,
    },
    /// It looked for listings.
    Found {
        /// The names found, best first.
        names: Vec<String>,
    },
    /// A host promised a price.
    Quoted {
        /// The listing's name.
        name: String,
        /// Tokens of the prompt.
        input_tokens: u64,
        /// Most tokens of the answer.
        output_max: u64,
        /// The most it can cost.
        charge_max: Amount,
    },
    /// A paid stream began.
    Opened {
        /// The call.
        call: CallId,
        /// What the first voucher covers.
        authorised: Amount,
    },
    /// More of the model's answer.
    Text {
        /// It.
        text: String,
        /// Tokens so far.
        tokens: u64,
        /// Charged so far.
        spent: Amount,
        /// What the newest voucher covers.
        authorised: Amount,
    },
    /// The call is settled.
    Receipted {
        /// The call.
        call: CallId,
        /// Index of the provisional receipt.
        index: Option<u64>,
        /// What it cost.
        charge: Amount,
    },
    /// A request over HTTP has its end.
    Fetched {
        /// Host and port.
        host: String,
        /// The answer's status; absent when there is no answer.
        status: Option<u16>,
        /// What was paid for it.
        paid: Amount,
    },
    /// The agent wrote a line into its log.
    Logged {
        /// It.
        line: AgentLine,
    },
    /// The agent is done with the message.
    Answered {
        /// What it says.
        answer: AgentAnswer,
    },
}

/// What an agent returned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct AgentAnswer {
    /// The event's id.
    pub event: String,
    /// Its answer, as text.
    pub text: String,
    /// Calls that it paid for.
    pub calls: Vec<CallId>,
    /// What they cost.
    pub spent: Amount,
}

/// A secret that is shown once.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Secret {
    /// For whom.
    pub name: String,
    /// The secret itself.
    pub secret: String,
    /// The account that belongs to it.
    pub account: Address,
}

/// One seller that a facilitator knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct SellerView {
    /// Its name.
    pub name: String,
    /// The account that it is paid to.
    pub receiver: Address,
}

/// Sellers that a facilitator knows.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Sellers {
    /// By name.
    pub sellers: Vec<SellerView>,
}

/// One API key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyView {
    /// Its name.
    pub name: String,
    /// Its account.
    pub account: Address,
    /// What its calls may cost in all.
    pub budget: Amount,
    /// Spent or set aside of it.
    pub used: Amount,
}

/// API keys.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeys {
    /// By name.
    pub keys: Vec<ApiKeyView>,
}

/// An API key that was ended.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct ApiKeyRemoved {
    /// Its name.
    pub name: String,
    /// Back from channels.
    pub refunded: Amount,
    /// Given back in all.
    pub returned: Amount,
}

/// What contributors have earned of a host's measured calls.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct Earnings {
    /// The host.
    pub host: Address,
    /// The newest published epoch; 0 before the first.
    pub epoch: u64,
    /// Set aside by final receipts.
    pub funded: Amount,
    /// Of that, published: can be claimed.
    pub published: Amount,
    /// Of that, paid out.
    pub claimed: Amount,
    /// Accounts with earnings, at most 1,000.
    pub accounts: Vec<EarnedView>,
    /// How many accounts there are.
    pub count: u64,
}

/// What one account has earned.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarnedView {
    /// Who.
    pub account: Address,
    /// Since the first call, as published.
    pub earned: Amount,
    /// Of that, paid out.
    pub claimed: Amount,
}

/// Earnings that were paid.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub struct EarningsClaimed {
    /// Who was paid.
    pub account: Address,
    /// How much, now.
    pub amount: Amount,
    /// Since the first call.
    pub earned: Amount,
    /// The epoch that proves it.
    pub epoch: u64,
}

//! Requests to a node.

use agora_types::{Address, Amount, CallId, Hash};
use serde::{Deserialize, Serialize};

use super::DatanetAsk;

/// One request. Its answer's type stands beside it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "request", rename_all = "kebab-case", deny_unknown_fields)]
pub enum Request {
    /// What the node is and has: [`Status`](super::Status).
    Status,
    /// Commits signed entries, each the hex of a canonical `agora/entry/v1`, as one group:
    /// [`Committed`](super::Committed).
    Commit {
        /// 1 to 16 entries.
        entries: Vec<String>,
    },
    /// An account: [`Account`](super::Account).
    Account {
        /// Whose.
        address: Address,
    },
    /// What became of a single payment: [`SinglePayment`](super::SinglePayment).
    Payment {
        /// Who signed it.
        payer: Address,
        /// Its nonce among all of the payer's; of a Permit2 payment keccak256("permit2" ‖ nonce).
        nonce: Hash,
    },
    /// Batches of the log: [`LogPage`](super::LogPage).
    Batches {
        /// The first position.
        from: u64,
        /// At most 1,000; a page also ends at 8 MiB.
        limit: u32,
    },
    /// Receipts, newest first: [`ReceiptPage`](super::ReceiptPage).
    Receipts {
        /// Only those of this payer.
        payer: Option<Address>,
        /// Below this index; absent: from the newest.
        before: Option<u64>,
        /// At most 1,000.
        limit: u32,
    },
    /// The index of a call's provisional receipt, in a [`ReceiptPage`](super::ReceiptPage) of one row.
    ReceiptOf {
        /// The call.
        call: CallId,
    },
    /// A receipt with its proofs, as the JSON of an `agora/receipt-envelope/v1`.
    Export {
        /// Its index.
        index: u64,
        /// Also reveal question and answer, as far as this node's agents asked them.
        disclose: bool,
    },
    /// What the shares of a measured call follow from, if this node measured it: [`Measured`](super::Measured).
    Evidence {
        /// The index of one of its receipts.
        index: u64,
    },
    /// Where tokens of an answer stand in its text: [`Passages`](super::Passages).
    Passages {
        /// Hash of the tokenizer that counts them.
        tokenizer: Hash,
        /// The answer.
        text: String,
        /// First token and number of tokens; at most 1,024 runs.
        runs: Vec<(u32, u32)>,
    },
    /// Listings that fit the words: [`Listings`](super::Listings).
    Listings {
        /// Empty: all.
        words: String,
        /// At most 256.
        limit: u32,
    },
    /// Announces a signed listing whose registration is on the ledger: [`Listings`](super::Listings) of one.
    Publish {
        /// The hex of a signed `agora/listing/v1`.
        listing: String,
    },
    /// Makes a token for a seller that settles through this node's facilitator: [`Secret`](super::Secret).
    SellerAdd {
        /// Its name.
        name: String,
        /// The account that it is paid to.
        receiver: Address,
    },
    /// All sellers: [`Sellers`](super::Sellers).
    Sellers,
    /// Ends a seller's token: [`Sellers`](super::Sellers) of one.
    SellerRemove {
        /// Its name.
        name: String,
    },
    /// Makes an API key: [`Secret`](super::Secret), with the account that the caller funds.
    ApiKeyAdd {
        /// Its name.
        name: String,
        /// What its calls may cost in all.
        budget: Amount,
    },
    /// All API keys: [`ApiKeys`](super::ApiKeys).
    ApiKeys,
    /// Ends an API key, takes its unspent deposits back and returns its balance: [`ApiKeyRemoved`](super::ApiKeyRemoved).
    ApiKeyRemove {
        /// Its name.
        name: String,
        /// Who gets what is left.
        to: Address,
    },
    /// What contributors have earned of this node's measured calls, by the newest published epoch:
    /// [`Earnings`](super::Earnings).
    Earnings {
        /// Of this account only; absent: of all.
        account: Option<Address>,
    },
    /// Publishes what is earned and not published yet, without waiting for the epoch's end: [`Earnings`](super::Earnings).
    EarningsPublish,
    /// Pays an account what is published and not claimed yet: [`EarningsClaimed`](super::EarningsClaimed).
    EarningsClaim {
        /// Who is paid.
        account: Address,
    },
    /// A question to the keeper of this node's datanets; its answer stands beside it.
    Datanet {
        /// The question.
        ask: DatanetAsk,
    },
    /// Models that this node serves: [`Models`](super::Models).
    Models,
    /// Takes up an adapter of the node's own folder with what measures it, or takes it up anew where its files changed:
    /// [`ModelView`](super::ModelView). Answers that have begun go on.
    AdapterLoad {
        /// Its folder among the network's adapters.
        name: String,
    },
    /// Serves an adapter no longer; its files stay, so that the next start takes it up again:
    /// [`ModelView`](super::ModelView). Answers that have begun go on, and those that wait to be measured are measured.
    AdapterRemove {
        /// Its name.
        name: String,
    },
    /// Deploys an agent, or the next version of one: [`Deployed`](super::Deployed). The agent has an account of its own,
    /// which the caller funds with a transfer.
    AgentDeploy {
        /// `agent.toml`.
        manifest: String,
        /// The component, base64.
        component: String,
        /// Who gets back what is left when the agent stops.
        owner: Address,
    },
    /// All agents: [`Agents`](super::Agents).
    Agents,
    /// Lines of an agent's log: [`AgentLogs`](super::AgentLogs).
    AgentLogs {
        /// Which agent.
        name: String,
        /// After this number; absent: the newest `limit` lines.
        after: Option<u64>,
        /// At most 1,000.
        limit: u32,
    },
    /// Stops an agent, takes its unspent deposits back and returns its balance: [`AgentStopped`](super::AgentStopped).
    AgentStop {
        /// Which agent.
        name: String,
    },
    /// Stops the node; open streams are settled at its next start: [`Stopping`](super::Stopping).
    Shutdown,
}

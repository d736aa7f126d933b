//! All that the ledger knows, and questions to it.

use agora_channels::{Channel, Channels};
use agora_ledger::Ledger;
use agora_types::command::PublicKey;
use agora_types::eip712::Network;
use agora_types::genesis::{Genesis, Parameters};
use agora_types::merkle::Frontier;
use agora_types::table::Table;
use agora_types::{Address, Amount, CallId, ChannelId, Code, DatanetId, Hash, ListingId, Timestamp};
use minicbor::{Decode, Encode};

use crate::calls::OpenCall;
use crate::earnings::Distributor;
use crate::registry::{CommitRecord, DatanetRecord, KeyRecord, ListingRecord};
use crate::root::StateRoot;

/// What the genesis file fixes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rules {
    /// Chain id and asset.
    pub network: Network,
    /// Sequences, submits and pays gas.
    pub operator: Address,
    /// The governed numbers.
    pub parameters: Parameters,
}

/// Every table. Its canonical bytes are a snapshot's content.
#[derive(Debug, Clone, Default, PartialEq, Encode, Decode)]
#[cbor(map)]
pub struct State {
    /// Accounts, ids, pending transfers, grants.
    #[n(0)]
    pub ledger: Ledger,
    /// Channels, nonces, unsettled claims.
    #[n(1)]
    pub channels: Channels,
    /// Registered keys.
    #[n(2)]
    pub keys: Table<PublicKey, KeyRecord>,
    /// How many keys an owner has.
    #[n(3)]
    pub key_counts: Table<Address, u32>,
    /// Listings' money terms.
    #[n(4)]
    pub listings: Table<ListingId, ListingRecord>,
    /// Listings by their accounts.
    #[n(5)]
    pub listing_accounts: Table<Address, ListingId>,
    /// Datanets' newest versions.
    #[n(6)]
    pub datanets: Table<DatanetId, DatanetRecord>,
    /// Calls that wait for their final receipt.
    #[n(7)]
    pub open_calls: Table<(Address, CallId), OpenCall>,
    /// The same calls in the order of their deadlines.
    #[n(8)]
    pub open_calls_due: Table<(Timestamp, Address, CallId), bool>,
    /// How many final receipts a host has missed.
    #[n(9)]
    pub missed_finals: Table<Address, u64>,
    /// The receipt log's right edge.
    #[n(10)]
    pub receipts: Frontier,
    /// Commitments to contributions, by datanet, contributor and root.
    #[n(11)]
    pub commitments: Table<(DatanetId, Address, Hash), CommitRecord>,
    /// What hosts have set aside for contributors, published and paid.
    #[n(12)]
    pub distributors: Table<Address, Distributor>,
    /// What an account has claimed of a host's earnings.
    #[n(13)]
    pub claimed: Table<(Address, Address), Amount>,
}

/// Calls a macro for every table with its number in the state root. Numbers are never reused.
macro_rules! each_table {
    ($state:expr, $each:ident) => {
        $each!(0, $state.ledger.accounts);
        $each!(1, $state.ledger.ids);
        $each!(2, $state.ledger.ids_due);
        $each!(3, $state.ledger.pendings);
        $each!(4, $state.ledger.pendings_due);
        $each!(5, $state.ledger.grants);
        $each!(6, $state.channels.channels);
        $each!(7, $state.channels.nonces);
        $each!(8, $state.channels.nonces_due);
        $each!(9, $state.channels.unsettled);
        $each!(10, $state.keys);
        $each!(11, $state.key_counts);
        $each!(12, $state.listings);
        $each!(13, $state.listing_accounts);
        $each!(14, $state.datanets);
        $each!(15, $state.open_calls);
        $each!(16, $state.open_calls_due);
        $each!(17, $state.missed_finals);
        $each!(18, $state.commitments);
        $each!(19, $state.distributors);
        $each!(20, $state.claimed);
    };
}

/// The receipt log's right edge stands in the state root as a table of one row.
const RECEIPTS: u8 = u8::MAX;

/// Where [`State::roll_back`] may return to.
#[derive(Debug, Clone)]
pub(crate) struct Mark {
    tables: Vec<usize>,
    receipts: Frontier,
}

impl State {
    /// The point to which changes can be taken back.
    pub(crate) fn mark(&self) -> Mark {
        let mut tables = Vec::with_capacity(21);
        macro_rules! mark {
            ($number:literal, $table:expr) => {
                tables.push($table.mark());
            };
        }
        each_table!(self, mark);
        Mark { tables, receipts: self.receipts.clone() }
    }

    /// Takes back every change since `mark`.
    pub(crate) fn roll_back(&mut self, mark: &Mark) {
        macro_rules! roll_back {
            ($number:literal, $table:expr) => {
                $table.roll_back(mark.tables[$number]);
            };
        }
        each_table!(self, roll_back);
        self.receipts = mark.receipts.clone();
    }

    /// Changes so far can no longer be taken back.
    pub(crate) fn settle(&mut self) {
        macro_rules! settle {
            ($number:literal, $table:expr) => {
                $table.settle();
            };
        }
        each_table!(self, settle);
    }

    /// Rows of all tables: how long it takes to look at everything.
    pub(crate) fn rows(&self) -> usize {
        let mut rows = 0;
        macro_rules! count {
            ($number:literal, $table:expr) => {
                rows += $table.len();
            };
        }
        each_table!(self, count);
        rows
    }

    /// True when tables that name each other's rows agree, and no channel holds less than nothing. State that was
    /// built by commands always does; state that was read from bytes must show it before anything else is asked of it.
    pub(crate) fn is_whole(&self) -> bool {
        let Ledger { ids, ids_due, pendings, pendings_due, .. } = &self.ledger;
        let Channels { channels, nonces, nonces_due, .. } = &self.channels;
        let (calls, calls_due) = (&self.open_calls, &self.open_calls_due);
        let account = |address| self.ledger.accounts.get(address).is_some();
        ids.len() == ids_due.len()
            && ids_due.iter().all(|((_, signer, id), _)| ids.get(&(*signer, *id)).is_some())
            && pendings.len() == pendings_due.len()
            && pendings_due.iter().all(|((_, signer, id), _)| pendings.get(&(*signer, *id)).is_some())
            && pendings.iter().all(|(_, pending)| account(&pending.debit) && account(&pending.credit))
            && nonces.len() == nonces_due.len()
            && nonces_due.iter().all(|((_, payer, nonce), _)| nonces.get(&(*payer, *nonce)).is_some())
            && calls.len() == calls_due.len()
            && calls_due
                .iter()
                .all(|((due, payer, call), _)| calls.get(&(*payer, *call)).is_some_and(|open| open.deadline == *due))
            && self.listing_accounts.iter().all(|(_, listing)| self.listings.get(listing).is_some())
            && channels.iter().all(|(_, channel)| {
                let balance = channel.deposited.checked_sub(channel.refunded);
                balance.is_some_and(|balance| channel.total_claimed <= balance)
            })
            && self.distributors.iter().all(|(_, distributor)| distributor.is_whole())
            && self.receipts.is_whole()
    }

    /// Brings the state root up to date with every change since the last call.
    pub(crate) fn update_root(&mut self, root: &mut StateRoot) {
        macro_rules! update {
            ($number:literal, $table:expr) => {
                for (key, value) in $table.take_dirty() {
                    root.set($number, &agora_types::cbor::encode(&key), value.map(|v| agora_types::cbor::encode(&v)));
                }
            };
        }
        each_table!(self, update);
        root.set(RECEIPTS, &[], Some(agora_types::cbor::encode(&self.receipts)));
    }
}

/// The state machine: rules and state.
#[derive(Debug, Clone, PartialEq)]
pub struct Economy {
    pub(crate) rules: Rules,
    pub(crate) state: State,
}

impl Economy {
    /// The economy before its first batch.
    ///
    /// # Errors
    /// `ledger.genesis_invalid`.
    pub fn new(genesis: &Genesis) -> Result<Self, Code> {
        let ledger = Ledger::genesis(genesis)?;
        let mut state = State { ledger, ..State::default() };
        state.settle();
        Ok(Self { rules: Rules::of(genesis), state })
    }

    /// The rules.
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// The tables.
    pub fn state(&self) -> &State {
        &self.state
    }

    /// What an account may spend.
    pub fn available(&self, account: &Address) -> Amount {
        self.state.ledger.available(account)
    }

    /// A channel's record.
    pub fn channel(&self, channel: &ChannelId) -> Option<&Channel> {
        self.state.channels.channels.get(channel)
    }

    /// A listing's money terms.
    pub fn listing(&self, listing: &ListingId) -> Option<&ListingRecord> {
        self.state.listings.get(listing)
    }

    /// A datanet's newest version.
    pub fn datanet(&self, datanet: &DatanetId) -> Option<&DatanetRecord> {
        self.state.datanets.get(datanet)
    }

    /// A contributor's commitment to a root in a datanet.
    pub fn commitment(&self, datanet: DatanetId, contributor: Address, root: Hash) -> Option<&CommitRecord> {
        self.state.commitments.get(&(datanet, contributor, root))
    }

    /// What a host has set aside for contributors.
    pub fn distributor(&self, host: &Address) -> Option<&Distributor> {
        self.state.distributors.get(host)
    }

    /// What an account has claimed of a host's earnings.
    pub fn claimed(&self, host: Address, account: Address) -> Amount {
        self.state.claimed.get(&(host, account)).copied().unwrap_or_default()
    }

    /// A call that waits for its final receipt.
    pub fn open_call(&self, payer: Address, call: CallId) -> Option<&OpenCall> {
        self.state.open_calls.get(&(payer, call))
    }
}

impl Rules {
    pub(crate) fn of(genesis: &Genesis) -> Self {
        Self { network: genesis.network(), operator: genesis.operator, parameters: genesis.parameters.clone() }
    }
}

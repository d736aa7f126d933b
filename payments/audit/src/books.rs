//! The auditor's own books: one balance per account, and plain lists of what is reserved, escrowed and suspended.

use std::collections::{BTreeMap, BTreeSet};

use agora_types::authorization::Authorization;
use agora_types::batch::Entry;
use agora_types::channel::ChannelConfig;
use agora_types::command::{
    Command, Head, Hold, KeyKind, Pending, PostTransfer, PublicKey, RegisterDatanet, RegisterListing, ReleaseVested,
    Transfer, VoidTransfer,
};
use agora_types::eip712::{self, Network};
use agora_types::genesis::{Genesis, Parameters, Vesting};
use agora_types::{Address, CAP, CallId, ChannelId, CommandId, DatanetId, Hash, ListingId, Timestamp};

use crate::calls::Call;
use crate::earnings::{Distributor, earnings};

pub(crate) fn escrow() -> Address {
    Address::system("escrow")
}

pub(crate) fn unsettled() -> Address {
    Address::system("unsettled")
}

pub(crate) fn suspense() -> Address {
    Address::system("suspense")
}

pub(crate) fn commons() -> Address {
    Address::system("commons")
}

/// A reservation that is open.
#[derive(Debug)]
pub(crate) struct Reserved {
    pub(crate) credit: Address,
    pub(crate) atoms: u128,
    pub(crate) settler: Address,
    /// Of an authorization, which may cost nothing.
    is_single: bool,
    expires_at: Timestamp,
}

/// What was paid into a channel, given back, and claimed.
#[derive(Debug)]
pub(crate) struct Channel {
    pub(crate) config: ChannelConfig,
    pub(crate) deposited: u128,
    pub(crate) refunded: u128,
    pub(crate) claimed: u128,
    pub(crate) refunds: Vec<Hash>,
    pub(crate) withdrawing_since: Option<Timestamp>,
}

impl Channel {
    pub(crate) fn left(&self) -> Result<u128, String> {
        let out = self.refunded.checked_add(self.claimed).ok_or("a channel's total overflows")?;
        self.deposited.checked_sub(out).ok_or_else(|| "a channel paid out more than was deposited".to_owned())
    }
}

#[derive(Debug)]
pub(crate) struct Key {
    pub(crate) owner: Address,
    pub(crate) kind: KeyKind,
    pub(crate) valid_until: Timestamp,
    pub(crate) revoked: bool,
}

#[derive(Debug)]
struct Grant {
    account: Address,
    atoms: u128,
    released: u128,
    vesting: Vesting,
}

/// Everything the auditor remembers.
#[derive(Debug)]
pub(crate) struct Books {
    pub(crate) network: Network,
    pub(crate) parameters: Parameters,
    operator: Address,
    pub(crate) now: Timestamp,
    pub(crate) supply: u128,
    pub(crate) balances: BTreeMap<Address, u128>,
    reserved: BTreeMap<(Address, CommandId), Reserved>,
    /// Reservations that were posted: an authorization pays once.
    paid: BTreeSet<(Address, CommandId)>,
    done: BTreeMap<(Address, CommandId), Hash>,
    pub(crate) channels: BTreeMap<ChannelId, Channel>,
    pub(crate) nonces: BTreeMap<(Address, Hash), Hash>,
    pub(crate) unsettled: BTreeMap<Address, u128>,
    pub(crate) keys: BTreeMap<PublicKey, Key>,
    pub(crate) listings: BTreeMap<ListingId, RegisterListing>,
    pub(crate) listing_accounts: BTreeSet<Address>,
    pub(crate) datanets: BTreeMap<DatanetId, RegisterDatanet>,
    /// Roots that contributors committed to.
    pub(crate) commitments: BTreeSet<(DatanetId, Address, Hash)>,
    pub(crate) distributors: BTreeMap<Address, Distributor>,
    /// What an account was paid out of a host's earnings.
    pub(crate) claimed: BTreeMap<(Address, Address), u128>,
    pub(crate) calls: BTreeMap<(Address, CallId), Call>,
    pub(crate) deadlines: BTreeSet<(Timestamp, Address, CallId)>,
    grants: BTreeMap<u32, Grant>,
    pub(crate) receipts: u64,
    pub(crate) new_leaves: Vec<Hash>,
}

impl Books {
    pub(crate) fn new(genesis: &Genesis) -> Result<Self, String> {
        let mut books = Self {
            network: genesis.network(),
            parameters: genesis.parameters.clone(),
            operator: genesis.operator,
            now: genesis.time,
            supply: 0,
            balances: BTreeMap::new(),
            reserved: BTreeMap::new(),
            paid: BTreeSet::new(),
            done: BTreeMap::new(),
            channels: BTreeMap::new(),
            nonces: BTreeMap::new(),
            unsettled: BTreeMap::new(),
            keys: BTreeMap::new(),
            listings: BTreeMap::new(),
            listing_accounts: BTreeSet::new(),
            datanets: BTreeMap::new(),
            commitments: BTreeSet::new(),
            distributors: BTreeMap::new(),
            claimed: BTreeMap::new(),
            calls: BTreeMap::new(),
            deadlines: BTreeSet::new(),
            grants: BTreeMap::new(),
            receipts: 0,
            new_leaves: Vec::new(),
        };
        for (index, allocation) in (0u32..).zip(&genesis.allocations) {
            let atoms = allocation.amount.atoms();
            books.supply = books.supply.checked_add(atoms).ok_or("the supply overflows")?;
            let account = match allocation.vesting {
                None => allocation.account,
                Some(vesting) => {
                    books.grants.insert(index, Grant { account: allocation.account, atoms, released: 0, vesting });
                    Address::system("vesting")
                }
            };
            *books.balances.entry(account).or_default() += atoms;
        }
        if books.supply > CAP.atoms() { Err("more was issued than can exist".to_owned()) } else { Ok(books) }
    }

    pub(crate) fn balance(&self, account: &Address) -> u128 {
        self.balances.get(account).copied().unwrap_or(0)
    }

    fn reserved_of(&self, account: &Address) -> u128 {
        let own = self.reserved.range((*account, CommandId::ZERO)..=(*account, CommandId::new([255; 16])));
        own.map(|(_, reserved)| reserved.atoms).sum()
    }

    pub(crate) fn reserved_total(&self) -> u128 {
        self.reserved.values().map(|reserved| reserved.atoms).sum()
    }

    /// Moves atoms that are there and not reserved.
    pub(crate) fn pay(&mut self, from: &Address, to: &Address, atoms: u128) -> Result<(), String> {
        let free = self.balance(from).checked_sub(self.reserved_of(from)).ok_or("more is reserved than is there")?;
        if atoms > free {
            return Err(format!("{from} paid {atoms} atoms and had {free}"));
        }
        *self.balances.entry(*from).or_default() -= atoms;
        *self.balances.entry(*to).or_default() += atoms;
        Ok(())
    }

    /// Lets reservations and suspended parts run out.
    pub(crate) fn pass_time(&mut self, now: Timestamp) -> Result<(), String> {
        self.now = now;
        self.reserved.retain(|_, reserved| reserved.expires_at > now);
        self.lapse()
    }

    /// Gas is paid by who submits, accepted or refused, when there is enough.
    pub(crate) fn gas(&mut self, entry: &Entry) {
        let units = u128::from(self.parameters.gas_table[usize::from(entry.command.kind())]);
        let Some(price) = self.parameters.gas_price.atoms().checked_mul(units) else { return };
        let (payer, most) = match &entry.submitter {
            None => (self.operator, u128::MAX),
            Some(submitter) => (submitter.account, submitter.gas_max.atoms()),
        };
        if price > 0 && price <= most {
            // Without enough, the entry was refused for it: nothing is paid.
            let _ = self.pay(&payer, &Address::system("gas"), price);
        }
    }

    /// True when the id was spent by the very same command: a repeat, which moves nothing.
    fn repeat(&mut self, head: &Head, digest: Hash) -> Result<bool, String> {
        let key = (head.signer, head.id);
        if self.done.get(&key) == Some(&digest) {
            return Ok(true);
        }
        if head.expires_at <= self.now {
            return Err("a command was accepted after its expiry".to_owned());
        }
        self.done.insert(key, digest);
        Ok(false)
    }

    /// An accepted command: it must have been allowed, and moves what it says.
    pub(crate) fn accepted(&mut self, entry: &Entry) -> Result<(), String> {
        let digest = eip712::command_digest(&self.network, &entry.command);
        if self.known_call(&entry.command)? {
            return Ok(());
        }
        if let Some(head) = entry.command.head()
            && self.repeat(head, digest)?
        {
            return Ok(());
        }
        match &entry.command {
            Command::Transfer(command) => self.transfer(command),
            Command::PostTransfer(command) => self.post(command),
            Command::VoidTransfer(command) => self.void(command),
            Command::RegisterKey(command) => self.register_key(command),
            Command::RevokeKey(command) => self.revoke_key(command),
            Command::Deposit(command) => self.deposit(command, digest),
            Command::Claim(command) => self.claim(command),
            Command::Settle(command) => self.settle(command),
            Command::Refund(command) => self.refund(command, digest),
            Command::WithdrawStart(command) => self.withdraw_start(command),
            Command::WithdrawFinish(command) => self.withdraw_finish(command),
            Command::RegisterListing(command) => self.register_listing(command),
            Command::RegisterDatanet(command) => self.register_datanet(command),
            Command::SettleCall(command) => self.settle_call(command),
            Command::FinalizeCall(command) => self.finalize_call(command),
            Command::ReleaseVested(command) => self.release(command),
            Command::Hold(command) => self.hold(command),
            Command::SettleHeld(command) => self.settle_held(command),
            Command::CommitData(command) => self.commit_data(command),
            Command::PublishEarnings(command) => self.publish_earnings(command),
            Command::ClaimEarnings(command) => self.claim_earnings(command),
        }
    }

    /// True for accounts that nobody has a key for.
    pub(crate) fn is_keyless(&self, account: &Address) -> bool {
        const NAMES: [&str; 10] = [
            "issuance",
            "escrow",
            "unsettled",
            "suspense",
            "commons",
            "validators",
            "platform",
            "gas",
            "vesting",
            "earnings",
        ];
        NAMES.iter().any(|name| Address::system(name) == *account) || self.listing_accounts.contains(account)
    }

    fn transfer(&mut self, command: &Transfer) -> Result<(), String> {
        let (from, to, atoms) = (command.head.signer, command.credit, command.amount.atoms());
        if from == to || atoms == 0 || self.is_keyless(&to) {
            return Err("a transfer that no rule allows".to_owned());
        }
        if command.receipt.is_some_and(|index| index >= self.receipts) {
            return Err("a transfer names a receipt that does not exist".to_owned());
        }
        match command.pending {
            None => self.pay(&from, &to, atoms),
            Some(pending) => self.reserve((from, command.head.id), to, atoms, pending, false),
        }
    }

    fn reserve(
        &mut self,
        key: (Address, CommandId),
        to: Address,
        atoms: u128,
        by: Pending,
        is_single: bool,
    ) -> Result<(), String> {
        let free = self.balance(&key.0).saturating_sub(self.reserved_of(&key.0));
        if atoms == 0 || atoms > free {
            return Err(format!("{} reserved {atoms} atoms and had {free}", key.0));
        }
        let expires_at = self.now.plus_secs(u64::from(by.timeout_s));
        let reserved = Reserved { credit: to, atoms, settler: by.settler, is_single, expires_at };
        match self.reserved.insert(key, reserved) {
            None => Ok(()),
            Some(_) => Err("a reservation was made twice".to_owned()),
        }
    }

    /// A single payment is held: once, in its time, by whom the payer or the payee allows.
    fn hold(&mut self, command: &Hold) -> Result<(), String> {
        let authorization = &command.authorization;
        let (payer, payee, settler) = (authorization.payer(), authorization.payee(), command.head.signer);
        let (after, before) = authorization.window();
        let seconds = self.now.as_secs();
        if after > seconds || before <= seconds {
            return Err("a payment was held outside of its authorization's time".to_owned());
        }
        let allowed = match authorization {
            Authorization::Upto(upto) => upto.facilitator == settler,
            Authorization::Exact(_) => {
                let serves = |listing: &RegisterListing| {
                    Address::listing(&listing.listing()) == payee && listing.hosts.contains(&settler)
                };
                payee == settler || self.operator == settler || self.listings.values().any(serves)
            }
        };
        if !allowed {
            return Err("a payment was held by one who may not".to_owned());
        }
        let digest = authorization.digest(&self.network);
        let id = authorization.pending_id(&self.network);
        let nonce = (payer, authorization.key());
        if self.nonces.insert(nonce, digest).is_some_and(|before| before != digest) || self.paid.contains(&(payer, id))
        {
            return Err("a payment was held whose nonce was used".to_owned());
        }
        let by = Pending { timeout_s: command.timeout_s, settler };
        self.reserve((payer, id), payee, authorization.max().atoms(), by, true)
    }

    /// Takes a reservation out to be paid, once for ever.
    pub(crate) fn take_reserved(
        &mut self,
        key: (Address, CommandId),
        settler: Address,
        atoms: u128,
    ) -> Result<Reserved, String> {
        let reserved = self.reserved.remove(&key).ok_or("a reservation was posted that was not open")?;
        if reserved.settler != settler || atoms > reserved.atoms {
            return Err("a reservation was posted by another, or above its amount".to_owned());
        }
        self.paid.insert(key);
        Ok(reserved)
    }

    fn post(&mut self, command: &PostTransfer) -> Result<(), String> {
        let key = (command.pending_signer, command.pending_id);
        let atoms = command.amount.atoms();
        let reserved = self.take_reserved(key, command.head.signer, atoms)?;
        if (atoms == 0 && !reserved.is_single) || self.listing_accounts.contains(&reserved.credit) {
            return Err("a reservation was posted without an amount, or round attribution".to_owned());
        }
        self.pay(&key.0, &reserved.credit, atoms)
    }

    fn void(&mut self, command: &VoidTransfer) -> Result<(), String> {
        let key = (command.pending_signer, command.pending_id);
        let reserved = self.reserved.remove(&key).ok_or("a reservation was voided that was not open")?;
        if reserved.settler == command.head.signer {
            Ok(())
        } else {
            Err("a reservation was voided by another".to_owned())
        }
    }

    fn release(&mut self, command: &ReleaseVested) -> Result<(), String> {
        let now = self.now;
        let grant = self.grants.get_mut(&command.allocation).ok_or("no such vesting allocation")?;
        if grant.account != command.head.signer {
            return Err("a vesting allocation was released by another".to_owned());
        }
        let cliff = grant.vesting.start.plus_secs(grant.vesting.cliff_s);
        let vested = if now < cliff {
            0
        } else {
            let elapsed = (now.as_nanos() - cliff.as_nanos()) / 1_000_000_000;
            if elapsed >= grant.vesting.linear_s {
                grant.atoms
            } else {
                // Long division of atoms * elapsed by the span, one bit of elapsed at a time: never above 2^128.
                scaled(grant.atoms, elapsed, grant.vesting.linear_s)
            }
        };
        let due = vested.checked_sub(grant.released).filter(|due| *due > 0).ok_or("nothing had vested")?;
        grant.released = vested;
        let account = grant.account;
        self.pay(&Address::system("vesting"), &account, due)
    }

    /// Nothing was created or lost, and what waits is covered to the atom.
    pub(crate) fn conserved(&self) -> Result<(), String> {
        let sum = self.balances.values().try_fold(0u128, |sum, atoms| sum.checked_add(*atoms));
        if sum != Some(self.supply) {
            return Err("the balances do not sum to the supply".to_owned());
        }
        let mut left = 0u128;
        for channel in self.channels.values() {
            left += channel.left()?;
        }
        let covered = |what: &str, account: Address, atoms: u128| {
            let there = self.balance(&account);
            if there == atoms { Ok(()) } else { Err(format!("{what}: {there} atoms are held for {atoms}")) }
        };
        covered("channels", escrow(), left)?;
        covered("unsettled claims", unsettled(), self.unsettled.values().sum())?;
        covered("earnings", earnings(), self.unclaimed()?)?;
        covered("contributor parts", suspense(), self.suspended())?;
        let unvested = self.grants.values().map(|grant| grant.atoms - grant.released).sum();
        covered("vesting", Address::system("vesting"), unvested)
    }
}

/// `floor(atoms * part / whole)` for `part < whole`, exactly, without a product above 2^128.
fn scaled(atoms: u128, part: u64, whole: u64) -> u128 {
    let (part, whole) = (u128::from(part), u128::from(whole));
    let (mut quotient, mut rest) = (0u128, 0u128);
    for bit in (0..128).rev() {
        // quotient * whole + rest = (the higher bits of atoms) * part, doubled, plus this bit's share.
        quotient *= 2;
        rest *= 2;
        if atoms >> bit & 1 == 1 {
            rest += part;
        }
        quotient += rest / whole;
        rest %= whole;
    }
    quotient
}

#[cfg(test)]
mod tests {
    use super::scaled;

    #[test]
    fn shares_of_time_are_exact() {
        assert_eq!(scaled(1_000, 3, 10), 300);
        assert_eq!(scaled(1_000, 1, 3), 333);
        assert_eq!(scaled(10u128.pow(27), u64::MAX - 1, u64::MAX), 10u128.pow(27) - 54_210_109);
        assert_eq!(scaled(7, 0, 9), 0);
    }
}

//! Long random histories against a naive recount: every answer and every balance must be what the recount says, and a
//! second machine that replays the log must end with the very same bytes.
//!
//! `AGORA_SEED=<number>` runs one history; a failure prints the seed of its own.

use std::collections::{BTreeMap, BTreeSet};

use agora_economy::testkit::{CONTRIBUTORS, FOUNDER, HOST, Kit, OPERATOR, OWNER, PAYER, SESSION, atoms, key};
use agora_receipts::Receipt;
use agora_types::authorization::Authorization;
use agora_types::batch::Entry;
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::*;
use agora_types::{Address, Amount, CallId, Canonical as _, ChannelId, CommandId, Hash, Signed, Timestamp};

/// Paid by the channel without a listing.
const SHOP: u8 = 7;
const PLAYERS: [u8; 5] = [PAYER, OWNER, OPERATOR, HOST, CONTRIBUTORS[0]];
const OPEN: u128 = 1_000_000_000_000_000_000;

/// xorshift64*: a history is its seed.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_F491_4F6C_DD1D) >> 11) % sides
    }

    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[usize::try_from(self.roll(from.len() as u64)).unwrap()]
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Held {
    Open,
    Ended,
    /// Paid: an authorization is never held again.
    Paid,
}

struct Reserved {
    from: Address,
    to: Address,
    amount: u128,
    settler: Address,
    until: u64,
    held: Held,
    single: bool,
}

#[derive(Default)]
struct Pipe {
    deposited: u128,
    refunded: u128,
    claimed: u128,
    nonce: u64,
    last: Option<(u64, u128)>,
    leaving: Option<u64>,
}

impl Pipe {
    fn unclaimed(&self) -> u128 {
        self.deposited - self.refunded - self.claimed
    }
}

struct Call {
    receipt: Vec<u8>,
    part: u128,
    deadline: u64,
    finished: Option<Option<Vec<u8>>>,
}

/// The recount: plain maps, no double entry, no code shared with the state machine.
#[derive(Default)]
struct Recount {
    now: u64,
    free: BTreeMap<Address, u128>,
    holds: BTreeMap<(Address, CommandId), Reserved>,
    pipes: BTreeMap<ChannelId, Pipe>,
    nonces: BTreeMap<(ChannelId, Hash), (u64, Command)>,
    unsettled: u128,
    calls: BTreeMap<CallId, Call>,
    ids: BTreeMap<(Address, CommandId), (u64, bool)>,
    vested: u128,
    start: u64,
    earnings: Earnings,
    committed: BTreeSet<(Address, Hash)>,
}

/// What the host's measured calls set aside, and every list that was ever made of it, by its root.
#[derive(Default)]
struct Earnings {
    funded: u128,
    epoch: u64,
    root: Hash32,
    count: usize,
    published: u128,
    paid: BTreeMap<Address, u128>,
    lists: BTreeMap<Hash32, Vec<(Address, u128)>>,
}

type Hash32 = [u8; 32];

fn pot(name: &str) -> Address {
    Address::system(name)
}

fn shares(amount: u128, weights: &[u128]) -> Vec<u128> {
    let whole: u128 = weights.iter().sum();
    let mut parts: Vec<u128> = weights.iter().map(|w| amount * w / whole).collect();
    let mut order: Vec<usize> = (0..weights.len()).collect();
    order.sort_by_key(|i| std::cmp::Reverse(amount * weights[*i] % whole));
    let left = amount - parts.iter().sum::<u128>();
    for i in order.into_iter().take(usize::try_from(left).unwrap()) {
        parts[i] += 1;
    }
    parts
}

impl Recount {
    fn gain(&mut self, account: Address, amount: u128) {
        *self.free.entry(account).or_default() += amount;
    }

    fn lose(&mut self, account: Address, amount: u128) -> bool {
        match self.free.get_mut(&account) {
            Some(free) if *free >= amount => *free -= amount,
            Some(_) | None => return false,
        }
        true
    }

    fn pass_time(&mut self, now: u64) {
        self.now = now;
        let mut freed = Vec::new();
        for hold in self.holds.values_mut().filter(|hold| hold.held == Held::Open && hold.until <= now) {
            hold.held = Held::Ended;
            freed.push((hold.from, hold.amount));
        }
        for call in self.calls.values_mut().filter(|call| call.finished.is_none() && call.deadline <= now) {
            call.finished = Some(None);
            freed.push((pot("commons"), call.part));
        }
        for (account, amount) in freed {
            self.gain(account, amount);
        }
        self.ids.retain(|_, (until, _)| *until > now);
        let secs = now / 1_000_000_000;
        self.nonces.retain(|_, (before, _)| *before > secs);
    }

    /// True when the command must be accepted; then it has happened.
    fn step(&mut self, kit: &Kit, command: &Command) -> bool {
        let known_call = match command {
            Command::SettleCall(c) => self.calls.get(&c.call_id).map(|call| call.receipt == c.receipt),
            Command::SettleHeld(c) => self.calls.get(&c.call_id).map(|call| call.receipt == c.receipt),
            Command::FinalizeCall(c) => match self.calls.get(&c.call_id).map(|call| &call.finished) {
                Some(Some(Some(last))) => Some(*last == c.receipt),
                Some(Some(None)) => Some(false),
                Some(None) | None => None,
            },
            _ => None,
        };
        if let Some(same) = known_call {
            return same;
        }
        let Some(head) = command.head().copied() else { return self.act(kit, command) };
        if let Some((_, accepted)) = self.ids.get(&(head.signer, head.id)) {
            return *accepted;
        }
        if head.expires_at.as_nanos() <= self.now {
            return false;
        }
        let accepted = self.act(kit, command);
        self.ids.insert((head.signer, head.id), (head.expires_at.as_nanos(), accepted));
        accepted
    }

    fn act(&mut self, kit: &Kit, command: &Command) -> bool {
        let network = kit.network();
        match command {
            Command::Transfer(c) => {
                let (from, amount) = (c.head.signer, c.amount.atoms());
                if from == c.credit || amount == 0 || !self.lose(from, amount) {
                    return false;
                }
                let Some(pending) = c.pending else {
                    self.gain(c.credit, amount);
                    return true;
                };
                let until = self.now + u64::from(pending.timeout_s) * 1_000_000_000;
                let (settler, held) = (pending.settler, Held::Open);
                let single = false;
                self.holds
                    .insert((from, c.head.id), Reserved { from, to: c.credit, amount, settler, until, held, single });
                true
            }
            Command::PostTransfer(c) => {
                let amount = c.amount.atoms();
                let Some(hold) = self.holds.get_mut(&(c.pending_signer, c.pending_id)) else { return false };
                let good = hold.held == Held::Open && hold.settler == c.head.signer;
                if !good || (amount == 0 && !hold.single) || amount > hold.amount {
                    return false;
                }
                hold.held = Held::Paid;
                let (from, to, rest) = (hold.from, hold.to, hold.amount - amount);
                self.gain(to, amount);
                self.gain(from, rest);
                true
            }
            Command::VoidTransfer(c) => {
                let Some(hold) = self.holds.get_mut(&(c.pending_signer, c.pending_id)) else { return false };
                if hold.held != Held::Open || hold.settler != c.head.signer {
                    return false;
                }
                hold.held = Held::Ended;
                let (from, amount) = (hold.from, hold.amount);
                self.gain(from, amount);
                true
            }
            Command::Hold(c) => {
                let (from, to, amount) =
                    (c.authorization.payer(), c.authorization.payee(), c.authorization.max().atoms());
                let id = (from, c.authorization.pending_id(&network));
                let (_, before) = c.authorization.window();
                // Held rows are kept for ever here; the ledger forgets one 600 s after its end, and then remembers the
                // nonce alone.
                let again = match self.holds.get(&id) {
                    None => true,
                    Some(hold) => hold.held == Held::Ended && self.now < hold.until + 600_000_000_000,
                };
                if before <= self.now / 1_000_000_000 || from == to || amount == 0 || !again {
                    return false;
                }
                if !self.lose(from, amount) {
                    return false;
                }
                let until = self.now + u64::from(c.timeout_s) * 1_000_000_000;
                let (settler, held) = (c.head.signer, Held::Open);
                let single = true;
                self.holds.insert(id, Reserved { from, to, amount, settler, until, held, single });
                true
            }
            Command::SettleHeld(c) => {
                let Some(hold) = self.holds.get_mut(&(c.payer, c.pending_id)) else { return false };
                let charge = c.charge.atoms();
                let payee = Signed::<Receipt>::from_bytes(&c.receipt).unwrap().payload().payee;
                let good = hold.held == Held::Open && hold.settler == c.head.signer && hold.to == payee;
                if !good || charge > hold.amount {
                    return false;
                }
                hold.held = Held::Paid;
                let (from, to, rest) = (hold.from, hold.to, hold.amount - charge);
                self.gain(to, charge);
                self.gain(from, rest);
                let deadline = self.now + 3_600_000_000_000;
                let call = Call { receipt: c.receipt.clone(), part: 0, deadline, finished: None };
                self.calls.insert(c.call_id, call);
                true
            }
            Command::Deposit(c) => {
                let id = c.config.id(&network);
                if let Some((_, first)) = self.nonces.get(&(id, c.salt)) {
                    return first == command;
                }
                let amount = c.amount.atoms();
                if c.valid_before <= self.now / 1_000_000_000 || amount < 1_000_000_000 {
                    return false;
                }
                if !self.lose(c.config.payer, amount) {
                    return false;
                }
                self.pipes.entry(id).or_default().deposited += amount;
                self.nonces.insert((id, c.salt), (c.valid_before, command.clone()));
                true
            }
            Command::Claim(c) => {
                let one = &c.claims[0];
                if one.config.receiver != key(SHOP).address() {
                    return false;
                }
                let Some(pipe) = self.pipes.get_mut(&one.config.id(&network)) else { return false };
                let (max, total) = (one.max_claimable.atoms(), one.total_claimed.atoms());
                if total > max || (total > pipe.claimed && max > pipe.deposited - pipe.refunded) {
                    return false;
                }
                self.unsettled += total.saturating_sub(pipe.claimed);
                pipe.claimed = pipe.claimed.max(total);
                true
            }
            Command::Settle(c) => {
                let due = std::mem::take(&mut self.unsettled);
                self.gain(c.receiver, due);
                due > 0
            }
            Command::Refund(c) => {
                let Some(pipe) = self.pipes.get_mut(&c.config.id(&network)) else { return false };
                let amount = c.amount.atoms();
                if pipe.last == Some((c.nonce, amount)) && c.nonce + 1 == pipe.nonce {
                    return true;
                }
                if c.nonce != pipe.nonce || amount == 0 || amount > pipe.unclaimed() {
                    return false;
                }
                pipe.refunded += amount;
                pipe.last = Some((c.nonce, amount));
                pipe.nonce += 1;
                self.gain(c.config.payer, amount);
                true
            }
            Command::WithdrawStart(c) => match self.pipes.get_mut(&c.channel) {
                Some(pipe) if pipe.leaving.is_none() => {
                    pipe.leaving = Some(self.now);
                    true
                }
                Some(_) | None => false,
            },
            Command::WithdrawFinish(c) => {
                let Some(pipe) = self.pipes.get_mut(&c.channel) else { return false };
                if pipe.leaving.is_none_or(|since| self.now < since + 900_000_000_000) {
                    return false;
                }
                let amount = pipe.unclaimed();
                pipe.refunded += amount;
                pipe.leaving = None;
                self.gain(key(PAYER).address(), amount);
                true
            }
            Command::SettleCall(c) => self.settle_call(kit, c),
            Command::FinalizeCall(c) => {
                let Some(call) = self.calls.get_mut(&c.call_id) else { return false };
                call.finished = Some(Some(c.receipt.clone()));
                let part = call.part;
                let receipt = Signed::<Receipt>::from_bytes(&c.receipt).unwrap();
                if receipt.payload().spec_hash.is_some() {
                    let legs = receipt.payload().legs.iter().filter(|leg| leg.account == pot("earnings"));
                    let earned: u128 = legs.map(|leg| leg.amount.atoms()).sum();
                    self.earnings.funded += earned;
                    self.gain(pot("commons"), part - earned);
                    return true;
                }
                let mut members: Vec<(Address, u128)> =
                    CONTRIBUTORS.iter().zip([5, 3, 2]).map(|(n, w)| (key(*n).address(), w)).collect();
                members.sort();
                let weights: Vec<u128> = members.iter().map(|(_, w)| *w).collect();
                for ((account, _), amount) in members.iter().zip(shares(part, &weights)) {
                    self.gain(*account, amount);
                }
                true
            }
            Command::ReleaseVested(c) => {
                let elapsed = (self.now - self.start) / 1_000_000_000;
                let vested = 500 * OPEN * u128::from(elapsed.saturating_sub(100).min(1_000)) / 1_000;
                let due = vested - self.vested;
                self.vested = vested;
                self.gain(c.head.signer, due);
                due > 0
            }
            Command::CommitData(c) => (1..=65_536).contains(&c.count) && self.committed.insert((c.head.signer, c.root)),
            Command::PublishEarnings(c) => {
                let (earnings, total) = (&mut self.earnings, c.total.atoms());
                let count = usize::try_from(c.count).unwrap();
                let fits = (earnings.published..=earnings.funded).contains(&total) && count >= earnings.count.max(1);
                if earnings.funded == 0 || c.epoch != earnings.epoch + 1 || !fits {
                    return false;
                }
                (earnings.epoch, earnings.root, earnings.count) = (c.epoch, *c.root.as_bytes(), count);
                earnings.published = total;
                true
            }
            Command::ClaimEarnings(c) => {
                let earnings = &mut self.earnings;
                let Some(list) = earnings.lists.get(&earnings.root) else { return false };
                let leaf = usize::try_from(c.index).ok().and_then(|at| list.get(at));
                let (before, sum) = (earnings.paid.get(&c.account).copied().unwrap_or(0), c.cumulative.atoms());
                // A proof from another list with the same leaf leads elsewhere.
                let leads = c.leads_to(&Hash::new(earnings.root), list.len() as u64);
                if c.epoch != earnings.epoch || leaf != Some(&(c.account, sum)) || !leads || sum <= before {
                    return false;
                }
                if earnings.paid.values().sum::<u128>() + sum - before > earnings.published {
                    return false;
                }
                earnings.paid.insert(c.account, sum);
                self.gain(c.account, sum - before);
                true
            }
            Command::RegisterKey(_)
            | Command::RevokeKey(_)
            | Command::RegisterListing(_)
            | Command::RegisterDatanet(_) => unreachable!("histories do not roll these"),
        }
    }

    fn settle_call(&mut self, kit: &Kit, c: &SettleCall) -> bool {
        let Some(pipe) = self.pipes.get_mut(&c.config.id(&kit.network())) else { return false };
        let (charge, total, max) = (c.charge.atoms(), c.cumulative.atoms(), c.max_claimable.atoms());
        if pipe.claimed + charge != total || total > max || (charge > 0 && max > pipe.deposited - pipe.refunded) {
            return false;
        }
        pipe.claimed = total;
        let parts = shares(charge, &[5_000, 2_000, 2_000, 500, 500]);
        let others = [key(OWNER).address(), key(HOST).address(), pot("validators"), pot("platform")];
        for (account, amount) in others.into_iter().zip(&parts[1..]) {
            self.gain(account, *amount);
        }
        let deadline = self.now + 3_600_000_000_000;
        let call = Call { receipt: c.receipt.clone(), part: parts[0], deadline, finished: None };
        self.calls.insert(c.call_id, call);
        true
    }

    /// Every account's posted balance, in this book.
    fn balances(&self) -> BTreeMap<Address, u128> {
        let mut all = self.free.clone();
        for hold in self.holds.values().filter(|hold| hold.held == Held::Open) {
            *all.entry(hold.from).or_default() += hold.amount;
        }
        all.insert(pot("escrow"), self.pipes.values().map(Pipe::unclaimed).sum());
        all.insert(pot("unsettled"), self.unsettled);
        let open = self.calls.values().filter(|call| call.finished.is_none());
        all.insert(pot("suspense"), open.map(|call| call.part).sum());
        all.insert(pot("earnings"), self.earnings.funded - self.earnings.paid.values().sum::<u128>());
        all.insert(pot("vesting"), 500 * OPEN - self.vested);
        all
    }
}

/// One history: the world, the recount beside it, and what was sent so far.
struct History {
    kit: Kit,
    recount: Recount,
    dice: Dice,
    sent: Vec<Entry>,
    open: Vec<Receipt>,
    singles: BTreeMap<u8, Authorization>,
    /// What the host's next list says that contributors have earned.
    rows: Vec<(u8, u128)>,
    /// The newest list that was sent, and its epoch.
    newest: (u64, Vec<(u8, u128)>),
    salts: u64,
    calls: u128,
}

impl History {
    fn begin(seed: u64) -> Self {
        let mut kit = Kit::default();
        kit.register();
        // Every other history's shares are measured.
        if seed.is_multiple_of(2) {
            let measured = kit.register_measured();
            kit.submit(OWNER, measured).unwrap();
        }
        let mut recount = Recount { start: kit.genesis.time.as_nanos(), ..Recount::default() };
        for (number, open) in [(OPERATOR, 1_000), (PAYER, 1_000), (OWNER, 10)] {
            recount.gain(key(number).address(), open * OPEN);
        }
        let dice = Dice(seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1);
        let singles = BTreeMap::new();
        let (rows, newest) = (CONTRIBUTORS.map(|number| (number, 0)).to_vec(), (0, vec![]));
        Self { kit, recount, dice, sent: vec![], open: vec![], singles, rows, newest, salts: 0, calls: 0 }
    }

    fn shop(&self) -> ChannelConfig {
        ChannelConfig { receiver: key(SHOP).address(), ..self.kit.config() }
    }

    fn config(&mut self) -> ChannelConfig {
        if self.dice.roll(2) == 0 { self.shop() } else { self.kit.config() }
    }

    /// From nothing to more than there is, small ones most of the time.
    fn amount(&mut self) -> u128 {
        match self.dice.roll(12) {
            0 => 0,
            1 => u128::from(self.dice.roll(2_000)) * OPEN,
            2 => u128::MAX,
            3..=6 => u128::from(self.dice.roll(1_000)),
            _ => u128::from(self.dice.roll(1_000_000_000_000)) * 1_000,
        }
    }

    fn transfer(&mut self, pending: bool) -> Entry {
        let (from, to) = (self.dice.pick(&PLAYERS), self.dice.pick(&PLAYERS));
        let amount = self.amount();
        let mut command = self.kit.transfer(from, to, amount);
        if let Command::Transfer(transfer) = &mut command
            && pending
        {
            let timeout_s = 1 + u32::try_from(self.dice.roll(2_000)).unwrap();
            transfer.pending = Some(Pending { timeout_s, settler: key(to).address() });
        }
        self.kit.sign(from, command)
    }

    fn second_phase(&mut self) -> Option<Entry> {
        let at = usize::try_from(self.dice.roll(self.recount.holds.len().max(1) as u64)).unwrap();
        let ((pending_signer, pending_id), hold) = self.recount.holds.iter().nth(at)?;
        let (pending_signer, pending_id, whole) = (*pending_signer, *pending_id, hold.amount);
        let settler = PLAYERS.into_iter().find(|n| key(*n).address() == hold.settler).unwrap();
        let signer = if self.dice.roll(8) == 0 { self.dice.pick(&PLAYERS) } else { settler };
        let head = self.kit.head(signer);
        let command = if self.dice.roll(3) == 0 {
            Command::VoidTransfer(VoidTransfer { head, pending_signer, pending_id })
        } else {
            let amount = atoms(u128::from(self.dice.roll(8)) * (whole / 6));
            Command::PostTransfer(PostTransfer { head, pending_signer, pending_id, amount })
        };
        Some(self.kit.sign(signer, command))
    }

    /// A single payment to one of the players, held by the host, who also posts it or settles a service with it.
    fn single(&mut self) -> Entry {
        let to = key(self.dice.pick(&PLAYERS)).address();
        let (amount, nonce) = (self.amount(), u8::try_from(self.dice.roll(200)).unwrap());
        let held = self.kit.upto(to, amount, HOST, nonce);
        // Each nonce is signed for one payment only.
        let held = self.singles.entry(nonce).or_insert(held).clone();
        let command = self.kit.hold_command(HOST, &held);
        self.kit.sign(HOST, command)
    }

    fn service(&mut self) -> Option<Entry> {
        let at = usize::try_from(self.dice.roll(self.singles.len().max(1) as u64)).unwrap();
        let held = self.singles.values().nth(at)?.clone();
        let share = u128::from(self.dice.roll(8));
        let price = (held.max().atoms() / 6).saturating_mul(share);
        self.calls += 1;
        let mut receipt = self.kit.service_receipt(1, held.payee(), price);
        receipt.call_id = CallId::new(self.calls.to_be_bytes());
        let command = self.kit.settle_held_command(&held, &receipt);
        Some(self.kit.sign(HOST, command))
    }

    fn deposit(&mut self) -> Entry {
        self.salts += 1;
        let mut salt = [0; 32];
        salt[..8].copy_from_slice(&self.salts.to_be_bytes());
        let valid_before = self.kit.now.as_secs() + 1 + self.dice.roll(600);
        let (config, amount) = (self.config(), atoms(self.amount()));
        let deposit = Deposit { config, amount, valid_after: 0, valid_before, salt: Hash::new(salt) };
        self.kit.sign(PAYER, Command::Deposit(deposit))
    }

    fn claim(&mut self) -> Entry {
        let config = if self.dice.roll(8) == 0 { self.kit.config() } else { self.shop() };
        let claimed = self.recount.pipes.get(&config.id(&self.kit.network())).map_or(0, |pipe| pipe.claimed);
        let step = self.amount();
        let total = claimed.saturating_add(step).saturating_sub(u128::from(self.dice.roll(500)));
        let max = total.saturating_add(u128::from(self.dice.roll(3))).saturating_sub(u128::from(self.dice.roll(2)));
        let voucher = Voucher::sign(&self.kit.network(), config.id(&self.kit.network()), atoms(max), &key(SESSION));
        let (max_claimable, total_claimed) = (atoms(max), atoms(total));
        let one = VoucherClaim { config, max_claimable, voucher_signature: voucher.signature, total_claimed };
        self.kit.sign(HOST, Command::Claim(Claim { claims: vec![one] }))
    }

    fn refund(&mut self) -> Entry {
        let config = self.config();
        let nonce = self.recount.pipes.get(&config.id(&self.kit.network())).map_or(0, |pipe| pipe.nonce);
        let nonce = if self.dice.roll(8) == 0 { nonce + 1 } else { nonce };
        let amount = atoms(self.amount());
        self.kit.sign(HOST, Command::Refund(Refund { config, nonce, amount }))
    }

    fn withdraw(&mut self) -> Entry {
        let channel = self.config().id(&self.kit.network());
        let signer = self.dice.pick(&[PAYER, SESSION]);
        let head = self.kit.head(signer);
        let command = match self.dice.roll(2) {
            0 => Command::WithdrawStart(WithdrawStart { head, channel }),
            _ => Command::WithdrawFinish(WithdrawFinish { head, channel }),
        };
        self.kit.sign(signer, command)
    }

    fn call(&mut self) -> Entry {
        self.calls += 1;
        let (tokens, price) = (self.dice.roll(300), u128::from(self.dice.roll(1_000_000)));
        let mut receipt = self.kit.receipt(1, tokens, price);
        receipt.call_id = CallId::new(self.calls.to_be_bytes());
        let command = self.kit.settle_command(&receipt);
        self.open.push(receipt);
        self.kit.sign(HOST, Command::SettleCall(Box::new(command)))
    }

    fn finalize(&mut self) -> Option<Entry> {
        let at = usize::try_from(self.dice.roll(self.open.len().max(1) as u64)).unwrap();
        let provisional = self.open.get(at)?.clone();
        self.kit.economy().open_call(provisional.payer, provisional.call_id)?;
        self.open.swap_remove(at);
        let receipt = if provisional.spec_hash.is_some() {
            let call = self.kit.economy().open_call(provisional.payer, provisional.call_id)?;
            let part = call.contributor_part.atoms();
            let earned = part / 8 * u128::from(self.dice.roll(9));
            self.kit.measured_receipt(&provisional, earned)
        } else {
            self.kit.final_receipt(&provisional)
        };
        let command = self.kit.finalize_command(&receipt);
        Some(self.kit.sign(HOST, command))
    }

    /// Now and then the host says more than there is, or less than before.
    fn publish(&mut self) -> Entry {
        let said: u128 = self.rows.iter().map(|(_, sum)| sum).sum();
        let left = self.recount.earnings.funded.saturating_sub(said);
        for at in 0..self.rows.len() {
            self.rows[at].1 += left / 4 * u128::from(self.dice.roll(3)) / 2;
        }
        if self.dice.roll(6) == 0 {
            self.rows[0].1 = self.rows[0].1.saturating_sub(u128::from(self.dice.roll(1_000)));
        }
        let epoch = self.recount.earnings.epoch + u64::from(self.dice.roll(8) != 0);
        let mut rows = self.rows.clone();
        if self.dice.roll(8) == 0 {
            rows.truncate(2);
        }
        let (leaves, root, _) = Kit::earned(&rows);
        let list = leaves.iter().map(|leaf| (leaf.account, leaf.cumulative.atoms())).collect();
        self.recount.earnings.lists.insert(*root.as_bytes(), list);
        let command = self.kit.publish_command(epoch, &rows);
        self.newest = (epoch, rows);
        self.kit.sign(HOST, command)
    }

    fn claim_earned(&mut self) -> Option<Entry> {
        let (epoch, rows) = self.newest.clone();
        let number = rows.get(usize::try_from(self.dice.roll(3)).unwrap())?.0;
        let sender = self.dice.pick(&PLAYERS);
        let command = self.kit.claim_command(sender, epoch, &rows, number);
        Some(self.kit.sign(sender, command))
    }

    fn commit_data(&mut self) -> Entry {
        let number = self.dice.pick(&PLAYERS);
        let (head, root) = (self.kit.head(number), Hash::sha256(self.dice.roll(500).to_be_bytes()));
        let count = u32::try_from(self.dice.roll(66_000)).unwrap();
        let commit = CommitData { head, datanet: Kit::datanet(), root, count, licence: Hash::ZERO };
        self.kit.sign(number, Command::CommitData(commit))
    }

    fn roll_entry(&mut self) -> Entry {
        let rolled = match self.dice.roll(36) {
            0..=3 => None,
            4..=7 => Some(self.transfer(true)),
            8..=11 => self.second_phase(),
            12..=13 => Some(self.deposit()),
            14..=15 => Some(self.claim()),
            16 => {
                let (head, receiver) = (self.kit.head(SHOP), key(SHOP).address());
                Some(self.kit.sign(SHOP, Command::Settle(Settle { head, receiver })))
            }
            17 => Some(self.refund()),
            18 => Some(self.withdraw()),
            19 => {
                let head = self.kit.head(FOUNDER);
                Some(self.kit.sign(FOUNDER, Command::ReleaseVested(ReleaseVested { head, allocation: 3 })))
            }
            20..=21 => self.finalize(),
            22..=24 => Some(self.single()),
            25..=26 => self.service(),
            30..=31 => Some(self.publish()),
            32..=34 => self.claim_earned(),
            35 => Some(self.commit_data()),
            _ => {
                let back = usize::try_from(self.dice.roll(64)).unwrap();
                self.sent.len().checked_sub(back + 1).map(|at| self.sent[at].clone())
            }
        };
        rolled.unwrap_or_else(|| self.transfer(false))
    }

    fn play(&mut self) -> usize {
        let pause = match self.dice.roll(60) {
            0 => 1_000_000_000 * (1 + self.dice.roll(4_000)),
            1..=9 => 1_000_000_000 * (1 + self.dice.roll(90)),
            _ => 1 + self.dice.roll(1_000_000_000),
        };
        self.kit.now = self.kit.now.plus_nanos(pause);
        let mut entries: Vec<Entry> = (0..self.dice.roll(10)).map(|_| self.roll_entry()).collect();
        if self.dice.roll(3) == 0 {
            entries.push(self.call());
        }
        self.recount.pass_time(self.kit.now.as_nanos());
        let expected: Vec<bool> = entries.iter().map(|entry| self.recount.step(&self.kit, &entry.command)).collect();
        let answers = self.kit.batch(entries.clone());
        for ((entry, expected), answer) in entries.iter().zip(expected).zip(&answers) {
            let command = &entry.command;
            assert_eq!(answer.is_ok(), expected, "the answer was {answer:?} to {command:?}");
        }
        self.check_balances();
        self.sent.extend(entries.iter().cloned());
        entries.len()
    }

    fn check_balances(&self) {
        let counted = self.recount.balances();
        for (account, balance) in &counted {
            assert_eq!(self.kit.balance(account), *balance, "of {account}");
        }
        assert_eq!(counted.values().sum::<u128>(), 2_510 * OPEN, "no atom appears or is lost");
        assert_eq!(self.kit.economy().broken_invariant(), None);
    }
}

fn history(seed: u64, commands: usize) {
    println!("AGORA_SEED={seed}");
    let mut history = History::begin(seed);
    let mut sent = 0;
    while sent < commands {
        sent += history.play();
    }
    let kit = &mut history.kit;
    assert!(kit.receipts.len() > 20, "the dice must reach calls");
    let paid: u128 = history.recount.earnings.paid.values().sum();
    assert_eq!(paid > 0, seed.is_multiple_of(2), "the dice must reach claims where shares are measured");
    let mut second = kit.replayed();
    let (ours, theirs) = (kit.sequencer.snapshot(&kit.genesis), second.snapshot(&kit.genesis));
    assert_eq!(ours.hash, theirs.hash, "a second machine ends with the same bytes");
    assert_eq!(second.economy().state().receipts.root(), receipt_root(&kit.receipts));
    assert_eq!(Amount::from_open(2_510), second.economy().state().ledger.supply());
    assert!(kit.now > Timestamp::ZERO && second.prev() == kit.log.last().unwrap().0.header.hash());
}

fn receipt_root(leaves: &[Vec<u8>]) -> Hash {
    let hashes: Vec<Hash> = leaves.iter().map(|leaf| agora_types::merkle::leaf_hash(leaf)).collect();
    agora_types::merkle::root(&hashes)
}

#[test]
fn twelve_thousand_random_commands_are_answered_and_counted_as_a_naive_recount_does() {
    match std::env::var("AGORA_SEED").ok().and_then(|seed| seed.parse().ok()) {
        Some(seed) => history(seed, 12_000),
        None => (1..=4).for_each(|seed| history(seed, 3_000)),
    }
}

//! Calls recounted: the exact charge, the governed split, one provisional and at most one final receipt.

use std::collections::BTreeMap;

use agora_receipts::{Kind, Leg, Receipt, Role, State};
use agora_types::command::{Command, FinalizeCall, SettleCall, SettleHeld};
use agora_types::merkle::leaf_hash;
use agora_types::{Address, Amount, CallId, ChannelId, Hash, Signed};

use crate::books::{Books, commons, escrow, suspense};
use crate::earnings::earnings;
use crate::signatures;

/// How far a call is.
#[derive(Debug, Clone, PartialEq, Eq)]
enum End {
    Open,
    Final(Hash),
    Lapsed,
}

/// What a settling command says of its call.
struct Said {
    call_id: CallId,
    payer: Address,
    payee: Address,
    host: Address,
    charge: Amount,
    channel: Option<ChannelId>,
    cumulative: Amount,
}

/// What the rules make of it: who is paid now, and who will share the contributors' part.
struct Due {
    legs: Vec<(Role, Address, u128)>,
    part: u128,
    shares: BTreeMap<Address, u128>,
    method: Option<String>,
}

/// A settled call.
#[derive(Debug)]
pub(crate) struct Call {
    host: Address,
    index: u64,
    leaf: Hash,
    charge: u128,
    part: u128,
    /// Account and atoms of each contributor; empty: everything to the commons.
    shares: BTreeMap<Address, u128>,
    /// The method that measures them, if they are not declared.
    method: Option<String>,
    end: End,
}

/// Largest remainder, ties to the lower index. Amounts are below 2^90 and weights sum below 2^38: products fit.
fn shares(atoms: u128, weights: &[u32]) -> Result<Vec<u128>, String> {
    let whole: u128 = weights.iter().map(|weight| u128::from(*weight)).sum();
    let mut parts = Vec::new();
    for weight in weights {
        let product = atoms.checked_mul(u128::from(*weight)).ok_or("an amount above the cap was split")?;
        parts.push((product / whole, product % whole));
    }
    let mut left = atoms - parts.iter().map(|(part, _)| part).sum::<u128>();
    let mut order: Vec<usize> = (0..parts.len()).collect();
    order.sort_by(|a, b| parts[*b].1.cmp(&parts[*a].1).then(a.cmp(b)));
    for at in order {
        if left == 0 {
            break;
        }
        parts[at].0 += 1;
        left -= 1;
    }
    Ok(parts.into_iter().map(|(part, _)| part).collect())
}

fn same(said: &[Leg], expected: &[(Role, Address, u128)]) -> bool {
    let expected: Vec<_> = expected.iter().filter(|(_, _, atoms)| *atoms > 0).collect();
    said.len() == expected.len()
        && said.iter().zip(expected).all(|(leg, (role, account, atoms))| {
            leg.role == *role && leg.account == *account && leg.amount.atoms() == *atoms
        })
}

impl Books {
    /// True for a repeat about a call that is known: it moves nothing and adds no leaf.
    pub(crate) fn known_call(&self, command: &Command) -> Result<bool, String> {
        match command {
            Command::SettleCall(settle) => match self.calls.get(&(settle.config.payer, settle.call_id)) {
                None => Ok(false),
                Some(call) if call.leaf == leaf_hash(&settle.receipt) && call.charge == settle.charge.atoms() => {
                    Ok(true)
                }
                Some(_) => Err("a call was settled twice with different receipts".to_owned()),
            },
            Command::SettleHeld(settle) => match self.calls.get(&(settle.payer, settle.call_id)) {
                None => Ok(false),
                Some(call) if call.leaf == leaf_hash(&settle.receipt) && call.charge == settle.charge.atoms() => {
                    Ok(true)
                }
                Some(_) => Err("a call was settled twice with different receipts".to_owned()),
            },
            Command::FinalizeCall(finalize) => match self.calls.get(&(finalize.payer, finalize.call_id)) {
                None => Err("an unknown call was finalized".to_owned()),
                Some(call) => match &call.end {
                    End::Open => Ok(false),
                    End::Final(leaf) if *leaf == leaf_hash(&finalize.receipt) => Ok(true),
                    End::Final(_) => Err("a call has two final receipts".to_owned()),
                    End::Lapsed => Err("a call was finalized after its deadline".to_owned()),
                },
            },
            _ => Ok(false),
        }
    }

    fn append_leaf(&mut self, receipt: &[u8]) -> (u64, Hash) {
        let (index, leaf) = (self.receipts, leaf_hash(receipt));
        self.receipts += 1;
        self.new_leaves.push(leaf);
        (index, leaf)
    }

    pub(crate) fn settle_call(&mut self, command: &SettleCall) -> Result<(), String> {
        let signed = signatures::receipt(&command.receipt)?;
        let config = &command.config;
        let id = config.id(&self.network);
        let said = Said {
            call_id: command.call_id,
            payer: config.payer,
            payee: config.receiver,
            host: command.head.signer,
            charge: command.charge,
            channel: Some(id),
            cumulative: command.cumulative,
        };
        if config.receiver_authorizer != said.host {
            return Err("a call was settled by a host that the channel does not name".to_owned());
        }
        let due = self.due(&said, &signed)?;
        let charge = command.charge.atoms();
        let channel = self.channels.get_mut(&id).ok_or("a call paid from an unknown channel")?;
        let (max, total) = (command.max_claimable.atoms(), command.cumulative.atoms());
        if channel.claimed.checked_add(charge) != Some(total) || total > max || charge > channel.left()? {
            return Err("a charge that voucher or channel do not cover".to_owned());
        }
        channel.claimed = total;
        self.pay_call(&said, due, escrow(), &command.receipt)
    }

    pub(crate) fn settle_held(&mut self, command: &SettleHeld) -> Result<(), String> {
        let signed = signatures::receipt(&command.receipt)?;
        let (key, host) = ((command.payer, command.pending_id), command.head.signer);
        let reserved = self.take_reserved(key, host, command.charge.atoms())?;
        let said = Said {
            call_id: command.call_id,
            payer: command.payer,
            payee: reserved.credit,
            host,
            charge: command.charge,
            channel: None,
            cumulative: command.charge,
        };
        let due = self.due(&said, &signed)?;
        self.pay_call(&said, due, said.payer, &command.receipt)
    }

    /// Moves the money of a call and notes it.
    fn pay_call(&mut self, said: &Said, due: Due, from: Address, receipt: &[u8]) -> Result<(), String> {
        for (_, account, atoms) in &due.legs {
            self.pay(&from, account, *atoms)?;
        }
        let (index, leaf) = self.append_leaf(receipt);
        let deadline = self.now.plus_secs(u64::from(self.parameters.suspense_s));
        let (host, charge) = (said.host, said.charge.atoms());
        let Due { part, shares, method, .. } = due;
        let call = Call { host, index, leaf, charge, part, shares, method, end: End::Open };
        self.calls.insert((said.payer, said.call_id), call);
        self.deadlines.insert((deadline, said.payer, said.call_id));
        Ok(())
    }

    /// What the rules make of a call, when its receipt tells the truth.
    fn due(&self, said: &Said, signed: &Signed<Receipt>) -> Result<Due, String> {
        let receipt = signed.payload();
        self.speaks_for(signed.key(), &said.host)?;
        let due = match receipt.kind {
            Kind::Inference => self.due_of_inference(said, receipt)?,
            Kind::Service if self.is_keyless(&said.payee) || receipt.listing.is_some() => {
                return Err("money of an attributed call went round attribution".to_owned());
            }
            Kind::Service => {
                let legs = vec![(Role::Seller, said.payee, said.charge.atoms())];
                Due { legs, part: 0, shares: BTreeMap::new(), method: None }
            }
            Kind::Training | Kind::Datanet => return Err("a receipt of a kind that nothing settles".to_owned()),
        };
        let rules = [
            (receipt.network == self.network.chain_id, "its network"),
            (receipt.call_id == said.call_id, "its call"),
            (receipt.host == said.host, "its host"),
            (receipt.payer == said.payer, "its payer"),
            (receipt.payee == said.payee, "its payee"),
            (receipt.channel == said.channel, "its channel"),
            (receipt.charge == said.charge, "its charge"),
            (receipt.cumulative == said.cumulative, "its cumulative amount"),
            (receipt.prices.charge(&receipt.usage) == Some(receipt.charge), "price times usage"),
            (receipt.state == State::Provisional, "its state"),
            (due.method.is_none() || Some(&receipt.attribution.method) == due.method.as_ref(), "its method"),
        ];
        match rules.iter().find(|(holds, _)| !holds) {
            None if !same(&receipt.legs, &due.legs) => {
                Err("the legs are not the governed split of the charge".to_owned())
            }
            None => Ok(due),
            Some((_, what)) => Err(format!("a receipt is wrong about {what}")),
        }
    }

    fn due_of_inference(&self, said: &Said, receipt: &Receipt) -> Result<Due, String> {
        let listing_id = receipt.listing.ok_or("a receipt without a listing")?;
        let listing = self.listings.get(&listing_id).ok_or("a call of an unknown listing")?;
        if said.payee != Address::listing(&listing_id) || !listing.hosts.contains(&said.host) {
            return Err("a call was settled by a host that the listing does not name".to_owned());
        }
        let split = self.parameters.split;
        let weights = [split.contributors, split.model_owner, split.host, split.validators, split.platform];
        let parts = shares(said.charge.atoms(), &weights)?;
        let legs = vec![
            (Role::Contributors, suspense(), parts[0]),
            (Role::ModelOwner, listing.model_owner, parts[1]),
            (Role::Host, said.host, parts[2]),
            (Role::Validators, Address::system("validators"), parts[3]),
            (Role::Platform, Address::system("platform"), parts[4]),
        ];
        let mut to: BTreeMap<Address, u128> = BTreeMap::new();
        let measure = listing.measure.as_ref();
        if measure.is_some_and(|measure| receipt.spec_hash != Some(measure.spec)) {
            return Err("a measured call's receipt names another spec than its listing".to_owned());
        }
        let mut declared = Vec::new();
        for share in listing.datanets.iter().filter(|_| measure.is_none()) {
            let datanet = self.datanets.get(&share.datanet).ok_or("an unknown datanet")?;
            if !datanet.members.is_empty() {
                declared.push((share.weight, datanet));
            }
        }
        if !declared.is_empty() {
            let weights: Vec<u32> = declared.iter().map(|(weight, _)| *weight).collect();
            for ((_, datanet), atoms) in declared.into_iter().zip(shares(parts[0], &weights)?) {
                let weights: Vec<u32> = datanet.members.iter().map(|member| member.weight).collect();
                for (member, atoms) in datanet.members.iter().zip(shares(atoms, &weights)?) {
                    *to.entry(member.account).or_default() += atoms;
                }
            }
        }
        Ok(Due { legs, part: parts[0], shares: to, method: measure.map(|measure| measure.method.clone()) })
    }

    pub(crate) fn finalize_call(&mut self, command: &FinalizeCall) -> Result<(), String> {
        let signed = signatures::receipt(&command.receipt)?;
        let receipt = signed.payload();
        let key = (command.payer, command.call_id);
        let call = self.calls.get(&key).ok_or("an unknown call was finalized")?;
        self.speaks_for(signed.key(), &call.host)?;
        let says = command.head.signer == call.host
            && receipt.state == State::Final { index: call.index, leaf: call.leaf }
            && receipt.call_id == command.call_id
            && receipt.payer == command.payer
            && receipt.charge == Amount::from_atoms(call.charge);
        if !says {
            return Err("a final receipt does not refer to its provisional one".to_owned());
        }
        if call.method.is_some() {
            return self.finalize_measured(command, receipt);
        }
        let mut legs: Vec<(Role, Address, u128)> =
            call.shares.iter().map(|(account, atoms)| (Role::Contributor, *account, *atoms)).collect();
        if legs.is_empty() {
            legs.push((Role::Commons, commons(), call.part));
        }
        if !same(&receipt.legs, &legs) {
            return Err("a final receipt pays other than the declared weights".to_owned());
        }
        for (_, account, atoms) in legs {
            self.pay(&suspense(), &account, atoms)?;
        }
        let (_, leaf) = self.append_leaf(&command.receipt);
        if let Some(call) = self.calls.get_mut(&key) {
            call.end = End::Final(leaf);
        }
        Ok(())
    }

    /// A measured final receipt sets aside what contributors earn; the rest of their part goes to the commons.
    fn finalize_measured(&mut self, command: &FinalizeCall, receipt: &Receipt) -> Result<(), String> {
        let key = (command.payer, command.call_id);
        let call = self.calls.get(&key).ok_or("an unknown call was finalized")?;
        let (host, part, said) = (call.host, call.part, &receipt.attribution);
        if Some(&said.method) != call.method.as_ref() || said.explained.checked_add(said.residual) != Some(1 << 32) {
            return Err("a final receipt names another method, or shares that are not one whole".to_owned());
        }
        let earned: u128 =
            receipt.legs.iter().filter(|leg| leg.role == Role::Earnings).map(|leg| leg.amount.atoms()).sum();
        let rest = part.checked_sub(earned).ok_or("a final receipt pays more than the contributors' part")?;
        let told: u128 = said.totals.iter().map(|total| total.amount.atoms()).sum();
        if told > earned || (earned > 0 && said.influence_root.is_none()) {
            return Err("a final receipt tells of more than it pays, or pays without evidence".to_owned());
        }
        let legs = [(Role::Commons, commons(), rest), (Role::Earnings, earnings(), earned)];
        if !same(&receipt.legs, &legs) {
            return Err("a measured final receipt pays others than earnings and commons".to_owned());
        }
        for (_, account, atoms) in legs {
            self.pay(&suspense(), &account, atoms)?;
        }
        if earned > 0 {
            self.distributors.entry(host).or_default().funded += earned;
        }
        let (_, leaf) = self.append_leaf(&command.receipt);
        if let Some(call) = self.calls.get_mut(&key) {
            call.end = End::Final(leaf);
        }
        Ok(())
    }

    /// Contributor parts whose deadline has passed go to the commons.
    pub(crate) fn lapse(&mut self) -> Result<(), String> {
        let mut due = 0;
        while let Some((deadline, payer, call)) = self.deadlines.first().copied()
            && deadline <= self.now
        {
            self.deadlines.pop_first();
            let Some(call) = self.calls.get_mut(&(payer, call)).filter(|call| call.end == End::Open) else { continue };
            call.end = End::Lapsed;
            due += call.part;
        }
        self.pay(&suspense(), &commons(), due)
    }

    pub(crate) fn suspended(&self) -> u128 {
        self.calls.values().filter(|call| call.end == End::Open).map(|call| call.part).sum()
    }

    /// How many calls have a final receipt, and how many lapsed.
    pub(crate) fn call_ends(&self) -> (u64, u64) {
        let count = |wanted: fn(&End) -> bool| self.calls.values().filter(|call| wanted(&call.end)).count() as u64;
        (count(|end| matches!(end, End::Final(_))), count(|end| *end == End::Lapsed))
    }
}

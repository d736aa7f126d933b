//! A small signed world for tests: keys, a genesis, a listing with three contributors, calls, and the log they leave.

use std::collections::BTreeMap;

use agora_receipts::receipt::{DatanetRef, Decoding, WHOLE};
use agora_receipts::{Attribution, Kind, Prices, Receipt, State as ReceiptState, Usage};
use agora_types::authorization::{Authorization, Exact, Upto};
use agora_types::batch::{Batch, Entry};
use agora_types::channel::{ChannelConfig, Voucher};
use agora_types::command::*;
use agora_types::eip712::Network;
use agora_types::genesis::{Allocation, Genesis, Parameters, Vesting};
use agora_types::key::{StatementSigner, WalletKey};
use agora_types::merkle::{inclusion_proof, root};
use agora_types::{
    Address, Amount, CallId, Canonical as _, Code, CommandId, DatanetId, Earned, Hash, ListingId, Signed, Timestamp,
};

use crate::calls::{PriorCalls, declared_attribution, final_legs, measured_legs, provisional_attribution, settle_legs};
use crate::ports::log::{Index, Record};
use crate::{CallRecord, Economy, Sequencer, Verified, service_legs};

/// A key by its number.
pub fn key(number: u8) -> WalletKey {
    WalletKey::from_bytes(&[number; 32]).expect("small numbers are keys")
}

/// An amount of atoms.
pub fn atoms(atoms: u128) -> Amount {
    Amount::from_atoms(atoms)
}

/// Numbers of the keys.
pub const OPERATOR: u8 = 1;
/// Serves calls.
pub const HOST: u8 = 2;
/// Owns datanet, listing and model.
pub const OWNER: u8 = 3;
/// Pays for calls.
pub const PAYER: u8 = 4;
/// Signs the payer's vouchers.
pub const SESSION: u8 = 5;
/// Contributors, in rising order of their numbers.
pub const CONTRIBUTORS: [u8; 3] = [11, 12, 13];
/// Has a vesting allocation.
pub const FOUNDER: u8 = 20;

/// A world in one sequencer.
pub struct Kit {
    /// The genesis file.
    pub genesis: Genesis,
    /// Sequencer and state.
    pub sequencer: Sequencer,
    /// The permanent call index, as a disk would keep it.
    pub calls: PriorCalls,
    /// The receipt log's leaves.
    pub receipts: Vec<Vec<u8>>,
    /// The permanent index of single payments.
    pub payments: BTreeMap<Vec<u8>, Vec<u8>>,
    /// Every batch so far, with its records.
    pub log: Vec<(Batch, Vec<Record>)>,
    /// The time that the next batch is stamped with.
    pub now: Timestamp,
    ids: u128,
}

impl Default for Kit {
    fn default() -> Self {
        Self::new(Parameters::default())
    }
}

impl Kit {
    /// A funded network without listings.
    pub fn new(parameters: Parameters) -> Self {
        let now = Timestamp::from_secs(1_800_000_000).expect("a time");
        let allocation = |number: u8, open, vesting| Allocation {
            account: key(number).address(),
            amount: Amount::from_open(open),
            vesting,
        };
        let vesting = Vesting { start: now, cliff_s: 100, linear_s: 1_000 };
        let genesis = Genesis {
            version: 1,
            name: "kit".into(),
            chain_id: 4_020_711,
            time: now,
            dev: true,
            operator: key(OPERATOR).address(),
            checkpoint_key: StatementSigner::from_bytes(&[9; 32]).public(),
            parameters,
            allocations: vec![
                allocation(OPERATOR, 1_000, None),
                allocation(PAYER, 1_000, None),
                allocation(OWNER, 10, None),
                allocation(FOUNDER, 500, Some(vesting)),
            ],
        };
        let sequencer = Sequencer::new(&genesis).expect("the kit's genesis is good");
        let (calls, receipts, payments, log) = (BTreeMap::new(), Vec::new(), BTreeMap::new(), Vec::new());
        Self { genesis, sequencer, calls, receipts, payments, log, now: now.plus_secs(1), ids: 0 }
    }

    /// With a registered host key, datanet and listing, and a channel of 100 OPEN.
    pub fn ready() -> Self {
        let mut kit = Self::default();
        kit.register();
        kit.deposit(Amount::from_open(100), 0);
        kit
    }

    /// The network.
    pub fn network(&self) -> Network {
        self.genesis.network()
    }

    /// The economy.
    pub fn economy(&self) -> &Economy {
        self.sequencer.economy()
    }

    /// A fresh head for a key.
    pub fn head(&mut self, number: u8) -> Head {
        self.ids += 1;
        let id = CommandId::new(self.ids.to_be_bytes());
        Head { signer: key(number).address(), id, expires_at: self.now.plus_secs(60) }
    }

    /// A transfer of atoms between two keys' accounts.
    pub fn transfer(&mut self, from: u8, to: u8, amount: u128) -> Command {
        let (head, credit) = (self.head(from), key(to).address());
        Command::Transfer(Transfer { head, credit, amount: atoms(amount), pending: None, reference: 0, receipt: None })
    }

    /// Signs with the numbered key.
    pub fn sign(&self, number: u8, command: Command) -> Entry {
        Entry::sign(&self.network(), command, &key(number))
    }

    /// One batch of entries, all of whose signatures must be good; the answers.
    pub fn batch(&mut self, entries: Vec<Entry>) -> Vec<Result<(), Code>> {
        let network = self.network();
        let verified: Vec<Verified> =
            entries.into_iter().map(|entry| Verified::check(&network, entry).expect("well signed")).collect();
        let prior = verified
            .iter()
            .filter_map(Verified::call)
            .filter_map(|call| self.calls.get(&call).map(|record| (call, *record)))
            .collect();
        let proposed = self.sequencer.propose(self.now, verified, &prior);
        for record in &proposed.applied.records {
            match record.index {
                Index::Call => {
                    let payer = Address::from_slice(&record.key[..20]).expect("20 bytes");
                    let call = CallId::from_slice(&record.key[20..]).expect("16 bytes");
                    let value = CallRecord::from_bytes(&record.value).expect("canonical");
                    self.calls.insert((payer, call), value);
                }
                Index::Payment => {
                    let before = self.payments.insert(record.key.clone(), record.value.clone());
                    assert_eq!(before, None, "a single payment is posted once for ever");
                }
                Index::Receipt => {
                    assert_eq!(record.key, (self.receipts.len() as u64).to_be_bytes());
                    self.receipts.push(record.value.clone());
                }
            }
        }
        self.log.push((proposed.batch, proposed.applied.records));
        self.now = self.now.plus_nanos(1_000);
        let outcomes = proposed.applied.outcomes;
        outcomes.into_iter().map(|outcome| outcome.code().map_or(Ok(()), Err)).collect()
    }

    /// One signed command in a batch of its own.
    pub fn submit(&mut self, number: u8, command: Command) -> Result<(), Code> {
        let entry = self.sign(number, command);
        self.batch(vec![entry]).remove(0)
    }

    /// The host's receipt key.
    pub fn host_signer() -> StatementSigner {
        StatementSigner::from_bytes(&[HOST; 32])
    }

    /// The datanet's id.
    pub fn datanet() -> DatanetId {
        DatanetId::derive(&key(OWNER).address(), "maritime-law")
    }

    /// The listing's id.
    pub fn listing() -> ListingId {
        ListingId::derive(&key(OWNER).address(), "smollm2-maritime")
    }

    /// The command that registers the host's receipt key.
    pub fn register_key(&mut self) -> Command {
        let signer = Self::host_signer();
        let statement = KeyStatement {
            chain_id: self.genesis.chain_id,
            owner: key(HOST).address(),
            kind: KeyKind::Receipt,
            key: PublicKey::Statement(signer.public()),
        };
        let proof = KeyProof::Statement(signer.sign(&statement.tagged()));
        let valid_until = self.now.plus_secs(31_536_000);
        let (head, kind, key) = (self.head(HOST), statement.kind, statement.key);
        Command::RegisterKey(RegisterKey { head, kind, key, valid_until, proof })
    }

    /// The command that registers a version of the datanet, with weights 5, 3 and 2.
    pub fn register_datanet(&mut self, version: u32) -> Command {
        let mut members: Vec<Member> = CONTRIBUTORS
            .iter()
            .zip([5, 3, 2])
            .map(|(number, weight)| Member { account: key(*number).address(), weight })
            .collect();
        members.sort_by_key(|member| member.account);
        let (head, root) = (self.head(OWNER), Hash::sha256(version.to_be_bytes()));
        let (name, statement) = ("maritime-law".to_owned(), Hash::sha256(format!("signed version {version}")));
        Command::RegisterDatanet(RegisterDatanet { head, name, version, root, tree_size: 9, members, statement })
    }

    /// The command that registers the listing.
    pub fn register_listing(&mut self) -> Command {
        let head = self.head(OWNER);
        Command::RegisterListing(RegisterListing {
            head,
            name: "smollm2-maritime".into(),
            model_owner: key(OWNER).address(),
            hosts: vec![key(HOST).address()],
            datanets: vec![DatanetShare { datanet: Self::datanet(), weight: 1 }],
            base_hash: Hash::sha256("base"),
            adapter_hash: Some(Hash::sha256("adapter")),
            terms: Hash::sha256("terms"),
            measure: None,
        })
    }

    /// The same listing, attributed by a spec.
    pub fn register_measured(&mut self) -> Command {
        let measure = Measure { spec: Hash::sha256("spec"), method: "influence".to_owned() };
        match self.register_listing() {
            Command::RegisterListing(listing) => {
                Command::RegisterListing(RegisterListing { measure: Some(measure), ..listing })
            }
            other => other,
        }
    }

    /// Registers host key, datanet and listing.
    pub fn register(&mut self) {
        for (number, command) in
            [(HOST, self.register_key()), (OWNER, self.register_datanet(1)), (OWNER, self.register_listing())]
        {
            self.submit(number, command).expect("the kit's registrations are good");
        }
    }

    /// The channel from the payer to the listing.
    pub fn config(&self) -> ChannelConfig {
        ChannelConfig {
            payer: key(PAYER).address(),
            payer_authorizer: key(SESSION).address(),
            receiver: Address::listing(&Self::listing()),
            receiver_authorizer: key(HOST).address(),
            token: self.network().asset,
            withdraw_delay: 900,
            salt: Hash::ZERO,
        }
    }

    /// A deposit into the listing's channel; `salt` tells deposits apart.
    pub fn deposit_command(&self, amount: Amount, salt: u8) -> Command {
        let valid_before = self.now.as_secs() + 600;
        Command::Deposit(Deposit {
            config: self.config(),
            amount,
            valid_after: 0,
            valid_before,
            salt: Hash::new([salt; 32]),
        })
    }

    /// Deposits into the listing's channel.
    pub fn deposit(&mut self, amount: Amount, salt: u8) {
        let command = self.deposit_command(amount, salt);
        self.submit(PAYER, command).expect("the payer has enough");
    }

    /// The payer's authorization of one exact payment, good for ten minutes; `nonce` tells payments apart.
    pub fn exact(&self, to: Address, value: u128, nonce: u8) -> Authorization {
        Authorization::Exact(Exact {
            from: key(PAYER).address(),
            to,
            value: atoms(value),
            valid_after: 0,
            valid_before: self.now.as_secs() + 600,
            nonce: Hash::new([nonce; 32]),
        })
    }

    /// The same up to a maximum, for one facilitator.
    pub fn upto(&self, to: Address, max: u128, facilitator: u8, nonce: u8) -> Authorization {
        Authorization::Upto(Upto {
            from: key(PAYER).address(),
            to,
            max: atoms(max),
            facilitator: key(facilitator).address(),
            valid_after: 0,
            deadline: self.now.as_secs() + 600,
            nonce: Hash::new([nonce; 32]),
        })
    }

    /// The command with which a settler holds a payment of the payer for a minute.
    pub fn hold_command(&mut self, settler: u8, authorization: &Authorization) -> Command {
        let signature = key(PAYER).sign(&authorization.digest(&self.network()));
        let head = self.head(settler);
        Command::Hold(Box::new(Hold { head, authorization: authorization.clone(), signature, timeout_s: 60 }))
    }

    /// An honest provisional receipt of a service that the host's agent, account `seller`, sold for `price` atoms.
    pub fn service_receipt(&self, call: u8, seller: Address, price: u128) -> Receipt {
        let usage = Usage { input: 0, cached: 0, output: 1, hidden: 0 };
        Receipt {
            kind: Kind::Service,
            payee: seller,
            listing: None,
            parents: vec![Hash::sha256("the receipt it rests on")],
            base_hash: None,
            adapter_hash: None,
            tokenizer_hash: None,
            spec_hash: None,
            attribution: provisional_attribution(None),
            datanets: vec![],
            decoding: None,
            usage,
            prices: Prices { output: atoms(price), ..Prices::default() },
            charge: atoms(price),
            channel: None,
            cumulative: atoms(price),
            legs: service_legs(atoms(price), seller),
            ..self.receipt(call, 0, 0)
        }
    }

    /// The command that settles a held call with this receipt.
    pub fn settle_held_command(&mut self, held: &Authorization, receipt: &Receipt) -> Command {
        Command::SettleHeld(SettleHeld {
            head: self.head(HOST),
            payer: held.payer(),
            pending_id: held.pending_id(&self.network()),
            call_id: receipt.call_id,
            charge: receipt.charge,
            receipt: Signed::sign(receipt.clone(), &Self::host_signer()).to_bytes(),
        })
    }

    /// A voucher of the session key.
    pub fn voucher(&self, config: &ChannelConfig, max_claimable: Amount) -> Voucher {
        Voucher::sign(&self.network(), config.id(&self.network()), max_claimable, &key(SESSION))
    }

    /// An honest provisional receipt for the numbered call of `tokens` tokens at `price` atoms each.
    pub fn receipt(&self, call: u8, tokens: u64, price: u128) -> Receipt {
        let config = self.config();
        let channel = config.id(&self.network());
        let claimed = self.economy().channel(&channel).map_or(Amount::ZERO, |channel| channel.total_claimed);
        let usage = Usage { input: 0, cached: 0, output: tokens, hidden: 0 };
        let prices = Prices { output: atoms(price), ..Prices::default() };
        let charge = prices.charge(&usage).expect("small");
        let known = self.economy().datanet(&Self::datanet()).expect("registered");
        let measure = self.economy().listing(&Self::listing()).and_then(|listing| listing.measure.as_ref());
        let legs = settle_legs(&self.genesis.parameters.split, charge, key(OWNER).address(), key(HOST).address());
        Receipt {
            version: 1,
            kind: Kind::Inference,
            network: self.genesis.chain_id,
            call_id: CallId::new([call; 16]),
            host: key(HOST).address(),
            host_seq: u64::from(call),
            time: self.now,
            payer: config.payer,
            payee: config.receiver,
            listing: Some(Self::listing()),
            parents: vec![],
            base_hash: Some(Hash::sha256("base")),
            adapter_hash: Some(Hash::sha256("adapter")),
            tokenizer_hash: Some(Hash::sha256("tokenizer")),
            spec_hash: measure.map(|measure| measure.spec),
            datanets: vec![DatanetRef { id: Self::datanet(), root: known.root, tree_size: known.tree_size }],
            request_commit: Hash::sha256("request"),
            response_commit: Hash::sha256("response"),
            decoding: Some(Decoding {
                temperature_milli: 0,
                top_k: 0,
                top_p_milli: 1_000,
                seed: 0,
                output_max: 512,
                min_p_milli: 0,
                repetition_milli: 1_000,
                hidden_max: 0,
            }),
            usage,
            prices,
            charge,
            channel: Some(channel),
            cumulative: claimed.checked_add(charge).expect("small"),
            attribution: provisional_attribution(measure),
            legs,
            state: ReceiptState::Provisional,
        }
    }

    /// The command that settles a call with this receipt, signed by the host's receipt key.
    pub fn settle_command(&mut self, receipt: &Receipt) -> SettleCall {
        let config = self.config();
        SettleCall {
            head: self.head(HOST),
            call_id: receipt.call_id,
            max_claimable: receipt.cumulative,
            voucher_signature: self.voucher(&config, receipt.cumulative).signature,
            config,
            charge: receipt.charge,
            cumulative: receipt.cumulative,
            receipt: Signed::sign(receipt.clone(), &Self::host_signer()).to_bytes(),
        }
    }

    /// Settles an honest call.
    pub fn settle(&mut self, call: u8, tokens: u64, price: u128) -> Receipt {
        let receipt = self.receipt(call, tokens, price);
        let command = self.settle_command(&receipt);
        self.submit(HOST, Command::SettleCall(Box::new(command))).expect("an honest call");
        receipt
    }

    /// The honest final receipt of an open call.
    pub fn final_receipt(&self, provisional: &Receipt) -> Receipt {
        let call = self.economy().open_call(provisional.payer, provisional.call_id).expect("an open call");
        Receipt {
            attribution: declared_attribution(call),
            legs: final_legs(call),
            state: ReceiptState::Final { index: call.record.index, leaf: call.record.leaf },
            time: self.now,
            ..provisional.clone()
        }
    }

    /// The final receipt of an open measured call, which sets `earned` atoms aside.
    pub fn measured_receipt(&self, provisional: &Receipt, earned: u128) -> Receipt {
        let call = self.economy().open_call(provisional.payer, provisional.call_id).expect("an open call");
        let explained = WHOLE / 2;
        let attribution = Attribution {
            influence_root: Some(Hash::sha256("influence")),
            explained,
            residual: WHOLE - explained,
            ..provisional.attribution.clone()
        };
        Receipt {
            attribution,
            legs: measured_legs(call, atoms(earned)).expect("no more than the part"),
            state: ReceiptState::Final { index: call.record.index, leaf: call.record.leaf },
            time: self.now,
            ..provisional.clone()
        }
    }

    /// What accounts have earned from the host, as leaves: sorted, with their root and their sum.
    pub fn earned(rows: &[(u8, u128)]) -> (Vec<Earned>, Hash, Amount) {
        let host = key(HOST).address();
        let mut leaves: Vec<Earned> = rows
            .iter()
            .map(|(number, sum)| Earned { host, account: key(*number).address(), cumulative: atoms(*sum) })
            .collect();
        leaves.sort_by_key(|leaf| leaf.account);
        let hashes: Vec<Hash> = leaves.iter().map(Earned::leaf).collect();
        let total = Amount::checked_sum(leaves.iter().map(|leaf| leaf.cumulative)).expect("small");
        (leaves, root(&hashes), total)
    }

    /// The command with which the host publishes an epoch of these.
    pub fn publish_command(&mut self, epoch: u64, rows: &[(u8, u128)]) -> Command {
        let (leaves, root, total) = Self::earned(rows);
        let (head, receipts) = (self.head(HOST), self.receipts.len() as u64);
        let count = leaves.len() as u64;
        Command::PublishEarnings(PublishEarnings { head, epoch, root, count, total, receipts })
    }

    /// The command with which the account of `number` is paid what the epoch says, sent by anyone.
    pub fn claim_command(&mut self, sender: u8, epoch: u64, rows: &[(u8, u128)], number: u8) -> Command {
        let (leaves, _, _) = Self::earned(rows);
        let account = key(number).address();
        let at = leaves.iter().position(|leaf| leaf.account == account).expect("the account has earned");
        let hashes: Vec<Hash> = leaves.iter().map(Earned::leaf).collect();
        let (index, cumulative) = (at as u64, leaves[at].cumulative);
        let path = inclusion_proof(&hashes, index).expect("a leaf of the tree");
        let (head, host) = (self.head(sender), key(HOST).address());
        Command::ClaimEarnings(ClaimEarnings { head, host, epoch, account, cumulative, index, path })
    }

    /// The command that finalizes a call with this receipt.
    pub fn finalize_command(&mut self, receipt: &Receipt) -> Command {
        let head = self.head(HOST);
        let bytes = Signed::sign(receipt.clone(), &Self::host_signer()).to_bytes();
        Command::FinalizeCall(FinalizeCall { head, payer: receipt.payer, call_id: receipt.call_id, receipt: bytes })
    }

    /// What an account holds, in atoms.
    pub fn balance(&self, account: &Address) -> u128 {
        self.economy().state().ledger.accounts.get(account).map_or(0, |account| account.balance().atoms())
    }

    /// A second machine that replays the log, with the newest records on its disk as a restarted node has them.
    pub fn replayed(&self) -> Sequencer {
        let mut sequencer = Sequencer::new(&self.genesis).expect("a good genesis");
        for (batch, _) in &self.log {
            sequencer.replay(batch, &self.calls).expect("our own log");
        }
        sequencer
    }
}

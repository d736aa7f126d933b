//! Giving data to a datanet: what `agora datanet add` and the public port do alike.
//!
//! A file is read and checked as a whole ([`read`]; a stranger's Parquet by another process, [`apart`]). Its items are
//! committed to on the ledger, a batch at a time, and revealed to the keeper page by page. Who was interrupted gives the
//! same file again: the same file for the same datanet is the same batch, so that the commitment stands already and what
//! was revealed is passed over.

pub(crate) mod apart;
pub(crate) mod read;

use agora_actors::clock::{Clock as _, fresh_head};
use agora_datanets::{
    Batch, BatchSeed, Charter, ContributionKind, ITEMS_MAX, Item, Reveal, Submission, Terms, licence_hash,
};
use agora_shell::{Failure, Outcome};
use agora_types::batch::Entry;
use agora_types::command::{Command, CommitData, Transfer};
use agora_types::eip712::Network;
use agora_types::key::{StatementSigner, WalletKey};
use agora_types::{Address, Amount, Canonical as _, Code, Hash, Signed};
use futures::future::BoxFuture;

use crate::cli::datanet::ask;
use crate::cli::datanet::documents::Given;
use crate::control::{Contributed, DatanetAsk, RevealedItem, Service};
use crate::node::System;
use read::Sorted;

/// Items and bytes that are revealed at once.
const PAGE_ITEMS: usize = 128;
const PAGE_BYTES: usize = 2 << 20;

/// A file that was read and checked, and what giving it costs.
pub(crate) struct Offer {
    charter: Signed<Charter>,
    items: Vec<Item>,
    /// For each item, to the owner.
    fee: Amount,
    /// What would be given, and for how much.
    pub(crate) given: Given,
}

impl Offer {
    /// What `giver` can give to the datanet of a charter.
    ///
    /// # Errors
    /// `datanet.bad_policy` for a fee that is no amount.
    pub(crate) fn of(charter: Signed<Charter>, giver: Address, sorted: Sorted) -> Outcome<Self> {
        let Charter { terms, policy, .. } = charter.payload();
        // The owner pays itself nothing.
        let fee = if giver == terms.owner { Amount::ZERO } else { policy.fee };
        let items = u32::try_from(sorted.items.len()).unwrap_or(u32::MAX);
        let given = Given {
            datanet: terms.id(),
            items,
            new: 0,
            batches: Vec::new(),
            left_out: sorted.left_out,
            flagged: sorted.flagged,
            fee: price(fee, items)?,
            dry_run: false,
        };
        Ok(Self { charter, items: sorted.items, fee, given })
    }

    /// The answer to who gives nothing for now.
    pub(crate) fn dry(self) -> Given {
        Given { dry_run: true, ..self.given }
    }

    /// Who is paid.
    pub(crate) fn owner(&self) -> Address {
        self.charter.payload().terms.owner
    }
}

fn price(fee: Amount, count: u32) -> Outcome<Amount> {
    let price = fee.checked_mul(u128::from(count));
    price.ok_or_else(|| Failure::new(Code::PolicyInvalid, "the fee of so many items"))
}

/// What is said of every batch of a file.
pub(crate) struct Saying {
    /// How the items help.
    pub(crate) kind: ContributionKind,
    /// What each counts where nothing is measured.
    pub(crate) weight: u32,
    /// The datanet's if absent.
    pub(crate) licence: Option<String>,
    /// One line for people. Of the same file it must be the same each time.
    pub(crate) title: String,
}

/// Lets a contributor's commitments be made and paid.
pub(crate) trait Purse: Send + Sync {
    /// Commits entries as one step, which commits to a batch and pays its fee: true where that happened now, false where the
    /// commitment stood already and nothing was paid.
    fn commit<'a>(&'a self, batch: &'a Submission, fee: Amount, entries: Vec<Entry>) -> BoxFuture<'a, Outcome<bool>>;
}

/// Who gives, and what it is done with.
pub(crate) struct Giver<'a> {
    /// Answers for the keeper.
    pub(crate) service: &'a dyn Service,
    /// Pays.
    pub(crate) purse: &'a dyn Purse,
    /// The network.
    pub(crate) network: Network,
    /// The contributor.
    pub(crate) account: &'a WalletKey,
    /// What signs its statements.
    pub(crate) signer: &'a StatementSigner,
}

/// A batch before it is committed to.
struct Prepared {
    batch: Batch,
    reveals: Vec<Reveal>,
    submission: Submission,
}

impl Giver<'_> {
    /// Gives a file, batch by batch; `progress` is told how many items are revealed. The answer says what was paid now.
    ///
    /// # Errors
    /// `datanet.bad_submission` for title, licence or weight, before anything is paid; the purse's and the keeper's refusals.
    pub(crate) async fn give(
        &self,
        offer: Offer,
        said: &Saying,
        progress: &mut (dyn FnMut(u64) + Send),
    ) -> Outcome<Given> {
        let Offer { charter, items, fee, mut given } = offer;
        let terms = &charter.payload().terms;
        given.fee = Amount::ZERO;
        let mut done = 0;
        for items in items.chunks(ITEMS_MAX as usize) {
            let prepared = self.prepare(terms, items, said)?;
            let price = price(fee, prepared.submission.count)?;
            if self.commit(&prepared.submission, terms.owner, price).await? {
                given.fee = given.fee.checked_add(price).unwrap_or(price);
            }
            let (seq, new) = self.reveal(prepared, &mut |items| progress(done + items)).await?;
            done += items.len() as u64;
            given.batches.push(seq);
            given.new += new;
        }
        Ok(given)
    }

    fn prepare(&self, terms: &Terms, items: &[Item], said: &Saying) -> Outcome<Prepared> {
        let refused = |code: Code| Failure::new(code, "the batch");
        let (network, datanet, contributor) = (terms.network, terms.id(), self.account.address());
        let mut stream = Hash::stream();
        for item in items {
            stream.piece(item.data().map_err(refused)?);
        }
        let seed = BatchSeed { network, datanet, items: stream.finish() };
        let secret = BatchSeed::secret(&Signed::sign(seed, self.signer));
        let mut batch = Batch::new(contributor, secret);
        let reveals =
            items.iter().map(|item| batch.add(item.clone())).collect::<Result<Vec<_>, _>>().map_err(refused)?;
        let submission = Submission {
            network,
            datanet,
            contributor,
            kind: said.kind,
            weight: said.weight,
            licence: said.licence.clone().unwrap_or_else(|| terms.licence.clone()),
            title: said.title.clone(),
            root: batch.root(),
            count: batch.count(),
            time: System.now(),
        };
        submission.check().map_err(|code| Failure::new(code, "title, licence or weight"))?;
        Ok(Prepared { batch, reveals, submission })
    }

    /// Fee and commitment in one step. A commitment that stands already was paid for.
    async fn commit(&self, submission: &Submission, owner: Address, price: Amount) -> Outcome<bool> {
        let (network, account) = (&self.network, self.account.address());
        let mut entries = Vec::new();
        if !price.is_zero() {
            let head = fresh_head(&System, &System, account);
            let transfer = Transfer { head, credit: owner, amount: price, pending: None, reference: 0, receipt: None };
            entries.push(Entry::sign(network, Command::Transfer(transfer), self.account).linked());
        }
        let commit = CommitData {
            head: fresh_head(&System, &System, account),
            datanet: submission.datanet,
            root: submission.root,
            count: submission.count,
            licence: licence_hash(&submission.licence),
        };
        entries.push(Entry::sign(network, Command::CommitData(commit), self.account));
        self.purse.commit(submission, price, entries).await
    }

    /// Reveals a batch: the number of its commitment, and how many items were new.
    async fn reveal(&self, prepared: Prepared, progress: &mut (dyn FnMut(u64) + Send)) -> Outcome<(u64, u32)> {
        let Prepared { batch, reveals, submission } = prepared;
        let signed = hex::encode(Signed::sign(submission, self.signer).to_bytes());
        let (mut at, mut new, mut seq) = (0, 0, 0);
        while at < reveals.len() {
            let mut page = Vec::new();
            let mut bytes = 0;
            while at < reveals.len() && page.len() < PAGE_ITEMS && (page.is_empty() || bytes < PAGE_BYTES) {
                let index = u32::try_from(at).expect("at most 65,536 items");
                let reveal = reveals[at].to_bytes();
                bytes += reveal.len();
                let path = batch.proof(index).expect("an item of this batch");
                page.push(RevealedItem { index, reveal: hex::encode(reveal), path });
                at += 1;
            }
            let asked = DatanetAsk::Contribute { submission: signed.clone(), items: page };
            let taken: Contributed = ask(self.service, asked).await?;
            new += taken.new;
            seq = taken.seq;
            progress(at as u64);
        }
        Ok((seq, new))
    }
}

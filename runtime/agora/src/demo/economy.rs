//! Who takes part in the demo: three contributors, the owner of datanet and listing, and the wallet that pays.

use std::sync::Arc;

use agora_actors::clock::{Clock as _, fresh_head};
use agora_catalog::{DatanetPart, Listing, ListingHost};
use agora_datanets::similar::Clusters;
use agora_datanets::{
    Batch, Contribution, ContributionKind, DatanetVersion, Draft, Item, KindWeights, Policy, Position, Submission,
    Terms, licence_hash,
};
use agora_economy::ports::ledger::Ledger;
use agora_inference_api::BaseInfo;
use agora_shell::keystore::KeyStore;
use agora_shell::{Failure, Outcome};
use agora_types::batch::Entry;
use agora_types::command::{Command, CommitData, Head, Transfer};
use agora_types::key::{StatementSigner, WalletKey};
use agora_types::{Address, Amount, Code, DatanetId, Hash, ListingId, Prices, Signed};

use crate::control::{Account, Request, Service};
use crate::node::network::{MAIN, refused};
use crate::node::{Running, System};

/// The wallet that pays the agent.
pub(super) const WALLET: &str = "demo";
/// Owns datanet and listing.
const OWNER: &str = "owner";
const DATANET: &str = "sea-notes";
/// Of the notes.
const LICENCE: &str = "CC-BY-4.0";
const LISTING: &str = "smollm2-sea";

/// A contribution to the demo's datanet: by whom, how heavy its owner declares it, and the text itself.
struct Note {
    name: &'static str,
    kind: ContributionKind,
    weight: u32,
    title: &'static str,
    text: &'static str,
}

const NOTES: [Note; 3] = [
    Note {
        name: "ada",
        kind: ContributionKind::Source,
        weight: 5,
        title: "What lighthouses are for",
        text: "A lighthouse marks a coast, a reef or a harbour for ships at night and in fog. Its light has a rhythm of \
               its own, so that a sailor knows which lighthouse it is.",
    },
    Note {
        name: "bo",
        kind: ContributionKind::Source,
        weight: 3,
        title: "How tides come about",
        text: "Moon and sun pull at the sea. Where both pull in one line the tides are highest: spring tide. A week later \
               they pull at right angles: neap tide.",
    },
    Note {
        name: "chi",
        kind: ContributionKind::Correction,
        weight: 2,
        title: "Correction: who owns a wreck",
        text: "A wreck is not free for whoever finds it: its owner keeps it, and a salvor is owed a reward.",
    },
];

/// The founded economy.
pub(super) struct Economy {
    /// Names and accounts.
    pub(super) people: Vec<(String, Address)>,
    /// Each contributor with its declared weight.
    pub(super) members: Vec<(String, u32)>,
    /// The datanet.
    pub(super) datanet: DatanetId,
    /// The listing.
    pub(super) listing: Listing,
    store: KeyStore,
    passphrase: zeroize::Zeroizing<String>,
}

fn head(signer: Address) -> Head {
    fresh_head(&System, &System, signer)
}

async fn commit(running: &Running, command: Command, key: &WalletKey) -> Outcome<()> {
    let entry = Entry::sign(&running.genesis().network(), command, key);
    let ledger: &dyn Ledger = &running.handles().ledger;
    ledger.commit_one(entry).await.map_err(|error| refused(error.into()))
}

impl Economy {
    /// Registers datanet and listing, unless an earlier run did.
    pub(super) async fn found(running: &Running, model: &BaseInfo) -> Outcome<Self> {
        let network = running.network();
        let (store, passphrase) = (network.store(), network.passphrase.clone());
        let wallet = |name: &str| store.wallet_or_new(name, &passphrase, network.cost);
        let signer = |name: &str| store.statement_or_new(&format!("{name}-statements"), &passphrase, network.cost);
        let owner = wallet(OWNER)?;
        let mut people = vec![("owner".to_owned(), owner.address()), ("host".to_owned(), running.host().0)];
        let datanet = DatanetId::derive(&owner.address(), DATANET);
        let mut contributors = Vec::new();
        for note in &NOTES {
            let contributor = wallet(note.name)?;
            people.push((note.name.to_owned(), contributor.address()));
            contributors.push((note, contributor, signer(note.name)?));
        }
        let known = running.handles().ledger.query(move |economy| economy.datanet(&datanet).is_some()).await;
        if !known.map_err(|error| refused(error.into()))? {
            let version = first_version(running, owner.address(), &contributors).await?;
            let statement = Signed::sign(version.clone(), &signer(OWNER)?).hash();
            let registration = version.registration(head(owner.address()), statement);
            commit(running, Command::RegisterDatanet(registration), &owner).await?;
        }
        let listing = listing(running, model, &owner, datanet);
        let (listing, signed) = (listing.clone(), Signed::sign(listing, &signer(OWNER)?));
        let registered = registered(running, listing.id()).await?;
        let listing = match registered {
            // An earlier run's listing stands, unless it was of another model.
            Some(known) if known.payload().base_hash == model.hash => known.payload().clone(),
            _ => {
                let registration = listing.registration(head(owner.address()), signed.hash());
                commit(running, Command::RegisterListing(registration), &owner).await?;
                running.handles().directory.publish(signed).await.map_err(refused)?;
                listing
            }
        };
        let members = NOTES.iter().map(|note| (note.name.to_owned(), note.weight)).collect();
        Ok(Self { people, members, datanet, listing, store, passphrase })
    }

    /// Gives the demo's wallet `amount` out of the dev genesis; answers with its account.
    pub(super) async fn fund(&self, running: &Running, amount: Amount) -> Outcome<Address> {
        let to = self.store.wallet_or_new(WALLET, &self.passphrase, running.network().cost)?.address();
        let main = self.store.open_wallet(MAIN, &self.passphrase)?;
        let transfer =
            Transfer { head: head(main.address()), credit: to, amount, pending: None, reference: 0, receipt: None };
        commit(running, Command::Transfer(transfer), &main).await?;
        Ok(to)
    }

    /// What everybody has now.
    pub(super) async fn earnings(&self, service: &Arc<dyn Service>) -> Outcome<Vec<(String, Amount)>> {
        let mut earned = Vec::new();
        for (name, address) in &self.people {
            let account: Account = service.call(Request::Account { address: *address }).await?;
            earned.push((name.clone(), account.balance));
        }
        Ok(earned)
    }
}

async fn registered(running: &Running, id: ListingId) -> Outcome<Option<Signed<Listing>>> {
    use agora_actors::purchase::Directory as _;
    running.handles().directory.get(id).await.map_err(refused)
}

/// The datanet of the notes, each a submission of its own by one of `contributors`, who commits to it on the ledger first.
async fn first_version(
    running: &Running,
    owner: Address,
    contributors: &[(&Note, WalletKey, StatementSigner)],
) -> Outcome<DatanetVersion> {
    let bad = |code| Failure::new(code, "the demo's datanet");
    let terms = Terms {
        network: running.genesis().chain_id,
        owner,
        name: DATANET.to_owned(),
        title: "Notes about the sea".to_owned(),
        description: "Three short notes, for the demo.".to_owned(),
        licence: LICENCE.to_owned(),
        terms_hash: None,
        kind_weights: KindWeights::default(),
    };
    let (network, datanet) = (terms.network, terms.id());
    let mut draft = Draft::new(terms, Policy::default()).map_err(bad)?;
    for (note, wallet, key) in contributors {
        let contributor = wallet.address();
        // Secret as the key is, and the same whenever the demo runs.
        let secret = Hash::sha256_of(&[b"agora/demo-batch/v1", key.to_bytes().as_slice(), note.title.as_bytes()]);
        let mut batch = Batch::new(contributor, *secret.as_bytes());
        let reveal = batch.add(Item::Text(note.text.to_owned())).map_err(bad)?;
        let (content_hash, size_bytes) = reveal.content(&contributor).map_err(bad)?;
        let (root, count) = (batch.root(), batch.count());
        let committed =
            || running.handles().ledger.query(move |economy| economy.commitment(datanet, contributor, root).copied());
        if committed().await.map_err(|error| refused(error.into()))?.is_none() {
            let (head, licence) = (head(contributor), licence_hash(LICENCE));
            commit(running, Command::CommitData(CommitData { head, datanet, root, count, licence }), wallet).await?;
        }
        let record = committed().await.map_err(|error| refused(error.into()))?;
        let seq = record.ok_or_else(|| bad(Code::CommitmentInvalid))?.number;
        let submission = Submission {
            network,
            datanet,
            contributor,
            kind: note.kind,
            weight: note.weight,
            licence: LICENCE.to_owned(),
            title: note.title.to_owned(),
            root,
            count,
            time: System.now(),
        };
        let submission = Signed::sign(submission, key);
        draft.submit(seq, &submission).map_err(bad)?;
        let position = Position { seq, index: 0 };
        let contribution = Contribution { position, submission: submission.hash(), content_hash, size_bytes };
        draft.list(&contribution).map_err(bad)?;
    }
    let clusters = Clusters::none(draft.len());
    Ok(draft.version(1, &clusters, System.now()).map_err(bad)?.0)
}

fn listing(running: &Running, model: &BaseInfo, owner: &WalletKey, datanet: DatanetId) -> Listing {
    let (account, key) = running.host();
    Listing {
        network: running.genesis().chain_id,
        owner: owner.address(),
        name: LISTING.to_owned(),
        title: "SmolLM2 135M, offered with the notes about the sea".to_owned(),
        description: "A tiny model; whoever wrote the notes is paid for every answer.".to_owned(),
        topics: vec!["sea".to_owned(), "ship".to_owned(), "lighthouse".to_owned(), "tide".to_owned()],
        model_owner: owner.address(),
        hosts: vec![ListingHost { account, key }],
        base_hash: model.hash,
        adapter_hash: None,
        datanets: vec![DatanetPart { datanet, weight: 1 }],
        // A millionth of an OPEN for a prompt token, four for one that is written.
        prices: Prices {
            input: Amount::from_atoms(1_000_000_000_000),
            cached: Amount::from_atoms(1_000_000_000_000),
            output: Amount::from_atoms(4_000_000_000_000),
            hidden: Amount::from_atoms(4_000_000_000_000),
        },
        context_max: model.context_max.min(2_048),
        output_max: 512,
        time: System.now(),
        measure: None,
    }
}

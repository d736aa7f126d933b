//! Datanets behind the public port: what there is, and what contributors with an API key give.
//!
//! The contributor is the key's account, which this node keeps, and the data is signed for with the key's statement key.
//! Reading, hashing and the keeper's disk block, so a file is worked on by a thread that may, which nobody ends half way.
//! After a crash the same file goes on where it was: what its fee costs stands at the head of
//! `actors/src/pay/keys/fees.rs`, what became of its items at that of `actors/src/datanets.rs`.

use std::io::Cursor;
use std::path::PathBuf;
use std::sync::Arc;

use agora_actors::CallError;
use agora_actors::clock::Clock as _;
use agora_actors::pay::{ApiKeys, Contributor, Fee};
use agora_datanets::{Act, ITEMS_MAX, Subject, Submission, Withdrawal};
use agora_economy::ports::datanets::{Contribution, Datanets, Document};
use agora_economy::ports::pay::{Pending, Trouble};
use agora_shell::output::{self, to_json};
use agora_shell::{Failure, Outcome};
use agora_types::batch::Entry;
use agora_types::eip712::Network;
use agora_types::{Amount, Code, Hash, Signed};
use futures::FutureExt as _;
use futures::future::BoxFuture;
use tokio::runtime::Handle;

use super::System;
use super::network::refused;
use crate::cli::datanet::documents::{Given, Said};
use crate::cli::datanet::{ask, charter, find};
use crate::control::{ActTaken, DatanetAsk, Datanets as List, Service};
use crate::giving::read::{self, Rows, Shape, sort};
use crate::giving::{Giver, Offer, Purse, Saying, apart};

/// What a batch is called whose contributor gives it no title: always the same, since a file that is sent again must be
/// the same batch.
const TITLE: &str = "given over HTTP";
/// What messages call the file.
const NAME: &str = "the file";

/// The port.
#[derive(Clone)]
pub(super) struct Contributions(Arc<Inner>);

struct Inner {
    service: Arc<dyn Service>,
    keys: Arc<ApiKeys>,
    network: Network,
    reader: Option<PathBuf>,
}

impl Contributions {
    /// Over a running node. `reader` is the program that reads strangers' Parquet files (`giving/apart.rs`); without it they
    /// are refused.
    pub(super) fn new(
        service: Arc<dyn Service>,
        keys: Arc<ApiKeys>,
        network: Network,
        reader: Option<PathBuf>,
    ) -> Self {
        Self(Arc::new(Inner { service, keys, network, reader }))
    }
}

impl Inner {
    async fn given(&self, key: &str, contribution: Contribution) -> Outcome<Given> {
        let by = self.keys.contributor(key).await.map_err(refused)?;
        let service = &*self.service;
        let net = find(service, &contribution.datanet).await?;
        let charter = charter(service, net.id).await?;
        let Contribution { kind, weight, licence, title, skip_bad, dry_run, .. } = &contribution;
        let said = Saying {
            kind: *kind,
            weight: *weight,
            licence: licence.clone(),
            title: title.clone().unwrap_or_else(|| TITLE.to_owned()),
        };
        let (skip_bad, dry_run) = (*skip_bad, *dry_run);
        let sorted = sort(self.rows(contribution)?, &charter.payload().policy, (NAME, skip_bad))?;
        let offer = Offer::of(charter, by.account().address(), sorted)?;
        if dry_run {
            return Ok(offer.dry());
        }
        let purse = Budget { keys: &self.keys, by: &by };
        let (account, signer) = (by.account(), by.signer());
        let giver = Giver { service, purse: &purse, network: self.network, account, signer };
        giver.give(offer, &said, &mut |_| ()).await
    }

    /// At most one batch: more is given apart.
    fn rows(&self, contribution: Contribution) -> Outcome<Rows> {
        let Contribution { format, columns, whole, body, .. } = contribution;
        let shape = Shape { format, columns, whole, items_max: ITEMS_MAX };
        read::rows(Cursor::new(body), shape, |file, mapping, limits| {
            let none = || Failure::new(Code::WireUnsupported, "this node reads no Parquet; send JSON lines");
            let program = self.reader.as_deref().ok_or_else(none)?;
            let rows = apart::read(program, file.get_ref(), &mapping, limits.items_max)?;
            Ok(Box::new(rows.into_iter()))
        })
    }

    async fn taken_back(&self, key: &str, datanet: &str, content: Hash) -> Outcome<Said> {
        let by = self.keys.contributor(key).await.map_err(refused)?;
        let net = find(&*self.service, datanet).await?;
        let withdrawal = Withdrawal {
            network: self.network.chain_id,
            datanet: net.id,
            contributor: by.account().address(),
            subject: Subject::Contribution(content),
            time: System.now(),
        };
        let act = Act::Withdrawal(Signed::sign(withdrawal, by.signer()));
        let taken: ActTaken = ask(&*self.service, DatanetAsk::Act { act: hex::encode(act.to_bytes()) }).await?;
        Ok(Said { datanet: net.id, number: taken.number })
    }
}

/// An API key's budget.
struct Budget<'a> {
    keys: &'a ApiKeys,
    by: &'a Contributor,
}

impl Purse for Budget<'_> {
    fn commit<'a>(
        &'a self,
        batch: &'a Submission,
        amount: Amount,
        entries: Vec<Entry>,
    ) -> BoxFuture<'a, Outcome<bool>> {
        let fee = Fee { datanet: batch.datanet, root: batch.root, amount };
        async move { self.keys.pay_fee(self.by, &fee, entries).await.map_err(refused) }.boxed()
    }
}

fn document<T: output::Document>(document: &T) -> Document {
    Document(to_json(document).to_string())
}

fn trouble(failure: Failure) -> Trouble {
    CallError::new(failure.code, failure.what).into()
}

impl Datanets for Contributions {
    fn list(&self, skip: u32, limit: u32) -> Pending<'_, Document> {
        Box::pin(async move {
            let all: List = ask(&*self.0.service, DatanetAsk::List).await.map_err(trouble)?;
            let some = all.datanets.into_iter().skip(skip as usize).take(limit as usize);
            Ok(document(&List { datanets: some.collect() }))
        })
    }

    fn show<'a>(&'a self, datanet: &'a str) -> Pending<'a, Document> {
        Box::pin(async move { Ok(document(&find(&*self.0.service, datanet).await.map_err(trouble)?)) })
    }

    fn admit<'a>(&'a self, key: &'a str) -> Pending<'a, ()> {
        Box::pin(async move {
            self.0.keys.contributor(key).await?;
            Ok(())
        })
    }

    fn contribute<'a>(&'a self, key: &'a str, contribution: Contribution) -> Pending<'a, Document> {
        let (inner, key) = (Arc::clone(&self.0), key.to_owned());
        Box::pin(async move {
            let executor = Handle::current();
            let work = move || executor.block_on(inner.given(&key, contribution));
            let given = tokio::task::spawn_blocking(work).await;
            // The panic's own words are in the log.
            let failed = |_| Trouble::new(Code::NodeIo, "the file was not worked on to its end; send it again");
            Ok(document(&given.map_err(failed)?.map_err(trouble)?))
        })
    }

    fn withdraw<'a>(&'a self, key: &'a str, datanet: &'a str, content: Hash) -> Pending<'a, Document> {
        Box::pin(async move {
            let said = self.0.taken_back(key, datanet, content).await.map_err(trouble)?;
            Ok(document(&said))
        })
    }
}

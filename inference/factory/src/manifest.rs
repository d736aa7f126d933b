//! The manifest: what an adapter was made of, so that another can make it again or see that it was not.
//!
//! Its hash is that of its canonical CBOR, in which real numbers are decimal texts; JSON is the view that lies beside the
//! adapter, and gives the same hash when it is read again.

use std::fs::{self, File};
use std::io::Write as _;
use std::path::{Path, PathBuf};

use agora_openlora::weights::Weights;
use agora_receipts::receipt::DatanetRef;
use agora_types::{Canonical, Hash};
use minicbor::{Decode, Encode};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{Settings, TrainError, Trained, loss_plot};

/// Which code trained: the release, and behind the plus what changes whenever its numbers do. A manifest names behind it how
/// products were rounded, if not as on every machine.
pub const CODE_VERSION: &str = concat!("agora-factory ", env!("CARGO_PKG_VERSION"), "+1");

/// The files of an adapter in PEFT's form.
const FILES: [&str; 2] = ["adapter_config.json", "adapter_model.safetensors"];

/// The base model.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Base {
    /// For people.
    #[n(0)]
    pub name: String,
    /// SHA-256 of its file.
    #[n(1)]
    pub hash: Hash,
    /// Hash of its tokenizer.
    #[n(2)]
    pub tokenizer_hash: Hash,
}

/// What was learnt from, and how much of it was computed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Counts {
    /// Examples that were learnt from.
    #[n(0)]
    pub examples: u64,
    /// Examples that were held out.
    #[n(1)]
    pub held_out: u64,
    /// Steps that were made.
    #[n(2)]
    pub steps: u32,
    /// Tokens of prompts and responses in all steps.
    #[n(3)]
    pub tokens: u64,
    /// Tokens of responses in all steps.
    #[n(4)]
    pub response_tokens: u64,
}

/// Losses in millionths of a nat per token of the responses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct Losses {
    /// Of the first step.
    #[n(0)]
    pub first_micro: u64,
    /// Of the last step.
    #[n(1)]
    pub last_micro: u64,
    /// Of the examples that are held out, before the first step.
    #[n(2)]
    pub held_out_first_micro: Option<u64>,
    /// The same behind the last step.
    #[n(3)]
    pub held_out_last_micro: Option<u64>,
}

/// A file of the adapter.
#[derive(Debug, Clone, PartialEq, Eq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
pub struct AdapterFile {
    /// Its name.
    #[n(0)]
    pub name: String,
    /// Bytes.
    #[n(1)]
    pub size: u64,
    /// SHA-256.
    #[n(2)]
    pub hash: Hash,
}

/// What an adapter was made of.
#[derive(Debug, Clone, PartialEq, Encode, Decode, Serialize, Deserialize, JsonSchema)]
#[cbor(map)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// 1.
    #[n(0)]
    pub version: u16,
    /// The base model.
    #[n(1)]
    pub base: Base,
    /// The datanet versions whose contributions taught it.
    #[n(2)]
    pub datanets: Vec<DatanetRef>,
    /// Hash over ids and tokens of all examples, in the order of the datanets.
    #[n(3)]
    pub examples_hash: Hash,
    /// Hash over the ids of the examples in the order of the whole training.
    #[n(4)]
    pub order_hash: Hash,
    /// How it was trained; the seed is among them.
    #[n(5)]
    pub settings: Settings,
    /// Which code trained.
    #[n(6)]
    pub code_version: String,
    /// What was learnt from.
    #[n(7)]
    pub counts: Counts,
    /// What came of it.
    #[n(8)]
    pub losses: Losses,
    /// What receipts name: hash over configuration and weights, as the engine computes it.
    #[n(9)]
    pub adapter_hash: Hash,
    /// The adapter's files.
    #[n(10)]
    pub files: Vec<AdapterFile>,
}

impl Canonical for Manifest {
    const TAG: &'static str = "agora/factory-manifest/v1";
    const SIZE_MAX: usize = 64 * 1024;
}

impl Manifest {
    /// The view in JSON that lies beside the adapter.
    pub fn to_json(&self) -> String {
        let mut text = serde_json::to_string_pretty(self).expect("texts and finite numbers are JSON");
        text.push('\n');
        text
    }
}

impl Trained {
    /// Writes a folder that is not there yet: the adapter in PEFT's form, `manifest.json`, `loss.svg`, and what `papers`
    /// makes of the manifest. All or nothing, also after a crash, which leaves at most `<folder>.making` for the next
    /// attempt to remove.
    ///
    /// # Errors
    /// [`TrainError::Engine`] for numbers that cannot be written, [`TrainError::File`].
    ///
    /// # Panics
    /// If no step was made.
    pub fn write(
        &self,
        weights: &Weights,
        (settings, datanets): (&Settings, &[DatanetRef]),
        papers: &dyn Fn(&Manifest) -> Vec<(&'static str, String)>,
        folder: &Path,
    ) -> Result<Manifest, TrainError> {
        let mut making = folder.as_os_str().to_owned();
        making.push(".making");
        let making = PathBuf::from(making);
        if making.exists() {
            fs::remove_dir_all(&making).map_err(failed(&making))?;
        }
        weights.write_adapter(&self.layout.tuned(&self.numbers), &making)?;
        let manifest = self.manifest(weights, settings, datanets, &making)?;
        let own = [("manifest.json", manifest.to_json()), ("loss.svg", loss_plot(&self.losses, &self.held_out))];
        for (name, text) in own.into_iter().chain(papers(&manifest)) {
            let path = making.join(name);
            let written = File::create_new(&path).and_then(|mut file| {
                file.write_all(text.as_bytes())?;
                file.sync_all()
            });
            written.map_err(failed(&path))?;
        }
        let sync = |folder: &Path| File::open(folder).and_then(|file| file.sync_all()).map_err(failed(folder));
        sync(&making)?;
        // Fails where the folder holds anything.
        fs::rename(&making, folder).map_err(failed(folder))?;
        folder.parent().filter(|parent| !parent.as_os_str().is_empty()).map_or(Ok(()), sync)?;
        Ok(manifest)
    }

    /// Of an adapter that lies in a folder.
    fn manifest(
        &self,
        weights: &Weights,
        settings: &Settings,
        datanets: &[DatanetRef],
        folder: &Path,
    ) -> Result<Manifest, TrainError> {
        let (first, last) = self.losses.first().zip(self.losses.last()).expect("a step was made");
        let files = FILES.iter().map(|name| {
            let path = folder.join(name);
            let bytes = fs::read(&path).map_err(failed(&path))?;
            Ok(AdapterFile { name: (*name).to_owned(), size: bytes.len() as u64, hash: Hash::sha256(bytes) })
        });
        let measured = |at: u32| self.held_out.iter().find(|held| held.step == at).map(|held| micro(held.loss));
        let base = weights.base();
        Ok(Manifest {
            version: 1,
            base: Base { name: base.name.clone(), hash: base.hash, tokenizer_hash: base.tokenizer_hash },
            datanets: datanets.to_vec(),
            examples_hash: self.origin.examples,
            order_hash: self.order_hash,
            settings: settings.clone(),
            code_version: match self.rounding {
                None => CODE_VERSION.to_owned(),
                Some(rounding) => format!("{CODE_VERSION} {rounding}"),
            },
            counts: self.counts,
            losses: Losses {
                first_micro: micro(*first),
                last_micro: micro(*last),
                held_out_first_micro: measured(0),
                held_out_last_micro: measured(self.counts.steps),
            },
            adapter_hash: weights.adapter_hash(folder)?,
            files: files.collect::<Result<_, TrainError>>()?,
        })
    }
}

fn failed(path: &Path) -> impl FnOnce(std::io::Error) -> TrainError {
    let path = path.to_owned();
    |source| TrainError::File { path, source }
}

/// Millionths; a loss is never below zero.
#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "the cast saturates")]
fn micro(loss: f64) -> u64 {
    (loss * 1e6).round() as u64
}

//! A base model for those who compute with it on their own: its numbers, its tokenizer, and adapters in plain numbers.
//!
//! Training and attribution go through the same packed weights as serving does, so that an adapter is trained for the base
//! model as it is served. Where [`OpenLora`] runs already, [`OpenLora::weights`] shares its memory.

use std::path::Path;
use std::sync::Arc;

use agora_inference_api::{BaseInfo, EngineError, Message, Request, Role as Speaker};
use agora_kernels::Matrix;
use agora_types::{Code, Hash};

pub use crate::adapter::Tuned;
pub use crate::model::{Family, Gate, Layer, Role, Shape, Turns, Window};

use crate::adapter::{Adapter, read_tuned, write};
use crate::engine::load::{self, Base};
use crate::failure::{bad_adapter, unsupported};
use crate::model::Model;
use crate::text::Text;
use crate::{Loading, OpenLora, Settings, folder};

/// A base model in the processor's memory. Nothing in it changes; copies share it.
#[derive(Debug, Clone)]
pub struct Weights {
    model: Arc<Model>,
    text: Arc<Text>,
    base: BaseInfo,
}

/// A question and its answer in tokens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Taught {
    /// What serving would begin with.
    pub prompt: Vec<u32>,
    /// What serving should go on with, its end among them.
    pub response: Vec<u32>,
}

impl Weights {
    /// Loads a model as [`OpenLora::load`] does; at most `context_max` positions.
    ///
    /// # Errors
    /// As [`OpenLora::load`].
    pub fn load(
        path: &Path,
        expected: Option<Hash>,
        context_max: usize,
        progress: &mut dyn FnMut(Loading),
    ) -> Result<Self, EngineError> {
        let settings = Settings { context_max, ..Settings::default() };
        let base = match folder::of(path) {
            Some(folder) => load::folder(&folder, expected, &settings, progress)?,
            None => {
                let (mut file, size) = load::open(path)?;
                load::file(&mut file, size, expected, &settings, progress)?
            }
        };
        let Base { name, model, text, hash } = base;
        let base = BaseInfo { name, hash, tokenizer_hash: text.hash(), context_max: model.shape.context as u64 };
        Self::of(Arc::new(model), Arc::new(text), base)
    }

    /// Of a model that serves already.
    ///
    /// # Errors
    /// `engine.unsupported` if it lies on a device.
    pub(crate) fn of(model: Arc<Model>, text: Arc<Text>, base: BaseInfo) -> Result<Self, EngineError> {
        match model.vectors.is_some() {
            true => Err(unsupported("training with weights on a device")),
            false => Ok(Self { model, text, base }),
        }
    }

    /// Name and hashes.
    pub fn base(&self) -> &BaseInfo {
        &self.base
    }

    /// Its sides, and what its family does its own way.
    pub fn shape(&self) -> &Shape {
        &self.model.shape
    }

    /// A row per token.
    pub fn embedding(&self) -> &Matrix {
        &self.model.embedding
    }

    /// From the last state to logits; often the embedding itself.
    pub fn head(&self) -> &Matrix {
        self.model.head.as_ref().unwrap_or(&self.model.embedding)
    }

    /// Of the last state.
    pub fn norm(&self) -> &[f32] {
        &self.model.norm
    }

    /// Its layers, from the first on.
    pub fn layers(&self) -> &[Layer] {
        &self.model.layers
    }

    /// The angles of a layer at a position: a cosine and a sine per pair of one head.
    pub fn turns(&self, layer: usize, position: usize) -> &[f32] {
        self.model.turns(layer, position)
    }

    /// The first position that a layer sees from this one.
    pub fn first_seen(&self, layer: usize, position: usize) -> usize {
        self.model.first_seen(layer, position)
    }

    /// Tokens of plain text, in which nothing is special.
    pub fn encode(&self, text: &str) -> Vec<u32> {
        self.text.encode(text)
    }

    /// The bytes that a token shows: none for one that is not text. A character may be spread over several tokens.
    pub fn shown(&self, token: u32) -> &[u8] {
        self.text.bytes(token)
    }

    /// Tokens of a request as the model's template renders it.
    ///
    /// # Errors
    /// `engine.bad_request`.
    pub fn prompt(&self, request: &Request) -> Result<Vec<u32>, EngineError> {
        request.check()?;
        self.text.prompt(request)
    }

    /// A request and its answer as they are taught: the prompt is what serving begins with, the response what it should
    /// sample, with the token that ends a turn in the model's template.
    ///
    /// # Errors
    /// `engine.bad_request`.
    pub fn taught(&self, request: &Request, answer: &str) -> Result<Taught, EngineError> {
        let prompt = self.prompt(request)?;
        let mut whole = request.clone();
        whole.messages.push(Message { role: Speaker::Assistant, text: answer.to_owned() });
        let mut response = self.text.encode(answer.trim());
        response.extend(self.text.end_of_turn(&whole)?);
        match response.is_empty() {
            true => Err(EngineError::new(Code::EngineBadRequest, "an answer of no tokens")),
            false => Ok(Taught { prompt, response }),
        }
    }

    /// An adapter in PEFT's form from its folder, as plain numbers: nothing is rounded as it is for serving.
    ///
    /// # Errors
    /// `engine.bad_adapter`, `engine.too_large`.
    pub fn read_adapter(&self, folder: &Path) -> Result<Vec<Tuned>, EngineError> {
        read_tuned(&self.model.shape, folder)
    }

    /// The hash by which [`OpenLora::load_adapter`] and receipts know the adapter of a folder.
    ///
    /// # Errors
    /// `engine.bad_adapter`, `engine.too_large`.
    pub fn adapter_hash(&self, folder: &Path) -> Result<Hash, EngineError> {
        Adapter::read(&self.model.shape, "adapter", folder).map(|adapter| adapter.hash())
    }

    /// Writes an adapter in PEFT's form, as [`OpenLora::export_adapter`] does; the numbers keep their bits.
    ///
    /// # Errors
    /// `engine.bad_adapter` if a change does not fit the model, has a number that is not finite, or the folder cannot be
    /// written.
    pub fn write_adapter(&self, tuned: &[Tuned], folder: &Path) -> Result<(), EngineError> {
        let shape = &self.model.shape;
        for one in tuned {
            let (outputs, inputs) = one.role.sides(shape);
            let fits = one.rank > 0 && one.a.len() == one.rank * inputs && one.b.len() == one.rank * outputs;
            if !fits || one.layer >= shape.layers {
                return Err(bad_adapter(format!("the change of {} of layer {}", one.role.peft().1, one.layer)));
            }
        }
        write(tuned, shape, &self.base.name, folder)
    }
}

impl OpenLora {
    /// Its base model, for those who compute with it on their own.
    ///
    /// # Errors
    /// `engine.unsupported` if it lies on a device.
    pub fn weights(&self) -> Result<Weights, EngineError> {
        let (model, text, base) = self.shared();
        Weights::of(model, text, base)
    }
}

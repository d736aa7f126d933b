//! Weights from the file, tensor by tensor, each packed as soon as it is read.

use std::collections::BTreeMap;
use std::sync::Arc;

use agora_inference_api::EngineError;
use agora_kernels::cuda::{Device, DeviceError};
use agora_kernels::{BadWeights, Matrix, Packer, Simd};
use agora_types::Code;

use super::device::Vectors;
use super::shape::Family;
use super::{Role, Shape, failed};
use crate::failure::{bad_model, quoted, unsupported};
use crate::gguf::{Format, Reader, Rewrite, Tensor};

/// One layer.
#[derive(Debug)]
pub struct Layer {
    /// Of the state before attention.
    pub attention_norm: Vec<f32>,
    /// Of the state before the feed-forward part.
    pub inner_norm: Vec<f32>,
    /// Of what attention gives, and the feed-forward part.
    pub after_norms: Option<[Vec<f32>; 2]>,
    /// Of each head of a query, and of a key.
    pub head_norms: Option<[Vec<f32>; 2]>,
    /// Of queries, keys and values.
    pub biases: Option<[Vec<f32>; 3]>,
    /// In the order of [`Role::ALL`].
    matrices: [Matrix; 7],
}

impl Layer {
    /// Its matrix of this role.
    pub fn matrix(&self, role: Role) -> &Matrix {
        &self.matrices[role as usize]
    }
}

/// A model, ready to compute. Nothing in it changes.
#[derive(Debug)]
pub(crate) struct Model {
    pub(crate) shape: Shape,
    pub(crate) simd: Simd,
    pub(crate) embedding: Matrix,
    /// `None`: the embedding, turned around.
    pub(crate) head: Option<Matrix>,
    pub(crate) norm: Vec<f32>,
    pub(crate) layers: Vec<Layer>,
    /// On a device, where the matrices are then, too; else `None`.
    pub(crate) vectors: Option<Vectors>,
    /// A cosine and a sine per position and pair of a head.
    turns: Vec<f32>,
    /// The same for layers that look back only so far.
    near_turns: Vec<f32>,
}

/// What was read, by its name in a GGUF, until all is there. Whatever the form of the model's files, they give the same: a
/// reader of each, and its tensors.
#[derive(Default)]
pub(crate) struct Parts {
    matrices: BTreeMap<String, Matrix>,
    vectors: BTreeMap<String, Vec<f32>>,
}

impl Model {
    /// Puts all parts together.
    pub(crate) fn new(mut parts: Parts, shape: Shape, simd: Simd) -> Result<Self, EngineError> {
        let frequencies = parts.vectors.remove("rope_freqs.weight");
        let far = turns(&shape, shape.rope_base, shape.family.stretch, frequencies.as_deref())?;
        let near = shape.family.window.as_ref().map(|window| turns(&shape, window.rope_base, 1.0, None));
        let near = near.transpose()?.unwrap_or_default();
        let layers = (0..shape.layers).map(|at| parts.layer(at, &shape.family)).collect::<Result<_, _>>()?;
        let embedding = parts.matrix("token_embd.weight")?;
        let head = parts.matrices.remove("output.weight");
        let norm = parts.vector("output_norm.weight")?;
        if let Some(name) = parts.matrices.keys().chain(parts.vectors.keys()).next() {
            return Err(bad_model(format!("tensor {} stands twice", quoted(name))));
        }
        Ok(Self { shape, simd, embedding, head, norm, layers, vectors: None, turns: far, near_turns: near })
    }

    /// Moves it to a device, on which it computes from now on. Only its vectors, which are small, are kept here too.
    ///
    /// # Errors
    /// `engine.too_large` if the device has no memory for it; `engine.stopped` if it fails.
    pub(crate) fn move_to(&mut self, device: &Arc<dyn Device>) -> Result<(), EngineError> {
        let refused = |error: DeviceError| match error {
            DeviceError::Memory(_) => EngineError::new(Code::EngineTooLarge, error.to_string()),
            DeviceError::Absent(_) | DeviceError::Failed { .. } => failed(error),
        };
        let layers = self.layers.iter_mut().flat_map(|layer| &mut layer.matrices);
        for matrix in layers.chain([&mut self.embedding]).chain(&mut self.head) {
            matrix.place(device).map_err(refused)?;
        }
        let turns = [&*self.turns, &*self.near_turns];
        self.vectors = Some(Vectors::new(device, &self.norm, &self.layers, turns).map_err(refused)?);
        Ok(())
    }

    /// How far back a layer sees at a position: the first position that it sees.
    pub(crate) fn first_seen(&self, layer: usize, position: usize) -> usize {
        let window = self.shape.family.window.as_ref().filter(|window| !window.sees_all(layer));
        window.map_or(0, |window| (position + 1).saturating_sub(window.positions))
    }

    /// A layer's angles at a position.
    pub(crate) fn turns(&self, layer: usize, position: usize) -> &[f32] {
        let near = self.shape.family.window.as_ref().is_some_and(|window| !window.sees_all(layer));
        let turns = if near { &self.near_turns } else { &self.turns };
        &turns[position * self.shape.head_size..][..self.shape.head_size]
    }

    /// Bytes of its matrices and tables in memory.
    pub(crate) fn size(&self) -> usize {
        let layers = self.layers.iter().map(|layer| layer.matrices.iter().map(Matrix::size).sum::<usize>());
        let head = self.head.as_ref().map_or(0, Matrix::size);
        let vectors = size_of_val(&*self.norm) + size_of_val(&*self.turns) + size_of_val(&*self.near_turns);
        self.embedding.size() + head + vectors + layers.sum::<usize>()
    }
}

impl Parts {
    /// Reads a file's tensors, which come in the order in which they lie.
    pub(crate) fn read(
        &mut self,
        reader: &mut Reader<'_>,
        tensors: &[Tensor],
        shape: &Shape,
    ) -> Result<(), EngineError> {
        tensors.iter().try_for_each(|tensor| self.tensor(reader, tensor, shape))
    }

    /// What the angles are divided by, where no tensor says it.
    pub(crate) fn set_factors(&mut self, factors: Vec<f32>) {
        self.vectors.insert("rope_freqs.weight".to_owned(), factors);
    }

    /// Whether the embedding is not the head too.
    pub(crate) fn has_head(&self) -> bool {
        self.matrices.contains_key("output.weight")
    }

    fn tensor(&mut self, reader: &mut Reader<'_>, tensor: &Tensor, shape: &Shape) -> Result<(), EngineError> {
        let name = &tensor.name;
        let unknown = || unsupported(format!("a model with the tensor {}", quoted(name)));
        let (stem, suffix) = name.rsplit_once('.').ok_or_else(unknown)?;
        let family = &shape.family;
        let (rows, columns) = match (stem, suffix) {
            ("token_embd" | "output", "weight") => (shape.vocabulary, shape.width),
            ("output_norm", "weight") => (0, shape.width),
            ("rope_freqs", "weight") => (0, shape.head_size / 2),
            _ => {
                let rest = stem.strip_prefix("blk.").and_then(|rest| rest.split_once('.')).ok_or_else(unknown)?;
                let layer: usize = rest.0.parse().map_err(|_| unknown())?;
                if layer >= shape.layers || layer.to_string() != rest.0 {
                    return Err(bad_model(format!("tensor {} is of a layer that does not exist", quoted(name))));
                }
                match (rest.1, suffix) {
                    ("attn_norm" | "ffn_norm", "weight") => (0, shape.width),
                    ("post_attention_norm" | "post_ffw_norm", "weight") if family.after_norms => (0, shape.width),
                    ("attn_q_norm" | "attn_k_norm", "weight") if family.head_norms => (0, shape.head_size),
                    ("attn_q", "bias") if family.biases => (0, shape.query_width()),
                    ("attn_k" | "attn_v", "bias") if family.biases => (0, shape.key_width()),
                    (part, "weight") => {
                        let role = Role::ALL.into_iter().find(|role| role.gguf() == part).ok_or_else(unknown)?;
                        role.sides(shape)
                    }
                    _ => return Err(unknown()),
                }
            }
        };
        let twice = if rows == 0 {
            self.vectors.insert(name.clone(), vector(reader, tensor, columns)?).is_some()
        } else {
            self.matrices.insert(name.clone(), matrix(reader, tensor, rows, columns)?).is_some()
        };
        if twice {
            return Err(bad_model(format!("tensor {} stands twice", quoted(name))));
        }
        Ok(())
    }

    fn matrix(&mut self, name: &str) -> Result<Matrix, EngineError> {
        self.matrices.remove(name).ok_or_else(|| bad_model(format!("tensor {name} is missing")))
    }

    fn vector(&mut self, name: &str) -> Result<Vec<f32>, EngineError> {
        self.vectors.remove(name).ok_or_else(|| bad_model(format!("tensor {name} is missing")))
    }

    fn layer(&mut self, at: usize, family: &Family) -> Result<Layer, EngineError> {
        let mut matrix = |role: Role| self.matrix(&format!("blk.{at}.{}.weight", role.gguf()));
        let [query, key, value, output, gate, up, down] = Role::ALL;
        let matrices =
            [matrix(query)?, matrix(key)?, matrix(value)?, matrix(output)?, matrix(gate)?, matrix(up)?, matrix(down)?];
        let mut vector = |name: &str| self.vector(&format!("blk.{at}.{name}"));
        let mut pair = |wanted: bool, first: &str, second: &str| match wanted {
            true => Ok::<_, EngineError>(Some([vector(first)?, vector(second)?])),
            false => Ok(None),
        };
        let after_norms = pair(family.after_norms, "post_attention_norm.weight", "post_ffw_norm.weight")?;
        let head_norms = pair(family.head_norms, "attn_q_norm.weight", "attn_k_norm.weight")?;
        let biases = match family.biases {
            true => Some([vector("attn_q.bias")?, vector("attn_k.bias")?, vector("attn_v.bias")?]),
            false => None,
        };
        let (attention_norm, inner_norm) = (vector("attn_norm.weight")?, vector("ffn_norm.weight")?);
        Ok(Layer { attention_norm, inner_norm, after_norms, head_norms, biases, matrices })
    }
}

/// Reads a matrix row by row, or head by head, so that no second copy of it is ever in memory.
fn matrix(reader: &mut Reader<'_>, tensor: &Tensor, rows: usize, columns: usize) -> Result<Matrix, EngineError> {
    let name = quoted(&tensor.name);
    if tensor.dimensions != [columns as u64, rows as u64] {
        return Err(bad_model(format!("tensor {name} has the shape {:?}, not [{columns}, {rows}]", tensor.dimensions)));
    }
    let bad = |bad: BadWeights| match bad {
        BadWeights::NotFinite | BadWeights::Rows => bad_model(format!("tensor {name}: {bad}")),
        BadWeights::Shape { .. } => unsupported(format!("tensor {name} has {bad}")),
        BadWeights::Memory => EngineError::new(Code::EngineTooLarge, format!("tensor {name}: {bad}")),
    };
    let size = usize::try_from(tensor.size / rows as u64).map_err(|_| bad_model("a row is too long"))?;
    reader.skip_to(tensor.start)?;
    // Sizes lie inside the file, so what is allocated is of the file's own order.
    let mut packer = Packer::new(tensor.format.form(), rows, columns).map_err(bad)?;
    let together = if let Rewrite::Pair(head) = tensor.rewrite { head } else { 1 };
    let mut bytes = vec![0; size * together];
    let mut blocks = Vec::new();
    for _ in 0..rows / together {
        reader.fill(&mut bytes)?;
        for row in 0..together {
            // Of a head, the first row of each half, then the second of each.
            let from = row % 2 * (together / 2) + row / 2;
            blocks.clear();
            tensor.format.blocks(&bytes[from * size..][..size], &mut blocks);
            packer.push(&blocks).map_err(bad)?;
        }
    }
    Ok(packer.finish())
}

/// A vector of plain numbers.
fn vector(reader: &mut Reader<'_>, tensor: &Tensor, size: usize) -> Result<Vec<f32>, EngineError> {
    let name = quoted(&tensor.name);
    let width = match tensor.format {
        Format::F32 => 4,
        Format::F16 | Format::Bf16 => 2,
        _ => return Err(unsupported(format!("the quantised vector {name}"))),
    };
    if tensor.dimensions != [size as u64] {
        return Err(bad_model(format!("tensor {name} has the shape {:?}, not [{size}]", tensor.dimensions)));
    }
    reader.skip_to(tensor.start)?;
    let bytes = reader.bytes(size * width)?;
    let more = if tensor.rewrite == Rewrite::AddOne { 1.0 } else { 0.0 };
    let numbers: Vec<f32> = bytes.chunks_exact(width).map(|bytes| tensor.format.number(bytes) + more).collect();
    if numbers.iter().any(|number| !number.is_finite()) {
        return Err(bad_model(format!("tensor {name} has numbers that are not finite")));
    }
    Ok(numbers)
}

/// The angles of every position, which is divided by `stretch`.
fn turns(shape: &Shape, base: f64, stretch: f64, factors: Option<&[f32]>) -> Result<Vec<f32>, EngineError> {
    let half = shape.head_size / 2;
    let factors = factors.map_or_else(|| vec![1.0; half], <[f32]>::to_vec);
    if factors.iter().any(|factor| *factor <= 0.0) {
        return Err(bad_model("rope_freqs.weight has a factor that is not above zero"));
    }
    let steps: Vec<f64> = factors
        .iter()
        .enumerate()
        .map(|(pair, factor)| base.powf(-(pair as f64) / half as f64) / f64::from(*factor) / stretch)
        .collect();
    let mut turns = Vec::with_capacity(shape.context * shape.head_size);
    for position in 0..shape.context {
        for step in &steps {
            let (sine, cosine) = (position as f64 * step).sin_cos();
            #[allow(clippy::cast_possible_truncation, reason = "rounded to the precision of everything else")]
            turns.extend([cosine as f32, sine as f32]);
        }
    }
    Ok(turns)
}

//! The reference: a llama in f32, straight from the formulas and as slow as that is. It shares no code with the crate, and
//! is itself held against an independent library's logits in `tests/logits.rs`.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::peft::{self, Tensors};
use super::quantise::Encoded;

/// A model's file, read without any care.
#[derive(Clone)]
pub(crate) struct File {
    bytes: Vec<u8>,
    /// Where the metadata ends.
    head: usize,
    tensors: BTreeMap<String, (Vec<usize>, u32, usize)>,
    /// Tensors in another format than the file's.
    replaced: BTreeMap<String, (u32, Rc<Encoded>)>,
}

struct Cursor<'a>(&'a [u8], usize);

impl Cursor<'_> {
    fn take(&mut self, size: usize) -> &[u8] {
        self.1 += size;
        &self.0[self.1 - size..self.1]
    }
    fn u32(&mut self) -> u32 {
        u32::from_le_bytes(self.take(4).try_into().unwrap())
    }
    fn u64(&mut self) -> usize {
        u64::from_le_bytes(self.take(8).try_into().unwrap()) as usize
    }
    fn text(&mut self) -> String {
        let size = self.u64();
        String::from_utf8(self.take(size).to_vec()).unwrap()
    }
    fn skip_value(&mut self, kind: u32) {
        match kind {
            0 | 1 | 7 => self.1 += 1,
            2 | 3 => self.1 += 2,
            4..=6 => self.1 += 4,
            8 => drop(self.text()),
            9 => {
                let kind = self.u32();
                for _ in 0..self.u64() {
                    self.skip_value(kind);
                }
            }
            _ => self.1 += 8,
        }
    }
}

impl File {
    pub(crate) fn read(path: &std::path::Path) -> Self {
        let bytes = std::fs::read(path).unwrap();
        let mut cursor = Cursor(&bytes, 8);
        let (count, entries) = (cursor.u64(), cursor.u64());
        for _ in 0..entries {
            cursor.text();
            let kind = cursor.u32();
            cursor.skip_value(kind);
        }
        let head = cursor.1;
        let mut tensors = BTreeMap::new();
        for _ in 0..count {
            let name = cursor.text();
            let dimensions = (0..cursor.u32()).map(|_| 0).collect::<Vec<usize>>();
            let dimensions: Vec<usize> = dimensions.iter().map(|_| cursor.u64()).collect();
            let kind = cursor.u32();
            tensors.insert(name, (dimensions, kind, cursor.u64()));
        }
        let data = cursor.1.next_multiple_of(32);
        for tensor in tensors.values_mut() {
            tensor.2 += data;
        }
        Self { bytes, head, tensors, replaced: BTreeMap::new() }
    }

    /// Names of the matrices.
    pub(crate) fn matrices(&self) -> Vec<String> {
        self.tensors.iter().filter(|(_, tensor)| tensor.0.len() == 2).map(|(name, _)| name.clone()).collect()
    }

    /// The length of a tensor's rows.
    pub(crate) fn columns(&self, name: &str) -> usize {
        self.tensors[name].0[0]
    }

    /// Puts a tensor into another format.
    pub(crate) fn replace(&mut self, name: &str, format: u32, encoded: Encoded) {
        self.replaced.insert(name.to_owned(), (format, Rc::new(encoded)));
    }

    /// The file with its replaced tensors.
    pub(crate) fn gguf(&self) -> Vec<u8> {
        let mut bytes = self.bytes[..self.head].to_vec();
        let mut data = Vec::new();
        for (name, (dimensions, format, start)) in &self.tensors {
            data.resize(data.len().next_multiple_of(32), 0);
            bytes.extend((name.len() as u64).to_le_bytes());
            bytes.extend(name.as_bytes());
            bytes.extend((dimensions.len() as u32).to_le_bytes());
            bytes.extend(dimensions.iter().flat_map(|side| (*side as u64).to_le_bytes()));
            let (format, tensor) = match self.replaced.get(name) {
                Some((format, encoded)) => (*format, encoded.bytes.as_slice()),
                None => {
                    assert_eq!(*format, 0, "only plain vectors stay as they are");
                    (0, &self.bytes[*start..][..4 * dimensions.iter().product::<usize>()])
                }
            };
            bytes.extend(format.to_le_bytes());
            bytes.extend((data.len() as u64).to_le_bytes());
            data.extend(tensor);
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        bytes.extend(data);
        bytes
    }

    /// A tensor as numbers.
    pub(crate) fn numbers(&self, name: &str) -> Vec<f32> {
        if let Some((_, encoded)) = self.replaced.get(name) {
            return encoded.numbers.clone();
        }
        let (dimensions, kind, start) = &self.tensors[name];
        let count: usize = dimensions.iter().product();
        let bytes = &self.bytes[*start..];
        match kind {
            0 => bytes.chunks(4).take(count).map(|four| f32::from_le_bytes(four.try_into().unwrap())).collect(),
            3 => bytes
                .chunks(20)
                .take(count / 32)
                .flat_map(|block| {
                    let (scale, least) = (half(block, 0), half(block, 2));
                    let low = block[4..].iter().map(|byte| byte & 15);
                    let high = block[4..].iter().map(|byte| byte >> 4);
                    low.chain(high).map(move |q| scale * f32::from(q) + least).collect::<Vec<_>>()
                })
                .collect(),
            8 => bytes
                .chunks(34)
                .take(count / 32)
                .flat_map(|block| {
                    let scale = half(block, 0);
                    block[2..].iter().map(move |q| scale * f32::from(*q as i8)).collect::<Vec<_>>()
                })
                .collect(),
            other => panic!("the reference does not know the format {other}"),
        }
    }
}

fn half(bytes: &[u8], at: usize) -> f32 {
    let bits = u16::from_le_bytes([bytes[at], bytes[at + 1]]);
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    assert_ne!(exponent, 31);
    let size =
        if exponent == 0 { fraction * 2_f32.powi(-24) } else { (1.0 + fraction / 1024.0) * 2_f32.powi(exponent - 15) };
    if bits >> 15 == 1 { -size } else { size }
}

/// `x W^T` for all rows.
fn multiply(weights: &[f32], x: &[Vec<f32>]) -> Vec<Vec<f32>> {
    let columns = x[0].len();
    let row = |x: &Vec<f32>| weights.chunks_exact(columns).map(|weights| dot(weights, x)).collect();
    // Half of the rows on a second thread: this is most of the test's time.
    let (front, back) = x.split_at(x.len() / 2);
    std::thread::scope(|scope| {
        let back = scope.spawn(|| back.iter().map(row).collect::<Vec<_>>());
        let mut all: Vec<_> = front.iter().map(row).collect();
        all.extend(back.join().unwrap());
        all
    })
}

fn dot(a: &[f32], b: &[f32]) -> f32 {
    let mut lanes = [0.0_f32; 16];
    for (a, b) in a.chunks_exact(16).zip(b.chunks_exact(16)) {
        for ((lane, a), b) in lanes.iter_mut().zip(a).zip(b) {
            *lane += a * b;
        }
    }
    lanes.iter().sum()
}

fn norm(x: &[f32], weight: &[f32]) -> Vec<f32> {
    let mean = x.iter().map(|x| x * x).sum::<f32>() / x.len() as f32;
    x.iter().zip(weight).map(|(x, weight)| x / (mean + 1e-5).sqrt() * weight).collect()
}

fn rotate(heads: &mut [f32], position: usize) {
    for head in heads.chunks_mut(64) {
        for pair in 0..32 {
            let angle = position as f64 * 100_000_f64.powf(-2.0 * pair as f64 / 64.0);
            let (sine, cosine) = (angle.sin() as f32, angle.cos() as f32);
            let (a, b) = (head[2 * pair], head[2 * pair + 1]);
            (head[2 * pair], head[2 * pair + 1]) = (a * cosine - b * sine, a * sine + b * cosine);
        }
    }
}

/// Adds an adapter to a layer's weights: `W += scale * B A`, in the file's order of rows.
fn merge(weights: &mut [f32], adapter: Option<(&Tensors, f32)>, layer: usize, module: &str) {
    let Some((tensors, scale)) = adapter else { return };
    let (Some((rank, columns, a)), Some((rows, _, b))) =
        (tensors.get(&peft::name(layer, module, "A")), tensors.get(&peft::name(layer, module, "B")))
    else {
        return;
    };
    for row in 0..*rows {
        // The file keeps the two halves of a query or key head interleaved.
        let from = match module {
            "q_proj" | "k_proj" => row / 64 * 64 + row % 2 * 32 + row % 64 / 2,
            _ => row,
        };
        for at in 0..*rank {
            let factor = scale * b[from * rank + at];
            let weights = &mut weights[row * columns..][..*columns];
            for (weight, a) in weights.iter_mut().zip(&a[at * columns..]) {
                *weight += factor * a;
            }
        }
    }
}

/// Logits of every token of every sequence of SmolLM2-135M, with an adapter merged into the weights if there is one.
pub(crate) fn logits(file: &File, sequences: &[Vec<u32>], adapter: Option<(&Tensors, f32)>) -> Vec<Vec<f32>> {
    let embedding = file.numbers("token_embd.weight");
    let row = |token: &u32| embedding[*token as usize * 576..][..576].to_vec();
    let mut state: Vec<Vec<f32>> = sequences.iter().flatten().map(row).collect();
    for layer in 0..30 {
        let matrix = |name: &str, module: &str| {
            let mut weights = file.numbers(&format!("blk.{layer}.{name}.weight"));
            merge(&mut weights, adapter, layer, module);
            weights
        };
        let weight = file.numbers(&format!("blk.{layer}.attn_norm.weight"));
        let normal: Vec<_> = state.iter().map(|x| norm(x, &weight)).collect();
        let mut query = multiply(&matrix("attn_q", "q_proj"), &normal);
        let mut key = multiply(&matrix("attn_k", "k_proj"), &normal);
        let value = multiply(&matrix("attn_v", "v_proj"), &normal);
        let mut mixed = Vec::new();
        let mut first = 0;
        for sequence in sequences {
            for at in 0..sequence.len() {
                rotate(&mut query[first + at], at);
                rotate(&mut key[first + at], at);
                mixed.push(attend(&query[first + at], &key[first..=first + at], &value[first..=first + at]));
            }
            first += sequence.len();
        }
        add(&mut state, &multiply(&matrix("attn_output", "o_proj"), &mixed));
        let weight = file.numbers(&format!("blk.{layer}.ffn_norm.weight"));
        let normal: Vec<_> = state.iter().map(|x| norm(x, &weight)).collect();
        let mut gate = multiply(&matrix("ffn_gate", "gate_proj"), &normal);
        let up = multiply(&matrix("ffn_up", "up_proj"), &normal);
        for (gate, up) in gate.iter_mut().zip(&up) {
            for (gate, up) in gate.iter_mut().zip(up) {
                *gate = *gate / (1.0 + (-*gate).exp()) * up;
            }
        }
        add(&mut state, &multiply(&matrix("ffn_down", "down_proj"), &gate));
    }
    let weight = file.numbers("output_norm.weight");
    let normal: Vec<_> = state.iter().map(|x| norm(x, &weight)).collect();
    multiply(&embedding, &normal)
}

fn attend(query: &[f32], keys: &[Vec<f32>], values: &[Vec<f32>]) -> Vec<f32> {
    let mut mixed = Vec::new();
    for (head, query) in query.chunks(64).enumerate() {
        let place = head / 3 * 64..head / 3 * 64 + 64;
        let scores: Vec<f32> = keys.iter().map(|key| dot(query, &key[place.clone()]) / 8.0).collect();
        let most = scores.iter().copied().fold(f32::MIN, f32::max);
        let sum: f32 = scores.iter().map(|score| (score - most).exp()).sum();
        let mut head = vec![0.0; 64];
        for (score, value) in scores.iter().zip(values) {
            for (to, value) in head.iter_mut().zip(&value[place.clone()]) {
                *to += (score - most).exp() / sum * value;
            }
        }
        mixed.extend(head);
    }
    mixed
}

fn add(state: &mut [Vec<f32>], more: &[Vec<f32>]) {
    for (state, more) in state.iter_mut().zip(more) {
        for (state, more) in state.iter_mut().zip(more) {
            *state += more;
        }
    }
}

/// Mean and largest divergence of `ours` from `right` in nats per token, and how often the likeliest token is the same.
pub(crate) fn compare(right: &[Vec<f32>], ours: &[Vec<f32>]) -> (f64, f64, f64) {
    let spread = |logits: &[f32]| {
        let most = logits.iter().copied().fold(f32::MIN, f32::max);
        let sum: f64 = logits.iter().map(|logit| f64::from(logit - most).exp()).sum();
        logits.iter().map(|logit| f64::from(logit - most) - sum.ln()).collect::<Vec<_>>()
    };
    let best = |logits: &[f32]| (0..logits.len()).max_by(|a, b| logits[*a].total_cmp(&logits[*b]));
    let (mut sum, mut largest, mut same) = (0.0, 0.0_f64, 0);
    assert_eq!(right.len(), ours.len());
    for (right, ours) in right.iter().zip(ours) {
        let divergence: f64 = spread(right).iter().zip(spread(ours)).map(|(p, q)| p.exp() * (p - q)).sum();
        sum += divergence;
        largest = largest.max(divergence);
        same += usize::from(best(right) == best(ours));
    }
    (sum / right.len() as f64, largest, same as f64 / right.len() as f64)
}

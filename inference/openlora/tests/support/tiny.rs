//! A tiny model with random weights, so that tests of rows and of damaged files are quick.

use agora_inference_api::EngineError;
use agora_openlora::{OpenLora, Settings};

use super::Random;
use super::peft::Sides;

/// Its sides, as adapters see them.
pub(crate) const SIDES: Sides = Sides { layers: 2, width: 64, keys: 32, inner: 96 };
/// Plain tokens: one per byte, then two merged ones.
const PLAIN: usize = 258;
/// `<|im_start|>`, `<|im_end|>`, `<|endoftext|>`.
pub(crate) const VOCABULARY: usize = PLAIN + 3;

const TEMPLATE: &str = "{% for message in messages %}<|im_start|>{{ message['role'] }}\n{{ message['content'] }}<|im_end|>\n\
    {% endfor %}{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}";

/// A tensor: name, dimensions, format, bytes.
pub(crate) type Tensor = (String, Vec<u64>, u32, Vec<u8>);

/// A model's file in parts.
#[derive(Clone)]
pub(crate) struct Tiny {
    /// Name, and the value with its type in front.
    pub(crate) entries: Vec<(String, Vec<u8>)>,
    pub(crate) tensors: Vec<Tensor>,
}

pub(crate) fn text(text: &str) -> Vec<u8> {
    let mut bytes = (text.len() as u64).to_le_bytes().to_vec();
    bytes.extend(text.as_bytes());
    bytes
}

pub(crate) fn text_value(value: &str) -> Vec<u8> {
    [8_u32.to_le_bytes().to_vec(), text(value)].concat()
}

pub(crate) fn number_value(value: u32) -> Vec<u8> {
    [4_u32.to_le_bytes(), value.to_le_bytes()].concat()
}

/// A list of numbers of this type.
pub(crate) fn numbers_value<const SIZE: usize>(
    kind: u32,
    values: impl ExactSizeIterator<Item = [u8; SIZE]>,
) -> Vec<u8> {
    let mut bytes = [9_u32.to_le_bytes(), kind.to_le_bytes()].concat();
    bytes.extend((values.len() as u64).to_le_bytes());
    bytes.extend(values.flatten());
    bytes
}

pub(crate) fn texts_value(values: &[String]) -> Vec<u8> {
    let mut bytes = [9_u32.to_le_bytes(), 8_u32.to_le_bytes()].concat();
    bytes.extend((values.len() as u64).to_le_bytes());
    bytes.extend(values.iter().flat_map(|value| text(value)));
    bytes
}

/// The visible sign of a byte in GPT-2's tables.
fn sign(byte: u8) -> char {
    let visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    match visible(&byte) {
        true => char::from(byte),
        false => char::from_u32(256 + (0..byte).filter(|byte| !visible(byte)).count() as u32).unwrap(),
    }
}

impl Tiny {
    pub(crate) fn new(seed: u64) -> Self {
        let mut tokens: Vec<String> = (0..=255).map(|byte| sign(byte).to_string()).collect();
        tokens.extend(["he", "hel"].map(str::to_owned));
        tokens.extend(["<|im_start|>", "<|im_end|>", "<|endoftext|>"].map(str::to_owned));
        let mut kinds = [9_u32.to_le_bytes(), 5_u32.to_le_bytes()].concat();
        kinds.extend((VOCABULARY as u64).to_le_bytes());
        kinds.extend((0..VOCABULARY).flat_map(|at| if at < PLAIN { 1_i32 } else { 3 }.to_le_bytes()));
        let float = |value: f32| [6_u32.to_le_bytes(), value.to_le_bytes()].concat();
        let entries = [
            ("general.architecture", text_value("llama")),
            ("general.name", text_value("tiny")),
            ("llama.block_count", number_value(2)),
            ("llama.context_length", number_value(256)),
            ("llama.embedding_length", number_value(64)),
            ("llama.feed_forward_length", number_value(96)),
            ("llama.attention.head_count", number_value(4)),
            ("llama.attention.head_count_kv", number_value(2)),
            ("llama.attention.layer_norm_rms_epsilon", float(1e-5)),
            ("llama.rope.freq_base", float(10_000.0)),
            ("tokenizer.ggml.model", text_value("gpt2")),
            ("tokenizer.ggml.pre", text_value("smollm")),
            ("tokenizer.ggml.tokens", texts_value(&tokens)),
            ("tokenizer.ggml.token_type", kinds),
            ("tokenizer.ggml.merges", texts_value(&["h e".to_owned(), "he l".to_owned()])),
            ("tokenizer.ggml.bos_token_id", number_value(PLAIN as u32)),
            ("tokenizer.ggml.eos_token_id", number_value(PLAIN as u32 + 1)),
            ("tokenizer.chat_template", text_value(TEMPLATE)),
        ];
        let mut random = Random(seed);
        let mut tensors = Vec::new();
        let mut add = |name: &str, rows: usize, columns: usize, format: u32| {
            let bytes = weights(&mut random, rows, columns, format);
            let dimensions = if rows == 1 { vec![columns as u64] } else { vec![columns as u64, rows as u64] };
            tensors.push((format!("{name}.weight"), dimensions, format, bytes));
        };
        add("token_embd", VOCABULARY, 64, 8);
        add("output", VOCABULARY, 64, 0);
        add("output_norm", 1, 64, 0);
        for layer in 0..2 {
            add(&format!("blk.{layer}.attn_norm"), 1, 64, 0);
            add(&format!("blk.{layer}.ffn_norm"), 1, 64, 0);
            add(&format!("blk.{layer}.attn_q"), 64, 64, 2);
            add(&format!("blk.{layer}.attn_k"), 32, 64, 3);
            add(&format!("blk.{layer}.attn_v"), 32, 64, 30);
            add(&format!("blk.{layer}.attn_output"), 64, 64, 1);
            add(&format!("blk.{layer}.ffn_gate"), 96, 64, 3);
            add(&format!("blk.{layer}.ffn_up"), 96, 64, 8);
            add(&format!("blk.{layer}.ffn_down"), 64, 96, 2);
        }
        // Special tokens are never the likeliest, so that answers go on.
        tensors[1].3[PLAIN * 64 * 4..].fill(0);
        Self { entries: entries.map(|(name, value)| (name.to_owned(), value)).to_vec(), tensors }
    }

    /// Sets an entry.
    pub(crate) fn set(&mut self, name: &str, value: Vec<u8>) {
        self.entries.retain(|entry| entry.0 != name);
        self.entries.push((name.to_owned(), value));
    }

    /// With `<think>` and `</think>` behind its vocabulary, and a template that opens a thought where it is asked to.
    pub(crate) fn thinking(mut self) -> Self {
        for (name, value) in &mut self.entries {
            // Behind the types of list and elements stands their number.
            let longer = |value: &mut Vec<u8>, more: &[u8]| {
                value[8..16].copy_from_slice(&(VOCABULARY as u64 + 2).to_le_bytes());
                value.extend(more);
            };
            match name.as_str() {
                "tokenizer.ggml.tokens" => longer(value, &[text("<think>"), text("</think>")].concat()),
                "tokenizer.ggml.token_type" => longer(value, &[4_i32.to_le_bytes(); 2].concat()),
                _ => {}
            }
        }
        for name in ["token_embd.weight", "output.weight"] {
            let (_, dimensions, _, bytes) = self.tensor(name);
            let row = bytes.len() / VOCABULARY;
            dimensions[1] += 2;
            bytes.resize(bytes.len() + 2 * row, 0);
        }
        let template = format!("{TEMPLATE}{{% if enable_thinking %}}<think>{{% endif %}}");
        self.set("tokenizer.chat_template", text_value(&template));
        self
    }

    /// The tensor of this name.
    pub(crate) fn tensor(&mut self, name: &str) -> &mut Tensor {
        self.tensors.iter_mut().find(|tensor| tensor.0 == name).unwrap()
    }

    /// The file, and where its data begins.
    pub(crate) fn file(&self) -> (Vec<u8>, usize) {
        let mut offset = 0;
        let offsets: Vec<u64> = self
            .tensors
            .iter()
            .map(|tensor| {
                let start = offset;
                offset = (offset + tensor.3.len() as u64).next_multiple_of(32);
                start
            })
            .collect();
        self.file_at(&offsets)
    }

    /// The file with these offsets in its tensor list; the data lie one after another.
    pub(crate) fn file_at(&self, offsets: &[u64]) -> (Vec<u8>, usize) {
        let mut bytes = [b"GGUF".as_slice(), &3_u32.to_le_bytes()].concat();
        bytes.extend((self.tensors.len() as u64).to_le_bytes());
        bytes.extend((self.entries.len() as u64).to_le_bytes());
        for (name, value) in &self.entries {
            bytes.extend(text(name));
            bytes.extend(value);
        }
        for ((name, dimensions, format, _), offset) in self.tensors.iter().zip(offsets) {
            bytes.extend(text(name));
            bytes.extend((dimensions.len() as u32).to_le_bytes());
            bytes.extend(dimensions.iter().flat_map(|side| side.to_le_bytes()));
            bytes.extend(format.to_le_bytes());
            bytes.extend(offset.to_le_bytes());
        }
        bytes.resize(bytes.len().next_multiple_of(32), 0);
        let data = bytes.len();
        for (_, _, _, numbers) in &self.tensors {
            bytes.extend(numbers);
            bytes.resize(bytes.len().next_multiple_of(32), 0);
        }
        (bytes, data)
    }

    /// Loads it.
    pub(crate) fn engine(&self, settings: Settings) -> OpenLora {
        load(&self.file().0, settings).unwrap()
    }
}

/// Loads a file's bytes.
pub(crate) fn load(bytes: &[u8], settings: Settings) -> Result<OpenLora, EngineError> {
    OpenLora::load_from(&mut &bytes[..], bytes.len() as u64, None, settings, &mut |_| {})
}

/// Random weights in a format.
fn weights(random: &mut Random, rows: usize, columns: usize, format: u32) -> Vec<u8> {
    // About 0.1 in half precision; vectors are near one.
    let scale = |random: &mut Random| (0x2800 + random.below(0x400) as u16).to_le_bytes();
    let mut bytes = Vec::new();
    match format {
        0 if rows == 1 => (0..columns).for_each(|_| bytes.extend((1.0 + random.symmetric() / 4.0).to_le_bytes())),
        0 => (0..rows * columns).for_each(|_| bytes.extend((random.symmetric() / 2.0).to_le_bytes())),
        1 => (0..rows * columns).for_each(|_| {
            let sign = 0x8000 * random.below(2) as u16;
            bytes.extend((sign | (0x3000 + random.below(0x400) as u16)).to_le_bytes());
        }),
        30 => (0..rows * columns).for_each(|_| bytes.extend(&(random.symmetric() / 4.0).to_le_bytes()[2..])),
        _ => {
            let (extra, data) = match format {
                2 => (false, 16),
                3 => (true, 16),
                _ => (false, 32),
            };
            for _ in 0..rows * columns / 32 {
                if data == 32 {
                    bytes.extend((0x1000 + random.below(0x400) as u16).to_le_bytes());
                } else {
                    bytes.extend(scale(random));
                }
                if extra {
                    // About minus eight scales.
                    bytes.extend((0xB400 + random.below(0x400) as u16).to_le_bytes());
                }
                bytes.extend((0..data).map(|_| random.next() as u8));
            }
        }
    }
    bytes
}

//! candle's quantised llama behind the benchmark protocol: one stream, no adapters.

use agora_inference_bench::argmax;
use agora_inference_bench::protocol::{Decode, Decoded, First, Load, Loaded, Peer, Prompt, UNSUPPORTED, check, serve};
use anyhow::{Context, Result, bail, ensure};
use candle_core::quantized::gguf_file;
use candle_core::{Device, Tensor};
use candle_transformers::models::quantized_llama::{MAX_SEQ_LEN, ModelWeights};
use std::fs::File;
use std::path::PathBuf;
use std::time::Instant;

fn main() -> Result<()> {
    serve(Candle { engine: None, threads: None })
}

struct Candle {
    engine: Option<Engine>,
    /// candle's thread pools are made once for a process.
    threads: Option<u32>,
}

struct Engine {
    model: ModelWeights,
    context: usize,
    vocabulary: usize,
}

impl Peer for Candle {
    fn load(&mut self, load: &Load) -> Result<Loaded> {
        ensure!(load.streams == 1, UNSUPPORTED);
        ensure!(load.context as usize <= MAX_SEQ_LEN, "candle holds at most {MAX_SEQ_LEN} positions");
        self.set_threads(load.threads)?;
        self.engine = None;
        let start = Instant::now();
        let mut file = File::open(&load.model).with_context(|| format!("opening {}", load.model.display()))?;
        let content = gguf_file::Content::read(&mut file)?;
        let embedding = content.tensor_infos.get("token_embd.weight").context("the model has no token_embd.weight")?;
        let vocabulary = *embedding.shape.dims().first().context("token_embd.weight has no dimensions")?;
        let model = ModelWeights::from_gguf(content, &mut file, &Device::Cpu)?;
        let seconds = start.elapsed().as_secs_f64();
        self.engine = Some(Engine { model, context: load.context as usize, vocabulary });
        Ok(Loaded { engine: "candle", version: "0.11.1".into(), simd: simd(), seconds })
    }

    fn adapters(&mut self, _paths: &[PathBuf]) -> Result<f64> {
        bail!(UNSUPPORTED)
    }

    fn prefill(&mut self, prompt: &Prompt) -> Result<f64> {
        let engine = self.engine()?;
        engine.check(prompt, 0)?;
        let start = Instant::now();
        engine.prompt(&prompt.tokens)?;
        Ok(start.elapsed().as_secs_f64())
    }

    fn decode(&mut self, decode: &Decode) -> Result<Decoded> {
        let engine = self.engine()?;
        let [prompt] = &decode.streams[..] else { bail!(UNSUPPORTED) };
        engine.check(prompt, decode.steps)?;
        let mut next = token(&engine.prompt(&prompt.tokens)?)?;
        let mut tokens = Vec::with_capacity(decode.steps);
        let start = Instant::now();
        for step in 0..decode.steps {
            tokens.push(next);
            next = token(&engine.forward(&[next], prompt.tokens.len() + step)?)?;
        }
        Ok(Decoded { seconds: start.elapsed().as_secs_f64(), tokens: vec![tokens] })
    }

    fn first(&mut self, first: &First) -> Result<f64> {
        ensure!(first.load.is_none(), UNSUPPORTED);
        let engine = self.engine()?;
        engine.check(&first.prompt, 0)?;
        let start = Instant::now();
        token(&engine.prompt(&first.prompt.tokens)?)?;
        Ok(start.elapsed().as_secs_f64())
    }

    /// candle answers the last position only, so each position is a call of its own.
    fn logits(&mut self, prompt: &Prompt, row: &mut dyn FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let engine = self.engine()?;
        engine.check(prompt, 0)?;
        engine.model.clear_kv_cache();
        for (position, token) in prompt.tokens.iter().enumerate() {
            row(&engine.forward(&[*token], position)?)?;
        }
        Ok(())
    }
}

impl Candle {
    fn engine(&mut self) -> Result<&mut Engine> {
        self.engine.as_mut().context("no model is loaded")
    }

    fn set_threads(&mut self, threads: u32) -> Result<()> {
        if self.threads.is_none() {
            // SAFETY: nothing has used candle yet, so this is the only thread.
            unsafe {
                std::env::set_var("RAYON_NUM_THREADS", threads.to_string());
                std::env::set_var("CANDLE_NUM_THREADS", threads.to_string());
            }
            self.threads = Some(threads);
        }
        ensure!(self.threads == Some(threads), "candle cannot change its number of threads: start the program again");
        Ok(())
    }
}

impl Engine {
    fn check(&self, prompt: &Prompt, more: usize) -> Result<()> {
        ensure!(prompt.adapter.is_none(), UNSUPPORTED);
        check(prompt, more, self.context, self.vocabulary)
    }

    /// The logits of the last token of a prompt, computed on an empty cache.
    fn prompt(&mut self, tokens: &[u32]) -> Result<Vec<f32>> {
        self.model.clear_kv_cache();
        self.forward(tokens, 0)
    }

    fn forward(&mut self, tokens: &[u32], position: usize) -> Result<Vec<f32>> {
        let input = Tensor::new(tokens, &Device::Cpu)?.unsqueeze(0)?;
        Ok(self.model.forward(&input, position)?.squeeze(0)?.to_vec1()?)
    }
}

fn token(logits: &[f32]) -> Result<u32> {
    u32::try_from(argmax(logits)).context("token")
}

/// candle chooses most kernels at run time, by what the processor has.
fn simd() -> String {
    let mut names = Vec::new();
    #[cfg(target_arch = "x86_64")]
    {
        let features = [
            ("AVX2", is_x86_feature_detected!("avx2")),
            ("FMA", is_x86_feature_detected!("fma")),
            ("F16C", is_x86_feature_detected!("f16c")),
            ("AVX512F", is_x86_feature_detected!("avx512f")),
            ("AVX512_VNNI", is_x86_feature_detected!("avx512vnni")),
        ];
        names.extend(features.into_iter().filter(|(_, on)| *on).map(|(name, _)| name));
    }
    if candle_core::utils::with_neon() {
        names.push("NEON");
    }
    names.join(" ")
}

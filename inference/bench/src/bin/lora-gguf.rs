//! Turns a PEFT LoRA folder into a llama.cpp LoRA file: `lora-gguf IN_FOLDER OUT_FILE --heads 9 --key-heads 3`.

use agora_inference_bench::lora::{Heads, convert};
use anyhow::{Context, Result, bail};
use std::path::PathBuf;

const USAGE: &str = "usage: lora-gguf IN_FOLDER OUT_FILE --heads N --key-heads N";

fn main() -> Result<()> {
    let mut paths = Vec::new();
    let (mut query, mut key) = (None, None);
    let mut arguments = std::env::args_os().skip(1);
    while let Some(argument) = arguments.next() {
        let heads = match argument.to_str() {
            Some("--heads") => &mut query,
            Some("--key-heads") => &mut key,
            Some(option) if option.starts_with('-') => bail!("{USAGE}"),
            _ => {
                paths.push(PathBuf::from(argument));
                continue;
            }
        };
        let value = arguments.next().context(USAGE)?;
        *heads = Some(value.to_str().and_then(|value| value.parse().ok()).context(USAGE)?);
    }
    let [folder, file] = &paths[..] else { bail!("{USAGE}") };
    convert(folder, file, Heads { query: query.context(USAGE)?, key: key.context(USAGE)? })
}

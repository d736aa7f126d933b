//! Other inference engines behind one JSON-lines protocol, as benchmark peers: see README.md.

pub mod gguf;
#[cfg(feature = "llama")]
pub mod llama;
pub mod lora;
pub mod process;
pub mod protocol;
pub mod safetensors;

/// The place of the largest value, the first one on a tie. Engines share it, so none pays more for it than another.
pub fn argmax(logits: &[f32]) -> usize {
    // Sixteen running maxima let the compiler use vector registers; one would be a chain of dependent comparisons.
    const LANES: usize = 16;
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = logits.chunks_exact(LANES);
    let rest = chunks.remainder().iter().copied().fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane = if *value > *lane { *value } else { *lane };
        }
    }
    let most = lanes.into_iter().fold(rest, f32::max);
    logits.iter().position(|value| *value == most).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::argmax;

    #[test]
    fn argmax_is_the_first_of_the_largest() {
        assert_eq!(argmax(&[]), 0);
        assert_eq!(argmax(&[-3.0, -1.0, -2.0]), 1);
        let mut logits = vec![0.5f32; 1003];
        logits[1001] = 2.0;
        assert_eq!(argmax(&logits), 1001);
        logits[17] = 2.0;
        assert_eq!(argmax(&logits), 17);
    }
}

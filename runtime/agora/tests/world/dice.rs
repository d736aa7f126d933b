//! Chance for tests that kill: printed, and repeatable.

use std::time::{SystemTime, UNIX_EPOCH};

/// Small and good enough to choose moments: xorshift64*.
pub struct Dice(u64);

impl Dice {
    pub fn new() -> Self {
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        let now = since.as_secs() ^ u64::from(since.subsec_nanos()) << 20;
        let seed = std::env::var("AGORA_SEED").ok().map_or(now, |text| text.parse().expect("AGORA_SEED is a number"));
        println!("AGORA_SEED={seed}");
        Self(seed | 1)
    }

    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}

/// Rounds of kills: `AGORA_KILLS` says how many, else `usual`.
pub fn rounds(usual: u64) -> u64 {
    std::env::var("AGORA_KILLS").ok().map_or(usual, |text| text.parse().expect("AGORA_KILLS is a number"))
}

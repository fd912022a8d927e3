//! A small deterministic generator (SplitMix64): same seed, same tests.

use std::{
    env,
    time::{SystemTime, UNIX_EPOCH},
};

/// The generator.
#[derive(Debug, Clone)]
pub struct Rng(u64);

impl Rng {
    /// Starts from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// Starts from `SYNC_TESTS_SEED` or, without it, from the clock; prints the
    /// seed so that a failure can be run again.
    #[expect(
        clippy::print_stdout,
        reason = "shown with the output of a failed test"
    )]
    #[must_use]
    pub fn printed() -> Self {
        let clock = || {
            SystemTime::now()
                .duration_since(UNIX_EPOCH)
                .map_or(0, |age| age.subsec_nanos().into())
        };
        let seed = env::var("SYNC_TESTS_SEED")
            .ok()
            .and_then(|text| text.parse().ok())
            .unwrap_or_else(clock);
        println!("run again with SYNC_TESTS_SEED={seed}");
        Self(seed)
    }

    /// The next number, of all there are.
    pub fn number(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, which is at least 1.
    pub fn below(&mut self, bound: u64) -> u64 {
        self.number() % bound
    }

    /// A number of `range`, both ends included.
    pub fn within(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }
}

//! Random numbers that a seed repeats.

/// `SplitMix64`.
#[derive(Clone, Copy, Debug)]
pub struct Random(u64);

impl Random {
    /// From `MEMTRACE_TEST_SEED`, or else from the clock; says which on standard output, which
    /// the test runner shows when the test fails.
    #[must_use]
    pub fn seeded(what: &str) -> Self {
        let seed = std::env::var("MEMTRACE_TEST_SEED")
            .ok()
            .and_then(|seed| seed.parse().ok())
            .unwrap_or_else(|| {
                std::time::SystemTime::now()
                    .duration_since(std::time::UNIX_EPOCH)
                    .map_or(1, |time| time.subsec_nanos().into())
            });
        println!("{what}: MEMTRACE_TEST_SEED={seed}");
        Self(seed)
    }

    /// The next number below `limit`; 0 if that is 0.
    pub fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^= z >> 31;
        if limit == 0 { 0 } else { z % limit }
    }
}

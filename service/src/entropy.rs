//! The only home of randomness: ids, epochs, jitter. It makes no keys for cryptography.

use std::sync::Arc;

use parking_lot::Mutex;

/// Where random bits come from.
pub trait Entropy: Send + Sync {
    /// 64 random bits.
    fn bits(&self) -> u64;
}

/// The operating system's randomness, fetched once per call: it is used once per connection or rarer.
#[derive(Debug, Default)]
pub struct SystemEntropy;

impl Entropy for SystemEntropy {
    fn bits(&self) -> u64 {
        #[expect(clippy::disallowed_methods, reason = "this file is the home of randomness")]
        let bits = getrandom::u64();
        bits.expect("the operating system has a source of randomness: without one no id is safe")
    }
}

/// A reproducible sequence (SplitMix64, Steele et al. 2014); for tests and fault simulations.
#[derive(Debug)]
pub struct SeededEntropy(Mutex<u64>);

impl SeededEntropy {
    /// The sequence that belongs to `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Arc<Self> {
        Arc::new(Self(Mutex::new(seed)))
    }
}

impl Entropy for SeededEntropy {
    fn bits(&self) -> u64 {
        let mut state = self.0.lock();
        *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = *state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

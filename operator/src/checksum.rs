//! Checksums by which a change of settings or Secrets is seen, and hexadecimal text.

use sha2::{Digest as _, Sha256};

/// A sum over parts; where one part ends and the next begins counts too.
#[derive(Default)]
pub struct Sum(Sha256);

impl Sum {
    /// Adds a part.
    pub fn add(&mut self, part: impl AsRef<[u8]>) {
        let part = part.as_ref();
        self.0.update((part.len() as u64).to_be_bytes());
        self.0.update(part);
    }

    /// The first bytes of the sum: enough to see a change, too little to learn a secret from.
    #[must_use]
    pub fn short(self) -> String {
        hex(&self.0.finalize()[..5])
    }
}

/// The whole SHA-256 of a text.
#[must_use]
pub fn sha256(text: &str) -> String {
    hex(&Sha256::digest(text))
}

/// Two digits a byte.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parts_are_told_apart() {
        let sum = |parts: &[&str]| {
            let mut sum = Sum::default();
            parts.iter().for_each(|part| sum.add(part));
            sum.short()
        };
        assert_ne!(sum(&["ab", "c"]), sum(&["a", "bc"]));
        assert_eq!(sum(&["ab", "c"]), sum(&["ab", "c"]));
        assert_eq!(sum(&[]).len(), 10);
    }
}

//! The one home of randomness in the load generator: mask keys, jitter and the name of a run. It draws from the system
//! in blocks, because a system call for each sent frame would show in the figures.

const BLOCK: usize = 4096;

/// Random bytes of the system, fetched 4 KiB at a time.
pub(super) struct Entropy {
    block: Box<[u8; BLOCK]>,
    used: usize,
}

impl Entropy {
    /// A source whose first draw fetches the first block.
    pub(super) fn new() -> Self {
        Self { block: Box::new([0; BLOCK]), used: BLOCK }
    }

    /// Four bytes nobody can foresee, as RFC 6455 asks of a mask key.
    #[expect(clippy::disallowed_methods, reason = "the home of randomness in the load generator")]
    pub(super) fn four(&mut self) -> [u8; 4] {
        if self.used + 4 > BLOCK {
            getrandom::fill(self.block.as_mut_slice())
                .expect("a system without random numbers cannot run this program");
            self.used = 0;
        }
        let mut out = [0; 4];
        out.copy_from_slice(&self.block[self.used..self.used + 4]);
        self.used += 4;
        out
    }

    /// A number from 0 (included) to 1 (excluded).
    pub(super) fn unit(&mut self) -> f64 {
        f64::from(u32::from_ne_bytes(self.four())) / (f64::from(u32::MAX) + 1.0)
    }

    /// Six hexadecimal digits that set this run apart from the ones before it on the same server.
    pub(super) fn run_name(&mut self) -> String {
        format!("{:06x}", u32::from_ne_bytes(self.four()) >> 8)
    }
}

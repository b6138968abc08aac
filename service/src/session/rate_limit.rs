//! Token buckets in eight bytes each: the generic cell rate algorithm (ITU-T I.371), which keeps only the moment at
//! which the bucket will be full again. It does not know what it limits.

use std::time::Duration;

use crate::clock::Moment;

/// How fast a bucket fills and how much it holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate {
    per_token: Duration,
    burst: Duration,
}

impl Rate {
    /// `per_second` sustained with bursts of `burst`; 0 a second is no limit.
    #[must_use]
    pub fn new(per_second: u32, burst: u32) -> Self {
        let per_token = Duration::from_secs(1).checked_div(per_second).unwrap_or_default();
        Self { per_token, burst: per_token * burst.max(1) }
    }
}

/// One bucket; full at first.
#[derive(Debug, Clone, Copy, Default)]
pub struct Bucket {
    full_at: Moment,
}

impl Bucket {
    /// Takes one token.
    ///
    /// # Errors
    /// How long until there is one.
    pub fn take(&mut self, rate: Rate, now: Moment) -> Result<(), Duration> {
        let full_at = self.full_at.max(now) + rate.per_token;
        let over = full_at.since(now).saturating_sub(rate.burst);
        if over.is_zero() {
            self.full_at = full_at;
            Ok(())
        } else {
            Err(over)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn a_burst_passes_then_one_per_interval() {
        let (rate, mut bucket, start) = (Rate::new(20, 50), Bucket::default(), Moment::from_nanos(1));
        assert!((0..50).all(|_| bucket.take(rate, start).is_ok()));
        assert_eq!(bucket.take(rate, start), Err(Duration::from_millis(50)));
        assert_eq!(bucket.take(rate, start + Duration::from_millis(50)), Ok(()));
        assert!(bucket.take(rate, start + Duration::from_millis(99)).is_err());
    }

    #[test]
    fn no_rate_is_no_limit() {
        let (rate, mut bucket) = (Rate::new(0, 1), Bucket::default());
        assert!((0..10_000).all(|_| bucket.take(rate, Moment::default()).is_ok()));
    }

    proptest! {
        #[test]
        fn never_more_than_burst_plus_rate_times_time(
            per_second in 1_u32..100, burst in 1_u32..100, steps in prop::collection::vec(0_u64..200, 1..300),
        ) {
            let (rate, mut bucket, mut now, mut taken) = (Rate::new(per_second, burst), Bucket::default(), 0, 0_u64);
            for step in steps {
                now += step;
                let at = Moment::from_nanos(now * 1_000_000);
                if bucket.take(rate, at).is_ok() {
                    taken += 1;
                }
                prop_assert!(taken <= u64::from(burst) + now * u64::from(per_second) / 1_000 + 1);
            }
        }
    }
}

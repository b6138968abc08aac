//! Waiting for something to become true, with a deadline and the last value in the failure. What a socket brings is
//! waited for by `client.rs` itself.
#![expect(clippy::panic, reason = "a test that waits in vain fails here")]

use std::fmt::Debug;
use std::panic::Location;
use std::time::Duration;

/// Pause between two looks: short beside everything that is waited for.
const PAUSE: Duration = Duration::from_millis(2);

/// Looks at `value` until `holds`, at most for `within`, and returns it.
///
/// # Panics
/// The deadline passed; the message has the last value and the caller's line.
#[track_caller]
pub fn eventually<T: Debug>(
    within: Duration,
    mut value: impl FnMut() -> T,
    holds: impl FnMut(&T) -> bool,
) -> impl Future<Output = T> {
    poll(within, async move || value(), holds, Location::caller())
}

/// As [`eventually`], for a value that must be fetched.
///
/// # Panics
/// The deadline passed; the message has the last value and the caller's line.
#[track_caller]
pub fn eventually_fetched<T: Debug>(
    within: Duration,
    value: impl AsyncFnMut() -> T,
    holds: impl FnMut(&T) -> bool,
) -> impl Future<Output = T> {
    poll(within, value, holds, Location::caller())
}

async fn poll<T: Debug>(
    within: Duration,
    mut value: impl AsyncFnMut() -> T,
    mut holds: impl FnMut(&T) -> bool,
    caller: &Location<'_>,
) -> T {
    let mut last = None;
    let looking = async {
        loop {
            let now = value().await;
            if holds(&now) {
                return now;
            }
            last = Some(now);
            tokio::time::sleep(PAUSE).await;
        }
    };
    match tokio::time::timeout(within, looking).await {
        Ok(value) => value,
        Err(_) => panic!("{caller}: still not so after {within:?}; last seen: {last:?}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn the_value_that_holds_is_returned() {
        let mut looks = 0;
        let value = eventually(
            Duration::from_secs(1),
            || {
                looks += 1;
                looks
            },
            |looks| *looks == 3,
        );
        assert_eq!(value.await, 3);
    }

    #[tokio::test(start_paused = true)]
    #[should_panic(expected = "last seen: Some(7)")]
    async fn a_deadline_that_passes_shows_the_last_value() {
        eventually(Duration::from_secs(1), || 7, |value| *value == 8).await;
    }
}

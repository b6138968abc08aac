//! Bodies on their way through, and the note of when anything last moved, by which stalled connections are found.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body, Frame, Incoming, SizeHint};

use super::kept::Stay;
use crate::clock::{Clock as _, Moment, SystemClock};

/// When something last moved on one client's connection.
#[derive(Debug)]
pub(super) struct Progress {
    clock: Arc<SystemClock>,
    last: AtomicU64,
}

impl Progress {
    pub(super) fn new(clock: Arc<SystemClock>) -> Arc<Self> {
        let last = AtomicU64::new(clock.now().mono.as_nanos());
        Arc::new(Self { clock, last })
    }

    pub(super) fn note(&self) {
        self.last.store(self.clock.now().mono.as_nanos(), Ordering::Relaxed);
    }

    /// Ends once nothing has moved for so long. Cancel-safe.
    pub(super) async fn stalled(&self, wait: Duration) {
        loop {
            let quiet = self.clock.now().mono.since(Moment::from_nanos(self.last.load(Ordering::Relaxed)));
            if quiet >= wait {
                return;
            }
            tokio::time::sleep(wait.saturating_sub(quiet)).await;
        }
    }
}

/// A body.
#[derive(Debug)]
pub(super) enum Payload {
    /// Made here.
    Whole(Option<Bytes>),
    /// Passed on as it comes.
    Passing {
        from: Incoming,
        progress: Arc<Progress>,
        /// Of an answer, until its end.
        stay: Option<Stay>,
    },
}

impl Payload {
    pub(super) const EMPTY: Self = Self::Whole(None);

    /// Passes on what comes `from` there, if anything does.
    pub(super) fn passing(from: Incoming, progress: &Arc<Progress>, stay: Option<Stay>) -> Self {
        if from.is_end_stream() {
            if let Some(stay) = stay {
                stay.over();
            }
            return Self::EMPTY;
        }
        Self::Passing { from, progress: Arc::clone(progress), stay }
    }
}

impl Body for Payload {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        match &mut *self {
            Self::Whole(bytes) => Poll::Ready(bytes.take().map(|bytes| Ok(Frame::data(bytes)))),
            Self::Passing { from, progress, stay } => {
                let frame = ready!(Pin::new(&mut *from).poll_frame(cx));
                progress.note();
                // Nobody asks for more once the announced length was passed on.
                if (frame.is_none() || from.is_end_stream())
                    && let Some(stay) = stay.take()
                {
                    stay.over();
                }
                Poll::Ready(frame)
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Self::Whole(bytes) => bytes.is_none(),
            Self::Passing { from, .. } => from.is_end_stream(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Self::Whole(bytes) => SizeHint::with_exact(bytes.as_ref().map_or(0, Bytes::len) as u64),
            Self::Passing { from, .. } => from.size_hint(),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::sync::atomic::AtomicUsize;
    use std::task::{Wake, Waker};

    use super::*;

    /// Counts how often it was woken.
    #[derive(Default)]
    struct Woken(AtomicUsize);

    impl Wake for Woken {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::Relaxed);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_stall_is_waited_for_asleep_however_long_the_process_has_run() {
        let clock = SystemClock::start();
        tokio::time::advance(Duration::from_secs(86_400 * 366)).await;
        let (progress, woken) = (Progress::new(clock), Arc::<Woken>::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut stalled = pin!(progress.stalled(Duration::from_secs(60)));
        for _ in 0..2 {
            assert_eq!(stalled.as_mut().poll(&mut Context::from_waker(&waker)), Poll::Pending);
            assert_eq!(woken.0.load(Ordering::Relaxed), 0, "it sleeps");
            tokio::time::advance(Duration::from_secs(30)).await;
        }
        stalled.await;
    }
}

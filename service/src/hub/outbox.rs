//! A session's mailbox: shared frames that wait for its socket. Bounded in bytes; when full it is emptied and says so
//! once, upon which the session is closed as slow and the client resumes. It neither encodes nor writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;

use crate::delivery::{Charge, Parcel};

/// While all outboxes together hold too much, those with more than this waiting are the slow ones.
const SLOW_BYTES: usize = 16 * 1024;
/// Room for this many parcels is kept between turns: enough for a quiet session not to allocate per message, little
/// enough to stay after a burst.
const KEPT_CAPACITY: usize = 4;

/// What all outboxes of an instance may hold together. Frames that many share count once.
#[derive(Debug)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    total: usize,
}

impl Budget {
    /// `total` bytes for all.
    #[must_use]
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { used: Arc::default(), total })
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// Where to count.
    #[must_use]
    pub fn counter(&self) -> &Arc<AtomicUsize> {
        &self.used
    }
}

/// What [`Outbox::poll_take`] found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taken {
    /// Parcels were moved out.
    Parcels,
    /// The limit was reached; everything was thrown away.
    Overflow,
}

#[derive(Debug, Default)]
struct State {
    queue: Vec<Parcel>,
    /// Bytes of `queue`.
    bytes: usize,
    /// Bytes that left the queue and still wait for the socket; a copy of the session's own.
    backlog: Option<Charge>,
    /// What of them counts against the limit.
    backlog_counted: usize,
    overflowed: bool,
    waker: Option<Waker>,
    /// The waker waits for an overflow, not for parcels.
    only_overflow: bool,
}

/// See the module. Held by the connection that reads it and by each room that writes it.
#[derive(Debug)]
pub struct Outbox {
    state: Mutex<State>,
    limit: usize,
    budget: Arc<Budget>,
}

impl Outbox {
    /// An empty outbox for at most `limit` bytes.
    #[must_use]
    pub fn new(limit: usize, budget: Arc<Budget>) -> Arc<Self> {
        Arc::new(Self { state: Mutex::new(State::default()), limit, budget })
    }

    /// Appends a parcel and wakes the reader if it had nothing. `false`: the outbox is over its limit, now or before.
    pub fn push(&self, parcel: Parcel) -> bool {
        let mut state = self.state.lock();
        if state.overflowed {
            return false;
        }
        state.bytes += parcel.size();
        if self.fits(&state) {
            state.queue.push(parcel);
        } else {
            state.overflowed = true;
            state.queue = Vec::new();
            state.bytes = 0;
        }
        let kept = !state.overflowed;
        let waker = if kept && state.only_overflow { None } else { state.waker.take() };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        kept
    }

    /// Wakes the reader, although there may be nothing.
    pub fn wake(&self) {
        let waker = self.state.lock().waker.take();
        if let Some(waker) = waker {
            waker.wake();
        }
    }

    /// Moves everything that waits to the end of `into`. Cancel-safe: nothing is lost when it is pending.
    pub fn poll_take(&self, cx: &mut Context<'_>, into: &mut Vec<Parcel>) -> Poll<Taken> {
        let mut state = self.state.lock();
        if state.overflowed {
            return Poll::Ready(Taken::Overflow);
        }
        if state.queue.is_empty() {
            state.only_overflow = false;
            if !state.waker.as_ref().is_some_and(|waker| waker.will_wake(cx.waker())) {
                state.waker = Some(cx.waker().clone());
            }
            return Poll::Pending;
        }
        into.append(&mut state.queue);
        if state.queue.capacity() > KEPT_CAPACITY {
            state.queue = Vec::with_capacity(KEPT_CAPACITY);
        }
        state.bytes = 0;
        Poll::Ready(Taken::Parcels)
    }

    /// For a reader whose socket is full: ready when the limit is reached, without being woken by each parcel.
    pub fn poll_overflow(&self, cx: &mut Context<'_>) -> Poll<()> {
        let mut state = self.state.lock();
        if state.overflowed {
            return Poll::Ready(());
        }
        state.only_overflow = true;
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Says how many bytes were taken but still wait for the socket; they count against the limit. At most half of it:
    /// a long answer that the client asked for must not alone make it slow.
    pub fn set_backlog(&self, bytes: usize) {
        let mut state = self.state.lock();
        state.backlog = (bytes > 0).then(|| Charge::new(self.budget.counter(), bytes));
        state.backlog_counted = bytes.min(self.limit / 2);
    }

    fn fits(&self, state: &State) -> bool {
        let waiting = state.bytes + state.backlog_counted;
        waiting <= self.limit && (waiting <= SLOW_BYTES || self.budget.used() <= self.budget.total)
    }
}

#[cfg(test)]
mod tests {
    use std::task::Context;

    use bytes::Bytes;

    use super::*;
    use crate::delivery::{Ephemeral, EphemeralKind, Order, Run, Slot};
    use crate::message::{Entry, Epoch};

    fn parcel(bytes: usize) -> Parcel {
        let ephemeral = Ephemeral { frame: Bytes::from(vec![0; bytes]), kind: EphemeralKind::Presence };
        Parcel::Ephemeral(Slot(0), Arc::new(ephemeral))
    }

    fn take(outbox: &Outbox) -> (Poll<Taken>, usize) {
        let mut into = Vec::new();
        let taken = outbox.poll_take(&mut Context::from_waker(Waker::noop()), &mut into);
        (taken, into.len())
    }

    #[test]
    fn parcels_leave_in_one_piece_and_in_order() {
        let outbox = Outbox::new(1_000, Budget::new(1_000_000));
        assert_eq!(take(&outbox), (Poll::Pending, 0));
        assert!(outbox.push(Parcel::Order(Order::Drain { after_ms: 1 })));
        assert!(outbox.push(parcel(1)));
        assert_eq!(take(&outbox), (Poll::Ready(Taken::Parcels), 2));
        assert_eq!(take(&outbox), (Poll::Pending, 0));
    }

    #[test]
    fn over_its_limit_it_is_emptied_and_stays_so() {
        let outbox = Outbox::new(100, Budget::new(1_000_000));
        assert!(outbox.push(parcel(100)));
        assert!(!outbox.push(parcel(1)));
        assert!(!outbox.push(parcel(1)));
        assert_eq!(take(&outbox), (Poll::Ready(Taken::Overflow), 0));
    }

    #[test]
    fn what_waits_for_the_socket_counts_too() {
        let outbox = Outbox::new(100, Budget::new(1_000_000));
        outbox.set_backlog(80);
        assert!(outbox.push(parcel(50)), "half of the limit is left to what is live");
        assert!(!outbox.push(parcel(1)));
    }

    #[test]
    fn when_all_hold_too_much_the_slow_ones_go_and_shared_frames_count_once() {
        let budget = Budget::new(100_000);
        let run = |bytes: usize| {
            let entry = Entry { offset: 1, frame: Bytes::from(vec![b'x'; bytes]) };
            Arc::new(Run::encode(Epoch::from_bits(1), &[entry]).unwrap().charged_to(budget.counter()))
        };
        let readers: Vec<_> = (0..100).map(|_| Outbox::new(usize::MAX, Arc::clone(&budget))).collect();
        let shared = run(50_000);
        assert!(readers.iter().all(|reader| reader.push(Parcel::Run(Slot(0), Arc::clone(&shared)))));
        assert_eq!(budget.used(), shared.size());
        let other = run(60_000);
        let fresh = Outbox::new(usize::MAX, Arc::clone(&budget));
        assert!(fresh.push(parcel(1)), "who has little waiting stays");
        assert!(!readers[0].push(Parcel::Run(Slot(0), Arc::clone(&other))));
        drop((shared, other, readers, fresh));
        assert_eq!(budget.used(), 0);
    }

    #[test]
    fn little_memory_stays_after_a_burst() {
        let outbox = Outbox::new(1_000_000, Budget::new(1_000_000));
        for _ in 0..200 {
            outbox.push(parcel(1));
        }
        let _ = take(&outbox);
        assert!(outbox.state.lock().queue.capacity() <= KEPT_CAPACITY);
    }
}

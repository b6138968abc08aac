//! A session's mailbox: shared frames that wait for its socket. Bounded in bytes; when full it is emptied and says so
//! once, upon which the session is closed as slow and the client resumes. It neither encodes nor writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::delivery::{Charge, Order, Parcel};

/// A reader that is not blocked may have this many times its limit waiting.
const UNBLOCKED_FACTOR: usize = 4;
/// Room for this many parcels is kept between turns: enough for a quiet session not to allocate per message, little
/// enough to stay after a burst.
const KEPT_CAPACITY: usize = 4;

/// What may wait for all sessions of an instance together. Frames that many share count once.
#[derive(Debug)]
pub struct Budget {
    used: Arc<AtomicUsize>,
    total: usize,
    exceeded: Notify,
}

impl Budget {
    /// `total` bytes for all.
    #[must_use]
    pub fn new(total: usize) -> Arc<Self> {
        Arc::new(Self { used: Arc::default(), total, exceeded: Notify::new() })
    }

    /// Bytes in use.
    #[must_use]
    pub fn used(&self) -> usize {
        self.used.load(Ordering::Relaxed)
    }

    /// What may be in use.
    #[must_use]
    pub fn total(&self) -> usize {
        self.total
    }

    /// How much is in use beyond the total.
    #[must_use]
    pub fn excess(&self) -> usize {
        self.used().saturating_sub(self.total)
    }

    /// Waits until what waits for a slow reader grew, and more is in use than may be. What the hub itself hands out it
    /// looks at itself. Cancel-safe.
    pub async fn exceeded(&self) {
        self.exceeded.notified().await;
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
    /// Heard even while the socket is full; rare and few.
    orders: Vec<Order>,
    /// Bytes of `queue`.
    bytes: usize,
    /// Bytes that wait for the socket elsewhere and are the session's own.
    backlog: Option<Charge>,
    /// Such that it shares with others; counted once for all of them.
    shared: usize,
    /// What of both counts against the limit.
    backlog_counted: usize,
    overflowed: bool,
    /// What its connection shares with others and gives up, because of the overflow, once it has its turn.
    leaving: usize,
    waker: Option<Waker>,
    /// The waker waits for orders and the limit, not for parcels.
    only_urgent: bool,
}

impl State {
    fn is_blocked(&self) -> bool {
        self.only_urgent || self.backlog.is_some()
    }

    fn hand_out_orders(&mut self, into: &mut Vec<Parcel>) -> bool {
        if self.orders.is_empty() {
            return false;
        }
        into.extend(std::mem::take(&mut self.orders).into_iter().map(Parcel::Order));
        true
    }

    /// What is in front of the socket no longer counts either: its connection gives it up, and nobody else should have to
    /// go for it.
    fn overflow(&mut self) {
        self.overflowed = true;
        self.queue = Vec::new();
        self.backlog = None;
        self.leaving += self.shared;
        (self.bytes, self.shared) = (0, 0);
    }
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
        // A reader that is not blocked has only not had its turn yet: what waits is shared with the others, and a burst
        // must not make it slow.
        let limit = if state.is_blocked() { self.limit } else { self.limit.saturating_mul(UNBLOCKED_FACTOR) };
        state.bytes += parcel.size();
        if state.bytes + state.backlog_counted <= limit {
            state.queue.push(parcel);
        } else {
            state.overflow();
        }
        let kept = !state.overflowed;
        let waker = if kept && state.only_urgent { None } else { state.waker.take() };
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
        kept
    }

    /// Appends something that may be dropped: it is, when half of the limit is used up. `false`: dropped.
    pub fn push_if_it_fits(&self, parcel: Parcel) -> bool {
        {
            let state = self.state.lock();
            if state.overflowed || state.bytes + state.backlog_counted + parcel.size() > self.limit / 2 {
                return false;
            }
        }
        self.push(parcel)
    }

    /// Gives an order, which is heard before anything that waits, and while the socket is full.
    pub fn order(&self, order: Order) {
        let mut state = self.state.lock();
        state.orders.push(order);
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
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
        if state.hand_out_orders(into) {
            return Poll::Ready(Taken::Parcels);
        }
        if state.queue.is_empty() {
            state.only_urgent = false;
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

    /// For a reader whose socket is full: only orders, or the limit, without being woken by each parcel.
    pub fn poll_urgent(&self, cx: &mut Context<'_>, into: &mut Vec<Parcel>) -> Poll<Taken> {
        let mut state = self.state.lock();
        if state.overflowed {
            return Poll::Ready(Taken::Overflow);
        }
        if state.hand_out_orders(into) {
            return Poll::Ready(Taken::Parcels);
        }
        state.only_urgent = true;
        state.waker = Some(cx.waker().clone());
        Poll::Pending
    }

    /// Says how many bytes wait for a socket that is full, besides those here: what was taken from here, answers that were
    /// asked for, requests that wait for their turn. `shared` are counted already, with whoever shares them. They count
    /// against the limit, at most half of it: a long answer that the client asked for must not alone make it slow.
    pub fn set_backlog(&self, own: usize, shared: usize) {
        let mut state = self.state.lock();
        if state.overflowed {
            return;
        }
        let before = state.backlog.as_ref().map_or(0, Charge::bytes);
        state.backlog = (own > 0).then(|| Charge::new(self.budget.counter(), own));
        state.shared = shared;
        state.backlog_counted = own.saturating_add(shared).min(self.limit / 2);
        if own > before && self.budget.excess() > 0 {
            self.budget.exceeded.notify_one();
        }
    }

    /// Bytes that wait for this session, shared ones in full, those in front of the socket included.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let state = self.state.lock();
        state.bytes + state.shared + state.backlog.as_ref().map_or(0, Charge::bytes)
    }

    /// Bytes that still count for all although this one was emptied: its connection has not had its turn yet.
    #[must_use]
    pub fn leaving(&self) -> usize {
        self.state.lock().leaving
    }

    /// Empties it as if it had gone over its limit; see [`Outbox::poll_take`]. What it shares with others counts until
    /// its connection gives it up, as [`Outbox::leaving`].
    pub fn evict(&self) {
        let mut state = self.state.lock();
        state.overflow();
        let waker = state.waker.take();
        drop(state);
        if let Some(waker) = waker {
            waker.wake();
        }
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
        let ephemeral = Ephemeral { frame: Bytes::from(vec![0; bytes]), kind: EphemeralKind::Presence, charge: None };
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
        assert!(outbox.push(parcel(1)));
        assert!(outbox.push(parcel(1)));
        assert_eq!(take(&outbox), (Poll::Ready(Taken::Parcels), 2));
        assert_eq!(take(&outbox), (Poll::Pending, 0));
    }

    #[test]
    fn over_its_limit_it_is_emptied_and_stays_so() {
        let outbox = Outbox::new(100, Budget::new(1_000_000));
        assert!(outbox.push(parcel(400)), "not blocked, only not had its turn");
        assert!(!outbox.push(parcel(1)));
        assert!(!outbox.push(parcel(1)));
        assert_eq!(take(&outbox), (Poll::Ready(Taken::Overflow), 0));
    }

    #[test]
    fn orders_come_first_and_while_the_socket_is_full() {
        let outbox = Outbox::new(100, Budget::new(1_000_000));
        outbox.push(parcel(1));
        outbox.order(Order::Drain { after_ms: 1 });
        let mut into = Vec::new();
        let cx = &mut Context::from_waker(Waker::noop());
        assert_eq!(outbox.poll_urgent(cx, &mut into), Poll::Ready(Taken::Parcels));
        assert_eq!(into, [Parcel::Order(Order::Drain { after_ms: 1 })]);
        assert_eq!(outbox.poll_urgent(cx, &mut into), Poll::Pending);
        assert_eq!(take(&outbox), (Poll::Ready(Taken::Parcels), 1));
    }

    #[test]
    fn what_may_be_dropped_never_makes_a_session_slow() {
        let outbox = Outbox::new(100, Budget::new(1_000_000));
        assert!(outbox.push_if_it_fits(parcel(50)));
        assert!(!outbox.push_if_it_fits(parcel(1)));
        assert!(outbox.push(parcel(40)), "what is logged still fits");
    }

    #[test]
    fn what_waits_for_the_socket_counts_too() {
        let outbox = Outbox::new(100, Budget::new(1_000_000));
        outbox.set_backlog(80, 0);
        assert!(outbox.push(parcel(50)), "half of the limit is left to what is live");
        assert!(!outbox.push(parcel(1)));
    }

    #[test]
    fn what_is_shared_counts_for_the_session_and_not_once_more_for_all() {
        let budget = Budget::new(1_000_000);
        let outbox = Outbox::new(100, Arc::clone(&budget));
        outbox.set_backlog(10, 30);
        assert_eq!((outbox.waiting(), budget.used()), (40, 10));
        assert!(outbox.push(parcel(60)));
        assert!(!outbox.push(parcel(1)));
    }

    #[test]
    fn whoever_makes_it_too_much_says_so() {
        let budget = Budget::new(100);
        let outbox = Outbox::new(1_000, Arc::clone(&budget));
        let said = || futures_util::FutureExt::now_or_never(budget.exceeded()).is_some();
        outbox.set_backlog(100, 0);
        assert!(!said());
        outbox.set_backlog(101, 0);
        assert!(said());
        outbox.set_backlog(101, 0);
        assert!(!said(), "no more than before");
    }

    #[test]
    fn shared_frames_count_once_and_for_as_long_as_anyone_holds_them() {
        let budget = Budget::new(100);
        let entry = Entry { offset: 1, frame: Bytes::from(vec![b'x'; 120]) };
        let shared = Arc::new(Run::encode(Epoch::from_bits(1), &[entry]).unwrap().charged_to(budget.counter()));
        let readers: Vec<_> = (0..100).map(|_| Outbox::new(usize::MAX, Arc::clone(&budget))).collect();
        assert!(readers.iter().all(|reader| reader.push(Parcel::Run(Slot(0), Arc::clone(&shared)))));
        drop(shared);
        assert_eq!((budget.used(), budget.excess()), (122, 22));
        assert_eq!(readers[0].waiting(), 122);
        readers[0].evict();
        assert_eq!(readers[0].waiting(), 0);
        assert_eq!(take(&readers[0]), (Poll::Ready(Taken::Overflow), 0));
        readers[1].set_backlog(7, 0);
        assert_eq!((readers[1].waiting(), budget.used()), (129, 129));
        readers[1].evict();
        readers[1].set_backlog(7, 0);
        assert_eq!(budget.used(), 122);
        drop(readers);
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

//! The one task of a connection: it waits for the client, the outbox, the clock and what was started, gives each to the
//! session, and carries out what the session asks for. It decides nothing. All that is queued leaves in one write.

mod outputs;
mod waiting;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Sleep;

use super::actions;
use super::admission::Admitted;
use super::ops::{Finished, Ops};
use super::scratch::Scratch;
use super::services::Services;
use super::wire::{Event, Fault, Wire};
use crate::auth::AuthError;
use crate::clock::{Clock as _, Moment, Now};
use crate::delivery::{Order, Parcel, Slot};
use crate::hub::Membership;
use crate::hub::outbox::{Outbox, Taken};
use crate::hub::registry::Registration;
use crate::ids::{RoomName, SessionId};
use crate::protocol::close_code::CloseCode;
use crate::protocol::limits::CLIENT_FRAME_MAX_BYTES;
use crate::rights::Grant;
use crate::session::{Input, Session};

/// How long a peer may take to answer our close frame, and the socket to take it.
const CLOSE_WAIT: Duration = Duration::from_secs(3);
/// Client frames handled before other connections get their turn.
const FRAMES_PER_TURN: usize = 64;
/// Above this, what was gathered is sent before more is gathered.
const WRITE_BYTES: usize = 128 * 1024;
/// One delivery in this many is timed, by offset, so that no session pays for each of its messages.
const TIMED_ONE_IN: u64 = 64;

/// Why gathering ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Gathered {
    /// Nothing more is ready.
    All,
    /// Send this, then gather on: replays of many rooms must not pile up.
    EnoughForOneWrite,
    /// Others want their turn.
    EnoughForOneTurn,
}

/// How far the connection is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    Open,
    /// A close frame is on its way or was sent. `answered`: the peer's was there, or will never come.
    Closing {
        answered: bool,
    },
    /// There is nothing left to do.
    Over,
}

/// See the module. A future that ends with the connection.
pub struct Connection<S> {
    wire: Wire<S>,
    session: Session,
    services: Arc<Services>,
    outbox: Arc<Outbox>,
    /// Ascending by slot, few.
    memberships: Vec<(Slot, Membership)>,
    ops: Option<Box<Ops>>,
    timer: Pin<Box<Sleep>>,
    armed: Moment,
    stage: Stage,
    /// Credentials came with the request, and bans are being asked for.
    admitting: bool,
    /// The peer broke a rule of RFC 6455: nothing it says can be read any more.
    broken: bool,
    reason: &'static str,
    opened: Moment,
    registration: Option<Registration>,
    counted_writes: u64,
    timed: u64,
    _admitted: Admitted,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Connection<S> {
    /// Takes over an upgraded connection. With a `grant` the client is signed in once it is known not to be banned;
    /// without, it signs in by an `auth` frame. Either way it joins `rooms` then.
    #[must_use]
    pub fn new(
        stream: S,
        early: &[u8],
        services: Arc<Services>,
        admitted: Admitted,
        grant: Option<Grant>,
        rooms: Vec<RoomName>,
    ) -> Self {
        let now = services.clock.now();
        let id = SessionId::from_bits(services.entropy.bits());
        let session = Session::new(id, Arc::clone(&services.rules), rooms, now);
        let outbox = services.hub.outbox();
        let registration = services.hub.registry().register(Arc::clone(&outbox));
        let armed = session.deadline();
        let timer = Box::pin(tokio::time::sleep_until(services.clock.instant(armed)));
        services.metrics.edge.sessions.inc();
        let mut connection = Self {
            wire: Wire::new(stream, early, CLIENT_FRAME_MAX_BYTES),
            session,
            outbox,
            memberships: Vec::new(),
            ops: None,
            timer,
            armed,
            stage: Stage::Open,
            admitting: false,
            broken: false,
            reason: "gone",
            opened: now.mono,
            counted_writes: 0,
            timed: id.bits() % TIMED_ONE_IN,
            _admitted: admitted,
            registration: Some(registration),
            services,
        };
        if let Some(grant) = grant {
            connection.check_ban(grant);
        }
        connection
    }

    /// Until the answer the client is not read: nothing it says could be heard before `welcome`.
    fn check_ban(&mut self, grant: Grant) {
        self.admitting = true;
        let services = Arc::clone(&self.services);
        services.hub.registry().signed_in(self.registered(), &grant.user);
        self.ops.get_or_insert_default().push(Box::pin(async move {
            let checked = actions::not_banned(&services, &grant.user).await;
            Finished::Admission(checked.map(|()| grant))
        }));
    }

    fn registered(&self) -> usize {
        self.registration.as_ref().map_or(usize::MAX, Registration::key)
    }

    /// One turn: everything that is ready, then one write. `Ready` when the connection is over.
    fn turn(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        let now = self.services.clock.now();
        if self.wire.is_blocked() {
            let mut progress = false;
            match self.wire.poll_flush(cx, &mut progress) {
                Poll::Ready(Err(_)) => return Poll::Ready(()),
                Poll::Ready(Ok(())) => self.outbox.set_backlog(0, 0),
                Poll::Pending => {}
            }
            if progress {
                // A peer that takes bytes is alive, however slowly it does.
                self.give(Input::Alive, now, scratch);
            }
        }
        if self.stage != Stage::Open {
            return self.closing(cx, scratch);
        }
        loop {
            let gathered = self.gather(cx, scratch, now);
            if !scratch.frames.is_empty() {
                if self.wire.send(cx, &scratch.frames).is_err() {
                    return Poll::Ready(());
                }
                self.count_writes(scratch.frames.len());
                scratch.frames.clear();
            }
            if self.stage != Stage::Open {
                return self.closing(cx, scratch);
            }
            if self.wire.is_blocked() {
                self.count_waiting();
            }
            match gathered {
                Gathered::All if self.rearm(false) => {}
                Gathered::All => return Poll::Pending,
                Gathered::EnoughForOneWrite => {}
                Gathered::EnoughForOneTurn => {
                    cx.waker().wake_by_ref();
                    return Poll::Pending;
                }
            }
        }
    }

    /// Gives the session everything that is ready. What it wants to send is left in `scratch.frames`.
    fn gather(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Now) -> Gathered {
        let mut frames_left = FRAMES_PER_TURN;
        let mut all = Gathered::All;
        loop {
            if scratch.frames.len() > WRITE_BYTES {
                return Gathered::EnoughForOneWrite;
            }
            let mut idle = true;
            if all == Gathered::All && self.timer.as_mut().poll(cx).is_ready() {
                // The turn's `now` may be earlier than the deadline that has just come.
                self.give(Input::Tick { blocked: self.wire.is_blocked() }, self.services.clock.now(), scratch);
                self.rearm(true);
                if self.stage != Stage::Open {
                    return Gathered::All;
                }
                // Polled, so that it wakes this task. A deadline that is past again waits for the next turn: the clock must
                // not keep the socket from its turn.
                if self.timer.as_mut().poll(cx).is_ready() {
                    all = Gathered::EnoughForOneTurn;
                }
            }
            if self.ops.is_some() {
                self.drive(cx);
            }
            // While the socket is full nothing is read, and nothing taken but what is urgent: the client slows itself
            // down, and the outbox fills up to its limit.
            if self.wire.is_blocked() {
                let heard = self.take_parcels(cx, scratch, now, true);
                return if heard { Gathered::EnoughForOneWrite } else { all };
            }
            if let Some(finished) = self.take_finished() {
                idle = false;
                self.finished(finished, now, scratch);
            }
            // Until nothing is there and our waker is: the common case of one delivery needs no second round.
            while self.stage == Stage::Open && self.take_parcels(cx, scratch, now, false) {
                if scratch.frames.len() > WRITE_BYTES {
                    return Gathered::EnoughForOneWrite;
                }
            }
            if self.stage != Stage::Open {
                return Gathered::All;
            }
            if !self.admitting
                && self.session.wants_input()
                && let Poll::Ready(event) = self.wire.poll_event(cx, &mut scratch.read, &mut scratch.frames)
            {
                idle = false;
                self.event(event, now, scratch);
                frames_left -= 1;
            }
            if self.stage != Stage::Open || (idle && self.ops.as_ref().is_none_or(|ops| ops.is_waiting())) {
                return all;
            }
            if frames_left == 0 {
                return Gathered::EnoughForOneTurn;
            }
        }
    }

    /// Gives the session what waits in the outbox, or only what is urgent. `false`: there was nothing.
    fn take_parcels(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch, now: Now, urgent: bool) -> bool {
        let taken = match urgent {
            true => self.outbox.poll_urgent(cx, &mut scratch.parcels),
            false => self.outbox.poll_take(cx, &mut scratch.parcels),
        };
        match taken {
            Poll::Ready(Taken::Parcels) => {
                let mut parcels = std::mem::take(&mut scratch.parcels);
                for parcel in parcels.drain(..) {
                    self.give(Input::Parcel(parcel), now, scratch);
                }
                scratch.parcels = parcels;
                true
            }
            Poll::Ready(Taken::Overflow) => {
                self.give(Input::Overflow, now, scratch);
                false
            }
            Poll::Pending => false,
        }
    }

    fn event(&mut self, event: Event, now: Now, scratch: &mut Scratch) {
        match event {
            Event::Text(text) => {
                self.services.metrics.edge.frames_received.inc();
                self.give(Input::Text(&text), now, scratch);
            }
            Event::Binary(_) => self.give(Input::Binary, now, scratch),
            Event::Heard => self.give(Input::Heard, now, scratch),
            // The engine has put its answer into the frames already.
            Event::Closed => self.begin_closing("peer", now, true),
            Event::Gone => self.begin_closing("gone", now, true),
            Event::Broken(fault) => {
                self.broken = true;
                let code = match fault {
                    Fault::Malformed => CloseCode::Malformed,
                    Fault::NotUtf8 => CloseCode::NotUtf8,
                    Fault::TooBig => CloseCode::TooBig,
                };
                self.give(Input::Parcel(Parcel::Order(Order::Close(code))), now, scratch);
            }
        }
    }

    fn finished(&mut self, finished: Finished, now: Now, scratch: &mut Scratch) {
        match finished {
            Finished::Action(op, outcome, membership) => {
                if let Some((slot, membership)) = membership.map(|m| (m.slot(), m))
                    && self.session.has_joined(slot)
                {
                    reserve_few(&mut self.memberships);
                    // Joins are done in any order.
                    let index = self.memberships.partition_point(|(other, _)| *other < slot);
                    self.memberships.insert(index, (slot, membership));
                }
                self.give(Input::Done(op, outcome), now, scratch);
            }
            Finished::Admission(Ok(grant)) => {
                self.admitting = false;
                self.give(Input::SignedIn(grant), now, scratch);
            }
            Finished::Admission(Err(error)) => {
                let code = match error {
                    AuthError::Banned => CloseCode::Banned,
                    _ => CloseCode::Restart,
                };
                self.give(Input::Parcel(Parcel::Order(Order::Close(code))), now, scratch);
            }
        }
    }

    /// One input, and everything that follows from it.
    fn give(&mut self, input: Input<'_>, now: Now, scratch: &mut Scratch) {
        self.session.handle(input, now, &mut scratch.outputs);
        let mut outputs = std::mem::take(&mut scratch.outputs);
        for output in outputs.drain(..) {
            self.carry_out(output, now, scratch);
        }
        scratch.outputs = outputs;
    }

    /// From here on the session is over for everybody else; only the close handshake is left.
    fn begin_closing(&mut self, reason: &'static str, now: Now, answered: bool) {
        if self.stage != Stage::Open {
            return;
        }
        self.reason = reason;
        self.stage = Stage::Closing { answered };
        self.memberships = Vec::new();
        self.ops = None;
        self.registration = None;
        self.armed = now.mono + CLOSE_WAIT;
        self.timer.as_mut().reset(self.services.clock.instant(self.armed));
    }

    /// What is left of the close handshake, so that our close frame is not lost to a reset.
    fn closing(&mut self, cx: &mut Context<'_>, scratch: &mut Scratch) -> Poll<()> {
        let Stage::Closing { answered } = self.stage else { return Poll::Ready(()) };
        if self.timer.as_mut().poll(cx).is_ready() {
            return Poll::Ready(());
        }
        if answered {
            return self.wire.poll_finish(cx, &mut scratch.read);
        }
        let mut progress = false;
        if let Poll::Ready(Err(_)) = self.wire.poll_flush(cx, &mut progress) {
            return Poll::Ready(());
        }
        loop {
            scratch.frames.clear();
            match self.wire.poll_event(cx, &mut scratch.read, &mut scratch.frames) {
                Poll::Ready(Event::Closed | Event::Broken(_)) => {
                    self.stage = Stage::Closing { answered: true };
                    return self.wire.poll_finish(cx, &mut scratch.read);
                }
                Poll::Ready(Event::Gone) => return Poll::Ready(()),
                Poll::Ready(_) => {}
                Poll::Pending => return Poll::Pending,
            }
        }
    }

    /// The timer follows the session's deadline: always when it is earlier, lazily (once it fires) when it is later.
    /// `true`: it was set anew and must be polled, so that it wakes this task.
    fn rearm(&mut self, fired: bool) -> bool {
        if self.stage != Stage::Open {
            return false;
        }
        let deadline = self.session.deadline();
        let anew = fired || deadline < self.armed;
        if anew {
            self.armed = deadline;
            self.timer.as_mut().reset(self.services.clock.instant(deadline));
        }
        anew
    }

    fn count_writes(&mut self, bytes: usize) {
        let edge = &self.services.metrics.edge;
        edge.socket_writes.inc_by(self.wire.writes() - self.counted_writes);
        edge.socket_bytes.inc_by(bytes as u64);
        self.counted_writes = self.wire.writes();
    }
}

/// Most sessions are in their inbox and one room: a vector's own first step would be twice that.
fn reserve_few<T>(vector: &mut Vec<T>) {
    if vector.capacity() == 0 {
        vector.reserve_exact(2);
    }
}

impl<S: AsyncRead + AsyncWrite + Unpin> Future for Connection<S> {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.services.drain.has_ended() {
            return Poll::Ready(());
        }
        let mut scratch = Scratch::borrow();
        let turned = self.turn(cx, &mut scratch);
        scratch.give_back();
        turned
    }
}

impl<S> Drop for Connection<S> {
    fn drop(&mut self) {
        let edge = &self.services.metrics.edge;
        edge.sessions.dec();
        edge.closed.get_or_create(&[("reason", self.reason)]).inc();
        let (id, user, reason) = (self.session.id(), self.session.user().map(tracing::field::display), self.reason);
        let seconds = self.services.clock.now().mono.since(self.opened).as_secs_f64();
        // Everyday ends are for those who look; the others say that a client or a limit deserves a look.
        if matches!(reason, "gone" | "peer" | "restart" | "token_expired") {
            tracing::debug!(conn.id = %id, user.id = user, close.reason = reason, seconds, "connection ended");
        } else {
            tracing::info!(conn.id = %id, user.id = user, close.reason = reason, seconds, "connection ended");
        }
    }
}

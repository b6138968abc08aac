//! One connection of one session: reads into the thread's buffer, lets the seat hear every frame, writes what the seat
//! wants sent. It does not decide when to connect or to give up; that is `attend.rs`.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::mem;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{sleep, timeout};

use super::chat::write_frame;
use super::clock::monotonic_ns;
use super::scanner::{Frame, ScanFault, Scanner};
use super::seat::{Cue, Seat};
use super::upgrade::Upgraded;
use super::worker::Worker;

/// Reads before other sessions of the thread get their turn.
const READS_PER_TURN: usize = 4;
/// An empty write buffer above this is given back: idle sessions shall cost little here, too.
const KEPT_CAPACITY: usize = 1024;
/// What may wait for a server that does not read, before the session stops publishing.
const MOST_UNSENT: usize = 4 << 20;

/// The seat, and the ways in which others reach the task that attends it.
pub(super) struct Desk {
    pub(super) seat: RefCell<Seat>,
    /// Monotonic nanoseconds of the last read.
    pub(super) heard_at: Cell<u64>,
    /// Counts connections, so that timers of an earlier one come to nothing.
    pub(super) generation: Cell<u32>,
    move_now: Cell<Option<bool>>,
    dead: Cell<bool>,
    waker: RefCell<Option<Waker>>,
}

impl Desk {
    pub(super) fn new(seat: Seat) -> Self {
        Self {
            seat: RefCell::new(seat),
            heard_at: Cell::new(0),
            generation: Cell::new(0),
            move_now: Cell::new(None),
            dead: Cell::new(false),
            waker: RefCell::new(None),
        }
    }

    /// Gives the session a turn.
    pub(super) fn ring(&self) {
        if let Some(waker) = self.waker.borrow_mut().take() {
            waker.wake();
        }
    }

    /// Nothing has come for too long: the connection is to be given up.
    pub(super) fn declare_dead(&self) {
        self.dead.set(true);
        self.ring();
    }

    /// A new connection takes over; timers and flags of the one before are void.
    pub(super) fn begin_connection(&self) {
        self.generation.set(self.generation.get().wrapping_add(1));
        self.move_now.set(None);
        self.dead.set(false);
        self.heard_at.set(monotonic_ns());
    }
}

/// What happened to the connection.
#[derive(Debug)]
pub(super) enum Turn {
    /// All rooms are joined.
    Arrived,
    /// The server told to go elsewhere, and the time has come.
    Move { elsewhere: bool },
    /// The server closed with this code.
    Closed(Option<u16>),
    /// The connection broke.
    Lost,
    /// The run is over.
    Stop,
}

/// See the module.
pub(super) struct Line {
    stream: TcpStream,
    scanner: Scanner,
    out: Vec<u8>,
    early: Vec<u8>,
    close: Option<Option<u16>>,
    announced: bool,
}

impl Line {
    pub(super) fn new(upgraded: Upgraded) -> Self {
        let Upgraded { stream, early } = upgraded;
        Self { stream, scanner: Scanner::default(), out: Vec::new(), early, close: None, announced: false }
    }

    /// Reads, answers and writes until something happens that `attend` must know. Cancel-safe: all state is in `self`.
    pub(super) async fn turn(&mut self, worker: &Rc<Worker>, desk: &Rc<Desk>) -> Turn {
        poll_fn(|cx| self.poll_turn(cx, worker, desk)).await
    }

    /// One step of [`Line::turn`].
    pub(super) fn poll_turn(&mut self, cx: &mut Context<'_>, worker: &Rc<Worker>, desk: &Rc<Desk>) -> Poll<Turn> {
        {
            let mut waker = desk.waker.borrow_mut();
            if !waker.as_ref().is_some_and(|known| known.will_wake(cx.waker())) {
                *waker = Some(cx.waker().clone());
            }
        }
        if worker.stopping() {
            return Poll::Ready(Turn::Stop);
        }
        if desk.dead.take() {
            return Poll::Ready(Turn::Lost);
        }
        if let Some(elsewhere) = desk.move_now.take() {
            return Poll::Ready(Turn::Move { elsewhere });
        }
        if !self.early.is_empty() {
            let early = mem::take(&mut self.early);
            if self.take_in(&early, worker, desk).is_err() {
                return Poll::Ready(Turn::Lost);
            }
        }
        let mut reads = 0;
        while self.close.is_none() {
            if reads == READS_PER_TURN {
                cx.waker().wake_by_ref();
                break;
            }
            reads += 1;
            match self.poll_read(cx, worker, desk) {
                Poll::Ready(Ok(true)) => {}
                Poll::Ready(Ok(false) | Err(_)) => return Poll::Ready(Turn::Lost),
                Poll::Pending => break,
            }
        }
        if self.out.len() < MOST_UNSENT {
            let world = &mut *worker.world.borrow_mut();
            if reads <= 1 {
                world.begin_turn();
            }
            desk.seat.borrow_mut().carry_out(&mut self.out, world);
        }
        if let Poll::Ready(Err(_)) = self.poll_flush(cx) {
            return Poll::Ready(Turn::Lost);
        }
        if let Some(code) = self.close {
            return Poll::Ready(Turn::Closed(code));
        }
        if !self.announced && desk.seat.borrow().present() {
            self.announced = true;
            return Poll::Ready(Turn::Arrived);
        }
        Poll::Pending
    }

    /// One read; `false` at the end of the stream.
    fn poll_read(&mut self, cx: &mut Context<'_>, worker: &Rc<Worker>, desk: &Rc<Desk>) -> Poll<io::Result<bool>> {
        let mut buffer = worker.buffer.borrow_mut();
        let mut read = ReadBuf::new(&mut buffer);
        ready!(Pin::new(&mut self.stream).poll_read(cx, &mut read))?;
        if read.filled().is_empty() {
            return Poll::Ready(Ok(false));
        }
        let result = self.take_in(read.filled(), worker, desk);
        Poll::Ready(result.map(|()| true).map_err(io::Error::other))
    }

    fn take_in(&mut self, bytes: &[u8], worker: &Rc<Worker>, desk: &Rc<Desk>) -> Result<(), ScanFault> {
        let world = &mut *worker.world.borrow_mut();
        let seat = &mut *desk.seat.borrow_mut();
        world.begin_turn();
        desk.heard_at.set(world.now);
        let mut cues = Vec::new();
        let Self { scanner, out, close, .. } = self;
        let result = scanner.feed(bytes, |frame| match frame {
            _ if close.is_some() => {}
            Frame::Text(text) => seat.hear(text, out, &mut cues, world),
            Frame::Ping(payload) => write_frame(out, 10, payload, &mut world.entropy),
            Frame::Close(code) => *close = Some(code),
            Frame::Binary | Frame::Pong => {}
        });
        world.end_read();
        for cue in cues {
            follow(cue, worker, desk);
        }
        result
    }

    fn poll_flush(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let mut sent = 0;
        let result = loop {
            if sent == self.out.len() {
                break Poll::Ready(Ok(()));
            }
            match Pin::new(&mut self.stream).poll_write(cx, &self.out[sent..]) {
                Poll::Ready(Ok(0)) => break Poll::Ready(Err(io::ErrorKind::WriteZero.into())),
                Poll::Ready(Ok(more)) => sent += more,
                Poll::Ready(Err(error)) => break Poll::Ready(Err(error)),
                Poll::Pending => break Poll::Pending,
            }
        };
        self.out.drain(..sent);
        if self.out.is_empty() && self.out.capacity() > KEPT_CAPACITY {
            self.out = Vec::new();
        }
        result
    }

    /// Closes as the RFC asks, without waiting long for the answer.
    pub(super) async fn say_goodbye(mut self, worker: &Rc<Worker>) {
        write_frame(&mut self.out, 8, &1000_u16.to_be_bytes(), &mut worker.world.borrow_mut().entropy);
        // The run is over for this connection whatever becomes of the frame.
        let _ = timeout(Duration::from_millis(500), poll_fn(|cx| self.poll_flush(cx))).await;
    }
}

/// Sets the timer that a cue asks for.
fn follow(cue: Cue, worker: &Worker, desk: &Rc<Desk>) {
    let generation = desk.generation.get();
    let desk = Rc::clone(desk);
    worker.errands.spawn_local(async move {
        let (Cue::MoveAfter { ms, .. } | Cue::RetryAfter { ms, .. }) = cue;
        sleep(Duration::from_millis(ms)).await;
        if desk.generation.get() != generation {
            return;
        }
        match cue {
            Cue::MoveAfter { elsewhere, .. } => desk.move_now.set(Some(elsewhere)),
            Cue::RetryAfter { todo, .. } => desk.seat.borrow_mut().ask(todo),
        }
        desk.ring();
    });
}

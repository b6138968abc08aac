//! The floor: what a bare `send` of the same bytes to as many loopback sockets costs on this machine at this moment.
//! Nothing of a chat is in it, so the ratio of a server's cost per delivery to it is comparable between machines and
//! between noisy minutes. Only the sending thread's processor time counts; the readers discard in a thread of their own.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io::{self, Write};
use std::net::{TcpListener, TcpStream};
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::SeqCst};
use std::task::{Poll, ready};
use std::thread::{self, Thread};
use std::time::Duration;

use serde::Serialize;
use thiserror::Error;
use tokio::io::{AsyncRead, ReadBuf};

use super::clock::{monotonic_ns, thread_cpu_ns};
use super::machine::{MachineFault, busy_poll, pin_like, pin_to};

/// One read takes whatever one `send` brought; all readers share it.
const READ_BUFFER: usize = 64 << 10;

/// What to send, and to how many.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sends {
    /// Receiving sockets; each round sends once to each.
    pub(super) sockets: usize,
    /// Bytes of one message on the wire, frame header included.
    pub(super) size: usize,
    /// Messages in one `send`.
    pub(super) batch: usize,
    /// Rounds that may be under way before the readers have taken the first of them. 1: every `send` finds its
    /// receiver drained, like a paced server's.
    pub(super) ahead: u64,
    /// Whether the readers never sleep; see [`busy_poll`].
    pub(super) busy_poll: bool,
    /// How long to measure.
    pub(super) duration: Duration,
    /// Where the sending thread runs.
    pub(super) place: Place,
}

/// Where the sending thread runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Place {
    /// Wherever the scheduler likes.
    Anywhere,
    /// On this processor.
    Cpu(usize),
    /// On the processors of this process.
    Like(u32),
}

/// What it cost.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub(super) struct Floor {
    pub(super) sockets: usize,
    /// Bytes of one message on the wire.
    pub(super) size: usize,
    pub(super) batch: usize,
    pub(super) sends: u64,
    /// Processor time of the sending thread, user and system.
    pub(super) us_per_send: f64,
    pub(super) us_per_message: f64,
    pub(super) sends_per_second: f64,
}

/// Why there is no floor.
#[derive(Debug, Error)]
pub(super) enum FloorFault {
    #[error("floor: cannot {what}: {source}")]
    Io { what: &'static str, source: io::Error },
    #[error(transparent)]
    Machine(#[from] MachineFault),
    #[error("floor: the reading thread ended early")]
    Readers,
    #[error("floor: no round of sends was finished in the time given")]
    Nothing,
}

/// What sender and readers share.
struct Meter {
    taken: AtomicU64,
    /// The sender is woken when `taken` reaches this.
    awaited: AtomicU64,
    over: AtomicBool,
}

/// Measures. Blocks for the duration given and a little more.
///
/// # Errors
/// When sockets, threads or the processor asked for cannot be had.
pub(super) fn measure(sends: Sends) -> Result<Floor, FloorFault> {
    let io = |what: &'static str| move |source: io::Error| FloorFault::Io { what, source };
    let (writers, readers) = pairs(sends.sockets).map_err(io("open loopback sockets"))?;
    let meter =
        Arc::new(Meter { taken: AtomicU64::new(0), awaited: AtomicU64::new(u64::MAX), over: AtomicBool::new(false) });
    thread::scope(|scope| {
        let sender = {
            let meter = Arc::clone(&meter);
            thread::Builder::new()
                .name("floor-send".into())
                .spawn_scoped(scope, move || {
                    let result = send_all(sends, writers, &meter);
                    meter.over.store(true, SeqCst);
                    result
                })
                .map_err(io("start a thread"))?
        };
        let wake = sender.thread().clone();
        let reading = thread::Builder::new()
            .name("floor-read".into())
            .spawn_scoped(scope, move || discard(readers, sends.busy_poll, &meter, &wake))
            .map_err(io("start a thread"))?;
        let result = sender.join().map_err(|_| FloorFault::Readers)?;
        reading.join().map_err(|_| FloorFault::Readers)?.map_err(io("read"))?;
        result
    })
}

fn pairs(sockets: usize) -> io::Result<(Vec<TcpStream>, Vec<TcpStream>)> {
    let listener = TcpListener::bind(("127.0.0.1", 0))?;
    let address = listener.local_addr()?;
    let mut writers = Vec::with_capacity(sockets);
    let mut readers = Vec::with_capacity(sockets);
    for _ in 0..sockets {
        let reader = TcpStream::connect(address)?;
        let (writer, _) = listener.accept()?;
        writer.set_nodelay(true)?;
        reader.set_nonblocking(true)?;
        writers.push(writer);
        readers.push(reader);
    }
    Ok((writers, readers))
}

fn send_all(sends: Sends, mut writers: Vec<TcpStream>, meter: &Meter) -> Result<Floor, FloorFault> {
    match sends.place {
        Place::Anywhere => {}
        Place::Cpu(cpu) => pin_to(cpu)?,
        Place::Like(pid) => pin_like(pid),
    }
    let write = |source| FloorFault::Io { what: "send", source };
    let bytes = vec![b'x'; sends.size * sends.batch];
    let round = (bytes.len() * sends.sockets) as u64;
    let length = u64::try_from(sends.duration.as_nanos()).unwrap_or(u64::MAX);
    let (mut rounds, mut cpu, mut sent) = (0_u64, 0_u64, 0_u64);
    let mut begun = monotonic_ns();
    let mut warm = false;
    loop {
        let elapsed = monotonic_ns().saturating_sub(begun);
        if !warm && elapsed > length / 10 && rounds > 0 {
            // The first tenth fills caches and lets buffers find their size.
            (rounds, cpu, begun, warm) = (0, 0, monotonic_ns(), true);
        } else if warm && elapsed > length {
            break;
        }
        let before = thread_cpu_ns();
        for writer in &mut writers {
            writer.write_all(&bytes).map_err(write)?;
        }
        cpu += thread_cpu_ns() - before;
        rounds += 1;
        sent += round;
        // Waiting is not part of what is measured: the clock of this thread is read around the sends only.
        let awaited = sent - round * (sends.ahead - 1).min(sent / round);
        meter.awaited.store(awaited, SeqCst);
        while meter.taken.load(SeqCst) < awaited {
            if meter.over.load(SeqCst) {
                return Err(FloorFault::Readers);
            }
            thread::park_timeout(Duration::from_millis(20));
        }
    }
    let wall = monotonic_ns().saturating_sub(begun);
    let count = rounds * sends.sockets as u64;
    if count == 0 {
        return Err(FloorFault::Nothing);
    }
    let us_per_send = ratio(cpu, count) / 1000.0;
    Ok(Floor {
        sockets: sends.sockets,
        size: sends.size,
        batch: sends.batch,
        sends: count,
        us_per_send,
        us_per_message: us_per_send / ratio(sends.batch as u64, 1),
        sends_per_second: ratio(count, wall) * 1e9,
    })
}

#[expect(clippy::cast_precision_loss, reason = "figures for people: the 15 digits of an f64 are plenty")]
fn ratio(a: u64, b: u64) -> f64 {
    a as f64 / b as f64
}

/// Reads everything from everyone until the senders are gone, in large pieces.
fn discard(readers: Vec<TcpStream>, busy: bool, meter: &Arc<Meter>, sender: &Thread) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_io().build()?;
    let local = tokio::task::LocalSet::new();
    let buffer = Rc::new(RefCell::new(vec![0; READ_BUFFER]));
    if busy {
        local.spawn_local(busy_poll(|| false));
    }
    let result = local.block_on(&runtime, async {
        let mut tasks = tokio::task::JoinSet::new();
        for reader in readers {
            let reader = tokio::net::TcpStream::from_std(reader)?;
            let (buffer, meter, sender) = (Rc::clone(&buffer), Arc::clone(meter), sender.clone());
            tasks.spawn_local(async move { discard_one(reader, &buffer, &meter, &sender).await });
        }
        while let Some(result) = tasks.join_next().await {
            result.map_err(io::Error::other)??;
        }
        Ok(())
    });
    meter.over.store(true, SeqCst);
    sender.unpark();
    result
}

async fn discard_one(
    mut reader: tokio::net::TcpStream,
    buffer: &RefCell<Vec<u8>>,
    meter: &Meter,
    sender: &Thread,
) -> io::Result<()> {
    loop {
        let read = poll_fn(|cx| {
            let mut buffer = buffer.borrow_mut();
            let mut read = ReadBuf::new(&mut buffer);
            ready!(Pin::new(&mut reader).poll_read(cx, &mut read))?;
            Poll::Ready(io::Result::Ok(read.filled().len() as u64))
        });
        let count = match read.await {
            Ok(0) => return Ok(()),
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::ConnectionReset => return Ok(()),
            Err(error) => return Err(error),
        };
        let before = meter.taken.fetch_add(count, SeqCst);
        let awaited = meter.awaited.load(SeqCst);
        if before < awaited && before + count >= awaited {
            sender.unpark();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_floor_is_measured_and_a_batch_makes_messages_cheaper() {
        let sends = Sends {
            sockets: 8,
            size: 204,
            batch: 1,
            ahead: 1,
            busy_poll: false,
            duration: Duration::from_millis(30),
            place: Place::Anywhere,
        };
        let single = measure(sends).unwrap();
        let batched = measure(Sends { batch: 16, ahead: 3, busy_poll: true, ..sends }).unwrap();
        assert!(single.sends >= 8 && single.us_per_send > 0.0);
        assert!((single.us_per_send - single.us_per_message).abs() < f64::EPSILON);
        assert!(batched.us_per_message < single.us_per_message, "{batched:?} {single:?}");
    }

    #[test]
    fn a_processor_that_is_not_there_is_told() {
        let sends = Sends {
            sockets: 1,
            size: 1,
            batch: 1,
            ahead: 1,
            busy_poll: false,
            duration: Duration::from_millis(1),
            place: Place::Cpu(1_000_000),
        };
        assert!(matches!(measure(sends), Err(FloorFault::Machine(_))));
    }
}

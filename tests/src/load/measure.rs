//! `run` and `idle` from the first connect to the report: which phase follows which, and what is read from the servers
//! between them.

use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;

use thiserror::Error;

use super::arguments::{Common, Exchange, Idle, Run};
use super::clock::{monotonic_ns, process_cpu_ns};
use super::crew::{Crew, CrewFault, Waited};
use super::floor::{self, Floor, FloorFault, Place, Sends};
use super::machine::{self, MachineFault};
use super::process::{self, Memory, ProcessFault};
use super::report::{
    Broadcast, Connect, Connections, FloorRatio, IdleTime, Integrity, MemoryAt, Report, Servers, Settings, Traffic,
    figure, per,
};
use super::tally::Tally;
use super::worker::Order;

/// Time for a server to put its memory in order after an exchange or a burst, before it is read.
const REST: Duration = Duration::from_secs(1);
/// Above this multiple of the burst, messages of several bursts came together.
const PILED_UP: f64 = 1.25;
/// Above this share of its processor the load generator itself may be what limits the run.
const BUSY: f64 = 0.9;

/// Why there is no report.
#[derive(Debug, Error)]
pub(super) enum MeasureFault {
    #[error(transparent)]
    Machine(#[from] MachineFault),
    #[error(transparent)]
    Process(#[from] ProcessFault),
    #[error(transparent)]
    Floor(#[from] FloorFault),
    #[error(transparent)]
    Crew(#[from] CrewFault),
    #[error("only {present} of {wanted} sessions were connected within {seconds} s: {failures}")]
    NotConnected { present: u64, wanted: u64, seconds: u64, failures: String },
}

/// A report and whether everything in it is as it must be.
pub(super) struct Outcome {
    pub(super) report: Report,
    pub(super) sound: bool,
}

/// Connects, publishes for the time given, and tells what came of it.
pub(super) async fn run(job: Run) -> Result<Outcome, MeasureFault> {
    let sockets = job.common.plan.shape.sessions;
    prepare(&job.common, if job.floor.is_some() { 3 * sockets } else { sockets })?;
    let mut stage = Stage::begin(job.common).await?;
    let size = super::chat::frame_bytes(stage.common.plan.shape.size);
    let floor_before = match job.floor {
        Some(duration) => Some(stage.floor(size, duration).await?),
        None => None,
    };

    stage.crew.board.publishing.store(true, Relaxed);
    stage.crew.order(|| Order::Publish { rate: job.rate }).await?;
    let interrupted = stage.crew.wait("warm-up", job.warmup, |_| false).await? == Waited::Interrupted;
    let (cpu, load_cpu, start, before) = (stage.cpu()?, process_cpu_ns(), monotonic_ns(), stage.crew.board.totals());
    stage.crew.board.measuring.store(true, Relaxed);
    if !interrupted {
        stage.crew.wait("measuring", job.duration, |_| false).await?;
    }
    stage.crew.board.measuring.store(false, Relaxed);
    let (after, end) = (stage.crew.board.totals(), monotonic_ns());
    let (cpu, load_cpu) = (stage.cpu()? - cpu, process_cpu_ns() - load_cpu);
    stage.crew.board.publishing.store(false, Relaxed);
    stage.remember("after the run")?;
    let settled = stage.crew.settle(stage.common.grace).await?;
    let floor_after = match job.floor {
        Some(duration) => Some(stage.floor(size, duration).await?),
        None => None,
    };

    let seconds = figure(end - start) / 1e9;
    let delivered = after.delivered - before.delivered;
    let deliveries = figure(delivered);
    let published = after.published - before.published;
    let measured = !stage.common.pids.is_empty() && delivered > 0;
    let cpu_per_delivery = measured.then(|| cpu * 1e6 / deliveries);
    let traffic = Traffic {
        seconds,
        published,
        published_per_second: per(figure(published), seconds),
        delivered,
        delivered_per_second: per(deliveries, seconds),
        frame_bytes: per(figure(after.delivered_bytes - before.delivered_bytes), deliveries),
        messages_per_read: per(deliveries, figure(after.reads - before.reads)),
        load_cpu_share: per(figure(load_cpu) / 1e9, seconds * figure(stage.common.threads as u64)),
        server_cpu_us_per_delivery: cpu_per_delivery,
    };
    let floor = floor_before.zip(floor_after).map(|(before, after)| {
        let us_per_send = f64::midpoint(before.us_per_send, after.us_per_send);
        FloorRatio { before, after, us_per_send, ratio: cpu_per_delivery.map(|cpu| cpu / us_per_send) }
    });
    if !settled {
        stage.remarks.push("some acks or deliveries did not come within --grace".into());
    }
    let burst = figure(stage.common.habits.burst as u64);
    if job.rate.is_some() && traffic.messages_per_read > burst * PILED_UP {
        let remark = format!(
            "{:.1} messages arrived per read where bursts of {burst} were sent: the server had no time in between and \
             batched more, so its cost per delivery is lower than at leisure; lower --rate or quiet the machine",
            traffic.messages_per_read
        );
        stage.remarks.push(remark);
    }
    // One that never sleeps is always busy.
    if traffic.load_cpu_share > BUSY && !stage.common.busy_poll {
        let remark = "the load generator used up its own processor: the rate is its limit, not the server's";
        stage.remarks.push(remark.into());
    }
    stage
        .end("run", |report| {
            report.settings.rate = job.rate.unwrap_or(0.0);
            report.traffic = Some(traffic);
            report.floor = floor;
        })
        .await
}

/// Connects, exchanges one message, stays idle, broadcasts, and tells what that took.
pub(super) async fn idle(job: Idle) -> Result<Outcome, MeasureFault> {
    prepare(&job.common, job.common.plan.shape.sessions)?;
    let mut stage = Stage::begin(job.common).await?;
    let (sessions, memberships) = (stage.sessions(), stage.common.plan.memberships() as u64);
    let wanted_exchanges = match job.exchange {
        // A session that is in no room has nothing to chat to.
        Exchange::Chat => sessions.min(memberships),
        Exchange::Ping => sessions,
        Exchange::None => 0,
    };
    let exchange = match job.exchange {
        Exchange::Chat => {
            stage.crew.order(|| Order::ExchangeChat).await?;
            stage
                .crew
                .wait("exchange", stage.common.grace, |board| board.acked.load(Relaxed) >= wanted_exchanges)
                .await?;
            stage.crew.settle(stage.common.grace).await?;
            ("chat", stage.crew.board.acked.load(Relaxed))
        }
        Exchange::Ping => {
            stage.crew.order(|| Order::ExchangePing).await?;
            stage
                .crew
                .wait("exchange", stage.common.grace, |board| board.exchanged.load(Relaxed) >= wanted_exchanges)
                .await?;
            ("ping", stage.crew.board.exchanged.load(Relaxed))
        }
        Exchange::None => ("none", 0),
    };
    stage.crew.wait("settling", REST, |_| false).await?;
    let (cpu, start) = (stage.cpu()?, monotonic_ns());
    stage.crew.wait("idle", job.idle, |_| false).await?;
    let (cpu, seconds) = (stage.cpu()? - cpu, figure(monotonic_ns() - start) / 1e9);
    stage.remember("idle")?;
    let idle = IdleTime {
        seconds,
        exchange: exchange.0,
        exchanged: exchange.1,
        server_cpu_share: (!stage.common.pids.is_empty()).then(|| per(cpu, seconds)),
    };

    stage.crew.board.measuring.store(true, Relaxed);
    let (received, took) = stage.say(1, memberships).await?;
    stage.crew.board.measuring.store(false, Relaxed);
    let mut broadcast = Broadcast { expected: memberships, received, seconds: took, burst: 0, burst_received: 0 };
    stage.remember("after a broadcast")?;
    if job.after_burst > 0 {
        broadcast.burst = job.after_burst;
        broadcast.burst_received = stage.say(job.after_burst, memberships * u64::from(job.after_burst)).await?.0;
        stage.crew.wait("settling", REST, |_| false).await?;
        stage.remember("after a burst")?;
    }
    let whole = broadcast.received == memberships && idle.exchanged >= wanted_exchanges;
    let mut outcome = stage
        .end("idle", |report| {
            report.idle = Some(idle);
            report.broadcast = Some(broadcast);
        })
        .await?;
    outcome.sound &= whole;
    Ok(outcome)
}

fn prepare(common: &Common, sockets: usize) -> Result<(), MeasureFault> {
    machine::make_room_for(sockets)?;
    if let Some(cpu) = common.pin_cpu {
        machine::pin_to(cpu)?;
    }
    Ok(())
}

/// A run in progress: its crew and what was read so far.
struct Stage {
    common: Common,
    crew: Crew,
    connect_seconds: f64,
    connect_cpu: f64,
    baseline: Memory,
    memory: Vec<MemoryAt>,
    remarks: Vec<String>,
}

impl Stage {
    /// Connects everyone.
    async fn begin(common: Common) -> Result<Self, MeasureFault> {
        let baseline = memory(&common.pids)?;
        let (start, cpu) = (monotonic_ns(), cpu(&common.pids)?);
        let crew = Crew::start(&common)?;
        let mut stage = Self {
            common,
            crew,
            connect_seconds: 0.0,
            connect_cpu: 0.0,
            baseline,
            memory: Vec::new(),
            remarks: Vec::new(),
        };
        stage.remember("before connecting")?;
        let (sessions, patience) = (stage.sessions(), stage.common.connect_timeout);
        let waited = stage.crew.wait("connecting", patience, |board| board.present.load(Relaxed) >= sessions).await?;
        stage.connect_seconds = figure(monotonic_ns() - start) / 1e9;
        match waited {
            Waited::Met => {}
            Waited::Interrupted => return Err(CrewFault::Interrupted.into()),
            Waited::TimedOut => {
                let present = stage.crew.board.present.load(Relaxed);
                let tally = stage.crew.finish().await?;
                return Err(MeasureFault::NotConnected {
                    present,
                    wanted: sessions,
                    seconds: patience.as_secs(),
                    failures: reasons(&tally),
                });
            }
        }
        // What joining sets off, such as presence events to the other members, is part of the cost of connecting.
        stage.crew.wait("settling", REST, |_| false).await?;
        stage.connect_cpu = stage.cpu()? - cpu;
        stage.remember("connected")?;
        Ok(stage)
    }

    fn sessions(&self) -> u64 {
        self.common.plan.shape.sessions as u64
    }

    fn cpu(&self) -> Result<f64, ProcessFault> {
        cpu(&self.common.pids)
    }

    fn remember(&mut self, when: &'static str) -> Result<(), ProcessFault> {
        let memory = memory(&self.common.pids)?;
        let grown = figure(memory.anonymous) - figure(self.baseline.anonymous);
        self.memory.push(MemoryAt { when, memory, bytes_per_session: grown / figure(self.sessions()) });
        Ok(())
    }

    /// Sends to every room and waits for all deliveries; tells how many came and after how many seconds.
    async fn say(&mut self, count: u32, expected: u64) -> Result<(u64, f64), CrewFault> {
        let before = self.crew.board.delivered.load(Relaxed);
        let start = monotonic_ns();
        self.crew.order(|| Order::SayInRooms(count)).await?;
        let all = |board: &super::board::Board| board.delivered.load(Relaxed) - before >= expected;
        self.crew.wait("broadcast", self.common.grace, all).await?;
        Ok((self.crew.board.delivered.load(Relaxed) - before, figure(monotonic_ns() - start) / 1e9))
    }

    /// Measures the floor while the sessions are quiet, on the server's processors if it is on this machine.
    async fn floor(&mut self, size: usize, duration: Duration) -> Result<Floor, MeasureFault> {
        let place = self.common.pids.first().map_or(Place::Anywhere, |pid| Place::Like(*pid));
        let (sockets, busy_poll) = (self.common.plan.shape.sessions, self.common.busy_poll);
        let sends = Sends { sockets, size, batch: 1, ahead: 1, busy_poll, duration, place };
        // Or the readers of both would share a processor.
        self.crew.board.resting.store(true, Relaxed);
        let measured = tokio::task::spawn_blocking(move || floor::measure(sends)).await;
        self.crew.board.resting.store(false, Relaxed);
        Ok(measured.map_err(|_| CrewFault::Died)??)
    }

    async fn end(mut self, mode: &'static str, complete: impl FnOnce(&mut Report)) -> Result<Outcome, MeasureFault> {
        let present = self.crew.board.present.load(Relaxed);
        let wanted = self.sessions();
        let tally = self.crew.finish().await?;
        if present < wanted {
            self.remarks.push(format!("{} of {wanted} sessions were not connected at the end", wanted - present));
        }
        if tally.errors.contains_key("rate_limited") {
            let remark = "the server limits messages per session: start it with PARLEY_MESSAGES_PER_SECOND=0 \
                (no limit), or use more publishers";
            self.remarks.push(remark.into());
        }
        let urls = self.common.targets.iter().map(ToString::to_string).collect();
        let mut settings = Settings::new(&self.common.plan.shape, urls, self.common.threads);
        settings.burst = self.common.habits.burst;
        settings.busy_poll = self.common.busy_poll;
        let local = !self.common.pids.is_empty();
        let mut report = Report {
            mode,
            settings,
            connect: Connect {
                sessions: wanted,
                seconds: self.connect_seconds,
                per_second: per(figure(wanted), self.connect_seconds),
                latency_ms: tally.connect.percentiles(),
                failures: tally.connect_failures.clone(),
                by_server: tally.servers.clone(),
                server_cpu_us_per_connect: local.then(|| self.connect_cpu * 1e6 / figure(wanted)),
            },
            traffic: None,
            idle: None,
            broadcast: None,
            latency_ms: tally.latency.percentiles(),
            integrity: Integrity::of(&tally),
            connections: Connections::of(&tally),
            servers: local.then_some(Servers { pids: self.common.pids, memory: self.memory }),
            floor: None,
            remarks: self.remarks,
        };
        complete(&mut report);
        let sound = report.integrity.sound() && present == wanted;
        Ok(Outcome { report, sound })
    }
}

fn cpu(pids: &[u32]) -> Result<f64, ProcessFault> {
    pids.iter().map(|pid| process::cpu_seconds(*pid)).sum()
}

fn memory(pids: &[u32]) -> Result<Memory, ProcessFault> {
    pids.iter().try_fold(Memory::default(), |sum, pid| {
        let one = process::memory(*pid)?;
        Ok(Memory { anonymous: sum.anonymous + one.anonymous, resident: sum.resident + one.resident })
    })
}

fn reasons(tally: &Tally) -> String {
    let named = tally.connect_failures.iter().chain(&tally.closes).chain(&tally.errors);
    let list = named.map(|(name, count)| format!("{name} ({count} times)")).collect::<Vec<_>>().join(", ");
    if list.is_empty() { "no answer and no error".into() } else { list }
}

//! The command line: what can be asked for, and what is wrong with what was asked for, in a sentence that names the
//! option. It opens nothing and connects to nothing.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use clap::ArgMatches;
use jsonwebtoken::EncodingKey;
use thiserror::Error;

use super::entropy::Entropy;
use super::plan::{Plan, PlanFault, Shape};
use super::target::{Target, TargetFault};
use super::upgrade::SignIn;
use super::world::Habits;

mod flags;

pub(super) use flags::command;

/// What is to be done.
pub(super) enum Job {
    Run(Run),
    Idle(Idle),
    Floor(FloorJob),
}

/// What `run` and `idle` have in common.
pub(super) struct Common {
    pub(super) targets: Vec<Target>,
    pub(super) sign_in: SignIn,
    pub(super) plan: Plan,
    pub(super) habits: Habits,
    pub(super) ramp: Option<f64>,
    pub(super) threads: usize,
    pub(super) pin_cpu: Option<usize>,
    /// Whether readers never sleep.
    pub(super) busy_poll: bool,
    pub(super) pids: Vec<u32>,
    pub(super) connect_timeout: Duration,
    pub(super) grace: Duration,
    pub(super) output: Output,
}

/// Where results go.
#[derive(Clone)]
pub(super) struct Output {
    pub(super) json: Option<PathBuf>,
    pub(super) progress: bool,
}

/// `parley-load run`.
pub(super) struct Run {
    pub(super) common: Common,
    /// Messages per second of all publishers together; none to saturate.
    pub(super) rate: Option<f64>,
    pub(super) warmup: Duration,
    pub(super) duration: Duration,
    /// How long to measure the floor, before and after; none for no floor.
    pub(super) floor: Option<Duration>,
}

/// How idle sessions warm up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Exchange {
    Chat,
    Ping,
    None,
}

/// `parley-load idle`.
pub(super) struct Idle {
    pub(super) common: Common,
    pub(super) idle: Duration,
    pub(super) exchange: Exchange,
    pub(super) after_burst: u32,
}

/// `parley-load floor`.
pub(super) struct FloorJob {
    pub(super) sockets: usize,
    pub(super) size: usize,
    pub(super) batch: usize,
    pub(super) ahead: u64,
    pub(super) duration: Duration,
    pub(super) cpu: Option<usize>,
    pub(super) pin_cpu: Option<usize>,
    pub(super) busy_poll: bool,
    pub(super) output: Output,
}

/// What is wrong with the command line.
#[derive(Debug, Error)]
pub(super) enum ArgumentFault {
    #[error("--url {url}: {fault}")]
    Url { url: String, fault: TargetFault },
    #[error(transparent)]
    Plan(#[from] PlanFault),
    #[error("--{name} {value}: must be {wanted}")]
    Value { name: &'static str, value: String, wanted: &'static str },
    #[error(
        "--burst {burst} with --inflight {inflight}: a burst is un-acked as a whole, so --inflight must not be less"
    )]
    BurstBeyondInflight { burst: usize, inflight: usize },
    #[error("--prefix {0}: must be 1 to 40 letters, digits, dots, dashes or underscores")]
    Prefix(String),
    #[error("--token-secret-file {path}: {source}")]
    Secret { path: String, source: std::io::Error },
    #[error("--after-burst {0}: must be at most 10000, which is what a session may have un-acked")]
    AfterBurst(u32),
}

/// Reads a command line that clap has accepted.
///
/// # Errors
/// The first fault that only the combination of values shows.
pub(super) fn job(matches: &ArgMatches) -> Result<Job, ArgumentFault> {
    match matches.subcommand() {
        Some(("idle", matches)) => idle(matches).map(Job::Idle),
        Some(("floor", matches)) => floor(matches).map(Job::Floor),
        Some((_, matches)) => run(matches).map(Job::Run),
        // Not reached: clap demands a subcommand.
        None => run(matches).map(Job::Run),
    }
}

fn run(matches: &ArgMatches) -> Result<Run, ArgumentFault> {
    let rate = get::<f64>(matches, "rate");
    let burst = positive(matches, "burst")?;
    let inflight = match matches.get_one::<usize>("inflight") {
        Some(&inflight) if inflight < burst => return Err(ArgumentFault::BurstBeyondInflight { burst, inflight }),
        Some(&inflight) => inflight,
        None => burst,
    };
    Ok(Run {
        common: common(matches, Habits { history: get(matches, "history"), burst, inflight, saturate: rate == 0.0 })?,
        rate: at_least_zero("rate", rate)?,
        warmup: seconds(matches, "warmup")?,
        duration: Some(seconds(matches, "duration")?)
            .filter(|duration| !duration.is_zero())
            .ok_or(ArgumentFault::Value { name: "duration", value: "0".into(), wanted: "more than 0 seconds" })?,
        floor: if matches.get_flag("floor") { Some(seconds(matches, "floor-seconds")?) } else { None },
    })
}

fn idle(matches: &ArgMatches) -> Result<Idle, ArgumentFault> {
    let after_burst: u32 = get(matches, "after-burst");
    if after_burst > 10_000 {
        return Err(ArgumentFault::AfterBurst(after_burst));
    }
    let habits = Habits { history: get(matches, "history"), burst: 1, inflight: 1, saturate: false };
    let common = common(matches, habits)?;
    let members = common.plan.shape.members;
    let exchange = match matches.get_one::<String>("exchange").map(String::as_str) {
        Some("chat") => Exchange::Chat,
        Some("ping") => Exchange::Ping,
        Some("none") => Exchange::None,
        // Everyone chatting to everyone grows with the square of the room.
        _ if members <= 50 => Exchange::Chat,
        _ => Exchange::Ping,
    };
    Ok(Idle { common, idle: seconds(matches, "idle")?, exchange, after_burst })
}

fn floor(matches: &ArgMatches) -> Result<FloorJob, ArgumentFault> {
    Ok(FloorJob {
        sockets: positive(matches, "sockets")?,
        size: positive(matches, "size")?,
        batch: positive(matches, "batch")?,
        ahead: get::<u64>(matches, "ahead").max(1),
        duration: seconds(matches, "seconds")?,
        cpu: matches.get_one("cpu").copied(),
        pin_cpu: matches.get_one("pin-cpu").copied(),
        busy_poll: matches.get_flag("busy-poll"),
        output: output(matches),
    })
}

fn common(matches: &ArgMatches, habits: Habits) -> Result<Common, ArgumentFault> {
    let urls = matches.get_many::<String>("url").unwrap_or_default();
    let targets = urls
        .map(|url| Target::parse(url).map_err(|fault| ArgumentFault::Url { url: url.clone(), fault }))
        .collect::<Result<Vec<_>, _>>()?;
    let prefix: String = get(matches, "prefix");
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_');
    if prefix.is_empty() || prefix.len() > 40 || !prefix.chars().all(plain) {
        return Err(ArgumentFault::Prefix(prefix));
    }
    let sessions = positive(matches, "sessions")?;
    let rooms = positive(matches, "rooms")?;
    let members = match matches.contains_id("members") {
        true => positive(matches, "members")?,
        // All sessions, dealt out evenly: with one room that is everyone.
        false => (sessions / rooms).max(1),
    };
    let publishers = match matches.try_contains_id("publishers") {
        Ok(true) => positive(matches, "publishers")?,
        _ => rooms.min(sessions),
    };
    let plan = Plan::new(Shape {
        sessions,
        rooms,
        members,
        publishers,
        size: get(matches, "size"),
        keys: !matches.get_flag("no-keys"),
        run: Entropy::new().run_name(),
        prefix,
    })?;
    Ok(Common {
        targets,
        sign_in: sign_in(matches)?,
        plan,
        habits,
        ramp: at_least_zero("ramp", get(matches, "ramp"))?,
        threads: positive(matches, "threads")?.min(sessions),
        pin_cpu: matches.get_one("pin-cpu").copied(),
        busy_poll: matches.get_flag("busy-poll"),
        pids: matches.get_many("pid").unwrap_or_default().copied().collect(),
        connect_timeout: seconds(matches, "connect-timeout")?,
        grace: seconds(matches, "grace")?,
        output: output(matches),
    })
}

fn output(matches: &ArgMatches) -> Output {
    Output {
        json: matches.get_one("json").cloned(),
        progress: matches.try_get_one("progress").ok().flatten().copied().unwrap_or(false),
    }
}

fn sign_in(matches: &ArgMatches) -> Result<SignIn, ArgumentFault> {
    let secret = match matches.get_one::<PathBuf>("token-secret-file") {
        Some(path) => {
            let source = |source| ArgumentFault::Secret { path: path.display().to_string(), source };
            Some(fs::read_to_string(path).map_err(source)?.trim_end_matches(['\r', '\n']).to_owned())
        }
        None => matches.get_one::<String>("token-secret").cloned(),
    };
    Ok(match secret {
        Some(secret) => SignIn::Token {
            key: Box::new(EncodingKey::from_secret(secret.as_bytes())),
            audience: matches.get_one("token-audience").cloned(),
            issuer: matches.get_one("token-issuer").cloned(),
        },
        None => SignIn::Open,
    })
}

/// A value that has a default or is required, so that clap always has one.
fn get<T: Clone + Send + Sync + 'static>(matches: &ArgMatches, name: &'static str) -> T {
    matches.get_one::<T>(name).cloned().expect("every option read here is required or has a default")
}

fn positive(matches: &ArgMatches, name: &'static str) -> Result<usize, ArgumentFault> {
    match get(matches, name) {
        0 => Err(ArgumentFault::Value { name, value: "0".into(), wanted: "at least 1" }),
        number => Ok(number),
    }
}

/// `None` for 0, which means without limit.
fn at_least_zero(name: &'static str, value: f64) -> Result<Option<f64>, ArgumentFault> {
    if value.is_finite() && value >= 0.0 {
        Ok(Some(value).filter(|value| *value > 0.0))
    } else {
        Err(ArgumentFault::Value { name, value: value.to_string(), wanted: "a number from 0 up" })
    }
}

fn seconds(matches: &ArgMatches, name: &'static str) -> Result<Duration, ArgumentFault> {
    let value: f64 = get(matches, name);
    Duration::try_from_secs_f64(value).ok().filter(|duration| duration.as_secs() <= 7 * 24 * 3600).ok_or_else(|| {
        ArgumentFault::Value { name, value: value.to_string(), wanted: "a number of seconds from 0 up, a week at most" }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(arguments: &[&str]) -> Result<Result<Job, ArgumentFault>, clap::Error> {
        command().try_get_matches_from(arguments).map(|matches| job(&matches))
    }

    fn fault(arguments: &str) -> String {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        match parse(&arguments) {
            Ok(Ok(_)) => panic!("accepted: {arguments:?}"),
            Ok(Err(fault)) => fault.to_string(),
            Err(fault) => fault.to_string(),
        }
    }

    fn accepted_run(arguments: &str) -> Run {
        let arguments: Vec<&str> = arguments.split(' ').collect();
        match parse(&arguments).unwrap().unwrap() {
            Job::Run(run) => run,
            Job::Idle(_) | Job::Floor(_) => panic!("not a run"),
        }
    }

    #[test]
    fn the_command_line_itself_is_sound() {
        command().debug_assert();
    }

    #[test]
    fn by_default_everyone_is_in_one_room_with_one_publisher() {
        let run = accepted_run("parley-load run --url ws://127.0.0.1:8080/ws --sessions 50");
        assert_eq!((run.common.plan.shape.rooms, run.common.plan.shape.members), (1, 50));
        assert_eq!(run.common.plan.shape.publishers, 1);
        assert!(!run.common.habits.saturate);
    }

    #[test]
    fn rate_zero_saturates_and_a_burst_is_in_flight_as_a_whole() {
        let run = accepted_run("parley-load run --url ws://h/ws --rate 0 --burst 8");
        assert!(run.common.habits.saturate);
        assert_eq!(run.common.habits.inflight, 8);
        assert_eq!(run.rate, None);
    }

    #[test]
    fn faults_name_the_option_and_what_would_be_right() {
        for (arguments, wanted) in [
            ("parley-load run", "--url"),
            ("parley-load run --url wss://h/ws", "--url wss://h/ws: wss:// is not supported"),
            ("parley-load run --url ws://h --sessions 0", "--sessions 0: must be at least 1"),
            ("parley-load run --url ws://h --sessions ten", "invalid value 'ten'"),
            ("parley-load run --url ws://h --sessions 5 --members 6", "--members 6 is more than --sessions 5"),
            ("parley-load run --url ws://h --sessions 5 --publishers 6", "--publishers 6 is more than the 5"),
            ("parley-load run --url ws://h --size 20", "--size 20 is too small"),
            ("parley-load run --url ws://h --rate=-1", "--rate -1: must be a number from 0 up"),
            ("parley-load run --url ws://h --duration 0", "--duration 0: must be more than 0 seconds"),
            ("parley-load run --url ws://h --duration NaN", "--duration NaN: must be a number of seconds"),
            ("parley-load run --url ws://h --burst 8 --inflight 4", "--inflight must not be less"),
            ("parley-load run --url ws://h --prefix a/b", "--prefix a/b: must be 1 to 40 letters"),
            ("parley-load run --url ws://h --token-secret-file /nowhere", "--token-secret-file /nowhere: "),
            ("parley-load idle --url ws://h --after-burst 10001", "--after-burst 10001: must be at most 10000"),
            ("parley-load idle --url ws://h --exchange dance", "[possible values: chat, ping, none]"),
            ("parley-load floor --sockets 0", "--sockets 0: must be at least 1"),
            ("parley-load jog", "unrecognized subcommand 'jog'"),
        ] {
            let text = fault(arguments);
            assert!(text.contains(wanted), "{arguments}: {text}");
        }
    }

    #[test]
    fn idle_sessions_chat_in_small_rooms_only() {
        for (arguments, exchange) in [
            ("parley-load idle --url ws://h --sessions 100 --rooms 10", Exchange::Chat),
            ("parley-load idle --url ws://h --sessions 100", Exchange::Ping),
            ("parley-load idle --url ws://h --sessions 100 --exchange chat", Exchange::Chat),
        ] {
            let words: Vec<&str> = arguments.split(' ').collect();
            let Ok(Ok(Job::Idle(idle))) = parse(&words) else { panic!("refused: {arguments}") };
            assert_eq!(idle.exchange, exchange, "{arguments}");
        }
    }
}

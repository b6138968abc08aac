//! The options and their help texts, nothing else: what they mean together is checked in `arguments.rs`.

use std::path::PathBuf;

use clap::builder::ValueParser;
use clap::{Arg, ArgAction, Command, value_parser};

const ABOUT: &str = "Puts load on Parley and tells what it costs: rate, latency, loss, processor time and memory";

const AFTER: &str = "\
Examples:
  A room of 1,000 that gets 50 messages a second, with the server's cost as a ratio to a bare send:
    parley-load run --url ws://127.0.0.1:8080/ws --sessions 1000 --rate 50 --pid $(pidof parley) --floor
  What 10,000 idle sessions cost, and whether all of them get a broadcast:
    parley-load idle --url ws://127.0.0.1:8080/ws --sessions 10000 --pid $(pidof parley)
  What a bare send costs on this machine:
    parley-load floor --sockets 1000 --size 204

A server takes 20 messages a second from a session unless told otherwise: start it with PARLEY_MESSAGES_PER_SECOND=0
(no limit) to measure more. Exit code: 0 all is well, 1 messages were missing, repeated or out
of order, or sessions did not connect, 2 the run could not be made. How to size a cluster with it: tests/LOAD.md.";

/// The command line.
pub(crate) fn command() -> Command {
    let run = with_common(
        Command::new("run").about("Publish to rooms and watch every delivery").args([
            option("publishers", "P", "Sessions that publish [default: one for each room]", value_parser!(usize)),
            option(
                "rate",
                "N",
                "Messages a second of all publishers together; 0: each sends the next as soon as the last is acked",
                value_parser!(f64),
            )
            .default_value("10")
            .allow_negative_numbers(true),
            option(
                "burst",
                "B",
                "Messages that a publisher sends in one write, at rate/B bursts a second",
                value_parser!(usize),
            )
            .default_value("1"),
            option(
                "inflight",
                "K",
                "With --rate 0: un-acked messages a publisher may have [default: one burst]",
                value_parser!(usize),
            ),
            option("warmup", "SECONDS", "Traffic before the measured window", value_parser!(f64)).default_value("3"),
            option("duration", "SECONDS", "Length of the measured window", value_parser!(f64)).default_value("10"),
            flag("floor", "Measure a bare send to as many sockets before and after, and give costs as a ratio to it"),
            option("floor-seconds", "SECONDS", "Length of each of the two floor measurements", value_parser!(f64))
                .default_value("2"),
        ]),
    );
    let idle = with_common(Command::new("idle").about("Connect, exchange one message, then only be there; then broadcast").args([
        option("idle", "SECONDS", "How long to be idle", value_parser!(f64)).default_value("30"),
        Arg::new("exchange")
            .long("exchange")
            .value_name("KIND")
            .value_parser(["chat", "ping", "none"])
            .help("First exchange: a chat to the room and its echo, or ping and pong [default: chat in rooms of up to 50, else ping, because everyone chatting to everyone grows with the square]"),
        option("after-burst", "N", "After the broadcast: send N messages to every room in one write and measure memory again", value_parser!(u32)).default_value("0"),
    ]));
    let floor = Command::new("floor").about("Measure what a bare send of the same bytes costs on this machine, without any server").args([
        option("sockets", "N", "Loopback sockets that are sent to in turn", value_parser!(usize)).default_value("1000"),
        option("size", "BYTES", "Bytes of one message on the wire: payload and 2, 4 or 10 bytes of frame header", value_parser!(usize)).default_value("204"),
        option("batch", "B", "Messages in one send", value_parser!(usize)).default_value("1"),
        option("seconds", "SECONDS", "How long to measure", value_parser!(f64)).default_value("3"),
        option("ahead", "ROUNDS", "Rounds the sender may be ahead of the readers; 1: every send finds its reader drained, like a paced server's", value_parser!(u64)).default_value("1"),
        option("cpu", "CPU", "Processor of the sending thread", value_parser!(usize)),
        option("pin-cpu", "CPU", "Processor of the readers", value_parser!(usize)),
        busy_poll(),
        json(),
    ]);
    Command::new("parley-load")
        .version(env!("CARGO_PKG_VERSION"))
        .about(ABOUT)
        .after_help(AFTER)
        .subcommand_required(true)
        .arg_required_else_help(true)
        // As in other tools, the last one counts: a script may append to a stored command line.
        .subcommands([run, idle, floor].map(|command| command.args_override_self(true)))
}

fn with_common(command: Command) -> Command {
    command.args([
        Arg::new("url")
            .long("url")
            .value_name("URL")
            .required(true)
            .action(ArgAction::Append)
            .help("Where to connect, like ws://127.0.0.1:8080/ws; repeat it to spread sessions over instances in turn"),
        option("sessions", "N", "Sessions to open; each is a user of its own", value_parser!(usize)).default_value("100"),
        option("rooms", "R", "Rooms", value_parser!(usize)).default_value("1"),
        option("members", "M", "Members of each room; a session is in several rooms if R × M is more than N [default: N / R]", value_parser!(usize)),
        option("size", "BYTES", "Payload of a delivered message frame: the whole JSON as a member receives it, give or take the digits of its offset", value_parser!(usize)).default_value("200"),
        option("history", "N", "Messages of history asked for at the first join", value_parser!(u32)).default_value("0"),
        flag("no-keys", "Publish without a key: what is un-acked when a connection is lost is then not repeated"),
        option("ramp", "N", "New connections a second; 0: as fast as they succeed", value_parser!(f64)).default_value("1000").allow_negative_numbers(true),
        option("connect-timeout", "SECONDS", "All sessions must have joined by then", value_parser!(f64)).default_value("60"),
        option("grace", "SECONDS", "After the last publish: longest wait for acks, and then for deliveries", value_parser!(f64)).default_value("10"),
        option("pid", "PID", "Process of a server on this machine, to measure its processor time and memory; may be repeated", value_parser!(u32)).action(ArgAction::Append),
        option("threads", "N", "Threads of the load generator; sessions are dealt out to them", value_parser!(usize)).default_value("1"),
        option("pin-cpu", "CPU", "Keep the load generator on this processor (keep the server on another with taskset)", value_parser!(usize)),
        busy_poll(),
        Arg::new("token-secret").long("token-secret").value_name("SECRET").conflicts_with("token-secret-file").help("Sign in with tokens signed by HS256; others can see it in the process list, so prefer the file"),
        option("token-secret-file", "FILE", "The same, read from a file", value_parser!(PathBuf)),
        Arg::new("token-audience").long("token-audience").value_name("AUD").help("`aud` of the tokens"),
        Arg::new("token-issuer").long("token-issuer").value_name("ISS").help("`iss` of the tokens"),
        Arg::new("prefix").long("prefix").value_name("NAME").default_value("load").help("Start of user names (NAME-17) and room names (NAME-RUN-3, RUN differs each time)"),
        flag("progress", "Write a progress line each second even if standard error is not a terminal"),
        json(),
    ])
}

fn option(name: &'static str, value: &'static str, help: &'static str, parser: impl Into<ValueParser>) -> Arg {
    Arg::new(name).long(name).value_name(value).value_parser(parser.into()).help(help)
}

fn flag(name: &'static str, help: &'static str) -> Arg {
    Arg::new(name).long(name).action(ArgAction::SetTrue).help(help)
}

fn busy_poll() -> Arg {
    flag(
        "busy-poll",
        "Readers never sleep: a server on the same machine then does not pay for waking them, as it does not for readers elsewhere. Takes the whole of each thread's processor",
    )
}

fn json() -> Arg {
    option(
        "json",
        "FILE",
        "Write the results as JSON to this file; - for standard output instead of the table",
        value_parser!(PathBuf),
    )
}

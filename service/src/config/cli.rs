//! The command line: built from the table of settings, taken apart with clap, every mistake in it collected.
//!
//! It does not look at values; a flag's text goes to the reader as it was given.

use std::{ffi::OsString, ops::Range};

use clap::{
    Arg, ArgAction, Command,
    error::{ContextKind, ContextValue, ErrorKind},
};

use super::{
    Fault,
    reader::Flags,
    suggest,
    table::{self, Spec, Times},
};

/// What the user wants done.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verb {
    Serve,
    Config,
    Protocol,
    OpenApi,
    Balance,
    Demo,
}

/// A way to write a command line: `parley`, or a command that has settings of its own.
struct Grammar {
    /// Its first words.
    name: &'static str,
    verb: Verb,
    about: &'static str,
    after: &'static str,
    table: &'static [&'static Spec],
    /// Every command and what it does.
    commands: &'static [(&'static str, &'static str)],
}

static SERVICE: Grammar = Grammar {
    name: "parley",
    verb: Verb::Serve,
    about: "A chat service that scales like a stateless Deployment. Without a command it serves until SIGTERM.",
    after: "Every setting is a flag and an environment variable; a flag beats the environment. Sizes take plain bytes \
            or KiB, MiB, GiB. Traces go out over OTLP when OTEL_EXPORTER_OTLP_ENDPOINT is set.",
    table: table::TABLE,
    commands: &[
        ("config", "Prints the settings in force and where each came from, without secrets"),
        ("protocol", "Prints the protocol reference for client authors"),
        ("openapi", "Prints the OpenAPI document of the server API"),
        ("balance", "Spreads connections over several instances; `parley balance --help`"),
        ("demo", "Shows two instances without and with a shared backplane; `parley demo --help`"),
    ],
};

/// The commands that have settings of their own, by the word that comes first.
static OTHERS: [(&str, Grammar); 2] = [
    (
        "balance",
        Grammar {
            name: "parley balance",
            verb: Verb::Balance,
            about: "A load balancer for instances of Parley: HTTP and WebSocket, aware of health and drain. Serves until \
                    SIGTERM; its state is at /balancer/status. X-Forwarded-* headers of clients are not \
                    believed but replaced.",
            after: "Every setting is a flag and an environment variable; a flag beats the environment.",
            table: table::balance::TABLE,
            commands: &[],
        },
    ),
    (
        "demo",
        Grammar {
            name: "parley demo",
            verb: Verb::Demo,
            about: "Two instances behind a balancer, three people who chat, and what becomes of it: with --isolated \
                    instances, or with a backplane that they share. Exits with 0 if everything went as told.",
            after: "Every setting is a flag and an environment variable; a flag beats the environment.",
            table: table::demo::TABLE,
            commands: &[],
        },
    ),
];

/// The hidden command that the demo starts its processes with: process id of the demo, program, arguments.
const CHILD: &str = "demo-child";

/// A command line, taken apart.
pub(super) enum CommandLine {
    /// `--help` or `--version`: this text is the answer.
    Print(String),
    /// See [`CHILD`].
    Child(Vec<OsString>),
    Run {
        verb: Verb,
        flags: Flags,
        faults: Vec<Fault>,
    },
}

/// One argument and its place on the command line, counted from 1.
type Placed = (usize, OsString);

pub(super) fn read(args: &[OsString]) -> CommandLine {
    let first = args.first().and_then(|arg| arg.to_str()).unwrap_or_default();
    if first == CHILD {
        return CommandLine::Child(args[1..].to_vec());
    }
    let placed = (1..).zip(args.iter().cloned());
    match OTHERS.iter().find(|(word, _)| *word == first) {
        Some((_, grammar)) => read_as(grammar, placed.skip(1).collect()),
        None => read_as(&SERVICE, placed.collect()),
    }
}

fn read_as(grammar: &Grammar, mut args: Vec<Placed>) -> CommandLine {
    let mut faults = Vec::new();
    // Clap stops at the first mistake. Each one is noted and taken out, until what is left is right.
    loop {
        let words = std::iter::once(OsString::from(grammar.name)).chain(args.iter().map(|(_, arg)| arg.clone()));
        let error = match command(grammar).try_get_matches_from(words) {
            Ok(matches) => {
                let ids = grammar.table.iter().flat_map(|spec| [spec.name.to_owned(), format!("{}-file", spec.name)]);
                let value = |id: &String| {
                    let values = matches.try_get_many::<String>(id).ok().flatten()?;
                    Some(values.map(String::as_str).collect::<Vec<_>>().join(","))
                };
                let flags = ids.filter_map(|id| Some((id.clone(), value(&id)?))).collect();
                let verb = match matches.subcommand_name() {
                    Some("config") => Verb::Config,
                    Some("protocol") => Verb::Protocol,
                    Some("openapi") => Verb::OpenApi,
                    Some(other) => {
                        let remedy = format!("put it first: `parley {other} …`, it has flags of its own");
                        faults.push(Fault { setting: other.to_owned(), source: None, given: None, remedy });
                        Verb::Serve
                    }
                    None => grammar.verb,
                };
                return CommandLine::Run { verb, flags, faults };
            }
            Err(error) => error,
        };
        if matches!(error.kind(), ErrorKind::DisplayHelp | ErrorKind::DisplayVersion) {
            return CommandLine::Print(error.to_string());
        }
        let (fault, culprits) = explain(grammar, &error, &args);
        faults.push(fault);
        if culprits.is_empty() {
            return CommandLine::Run { verb: grammar.verb, flags: Flags::new(), faults };
        }
        args.drain(culprits);
    }
}

/// The fault behind one of clap's errors, and the arguments to take out because of it.
fn explain(grammar: &Grammar, error: &clap::Error, args: &[Placed]) -> (Fault, Range<usize>) {
    let fault = |setting: String, remedy| Fault { setting, source: None, given: None, remedy };
    let word = [ContextKind::InvalidArg, ContextKind::InvalidSubcommand].into_iter().find_map(|kind| {
        let text = match error.get(kind)? {
            ContextValue::String(text) => text,
            ContextValue::Strings(texts) => texts.first()?,
            _ => return None,
        };
        // Clap names a known flag together with its value: `--listen <ADDR>`.
        Some(text.split([' ', '=']).next().unwrap_or_default().to_owned())
    });
    let is_word = |(_, arg): &Placed| {
        let arg = arg.to_string_lossy();
        word.as_deref().is_some_and(|word| arg == word || arg.split('=').next() == Some(word))
    };
    let Some(at) = args.iter().rposition(is_word) else {
        let not_text = args.iter().position(|(_, arg)| arg.to_str().is_none());
        let culprits = not_text.map_or(0..0, |at| at..at + 1);
        return (fault("the command line".to_owned(), remedy_for(error.kind())), culprits);
    };
    let word = word.unwrap_or_default();
    if !word.starts_with('-') {
        // Not repeated: it may be the second half of a secret that was not quoted.
        let remedy =
            suggest::remedy("no such command", &word, grammar.commands.iter().map(|(name, _)| (*name).to_owned()));
        return (fault(format!("argument {}", args[at].0), remedy), at..at + 1);
    }
    let takes_value = matches!(error.kind(), ErrorKind::UnknownArgument | ErrorKind::ArgumentConflict);
    let is_value = |arg: &str| !arg.starts_with('-') && grammar.commands.iter().all(|(name, _)| *name != arg);
    let value = args.get(at + 1).filter(|(_, arg)| takes_value && is_value(&arg.to_string_lossy()));
    let joined = args[at].1.to_string_lossy().contains('=');
    let end = if value.is_some() && !joined { at + 2 } else { at + 1 };
    let remedy = if error.kind() == ErrorKind::UnknownArgument {
        let known = grammar.table.iter().flat_map(|spec| {
            let file = spec.secret.then(|| format!("{}-file", spec.flag()));
            std::iter::once(spec.flag()).chain(file)
        });
        suggest::remedy("no such flag", &word, known)
    } else {
        remedy_for(error.kind())
    };
    (fault(word, remedy), at..end)
}

fn remedy_for(kind: ErrorKind) -> String {
    match kind {
        ErrorKind::InvalidValue | ErrorKind::WrongNumberOfValues | ErrorKind::TooFewValues => "give it one value",
        ErrorKind::ArgumentConflict => "give it once",
        ErrorKind::InvalidUtf8 => "give text in UTF-8",
        _ => "it cannot be understood; `parley --help` shows how to write it",
    }
    .to_owned()
}

fn command(grammar: &Grammar) -> Command {
    let settings = grammar.table.iter().flat_map(|spec| {
        let notes = [
            spec.bounds_words(),
            Some(format!("env {}", spec.env())),
            Some(match (spec.default_words, spec.default) {
                ("", "") => "no default".to_owned(),
                ("", default) => format!("default {default}"),
                (words, _) => format!("default: {words}"),
            }),
        ];
        let notes: Vec<_> = notes.into_iter().flatten().collect();
        let arg = Arg::new(spec.name)
            .long(spec.name)
            .value_name(spec.value_name)
            .help(format!("{} [{}]", spec.help, notes.join("; ")))
            .help_heading(spec.group)
            .allow_negative_numbers(true)
            .global(true);
        let arg = match spec.times {
            Times::Once => arg,
            Times::Many => arg.action(ArgAction::Append),
            Times::Switch => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
        };
        let file = spec.secret.then(|| {
            let name = format!("{}-file", spec.name);
            Arg::new(name.clone())
                .long(name)
                .value_name("FILE")
                .help(format!("Reads --{} from a file [env {}_FILE; no default]", spec.name, spec.env()))
                .help_heading(spec.group)
                .global(true)
        });
        std::iter::once(arg).chain(file)
    });
    let exits = [
        Arg::new("help").short('h').long("help").action(ArgAction::Help).help("Prints this").global(true),
        Arg::new("version").short('V').long("version").action(ArgAction::Version).help("Prints the version"),
    ];
    Command::new(grammar.name)
        .version(env!("CARGO_PKG_VERSION"))
        .about(grammar.about)
        .after_help(grammar.after)
        .disable_help_flag(true)
        .disable_version_flag(true)
        .disable_help_subcommand(true)
        .max_term_width(110)
        .next_line_help(true)
        .args(exits)
        .args(settings)
        .subcommands(grammar.commands.iter().map(|(name, about)| Command::new(*name).about(*about)))
}

//! The operator's own settings: flags, and environment variables of the same name. The only home of both.

use std::net::SocketAddr;

use clap::{Arg, Command};

/// What the process was asked to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Invocation {
    /// Look after ChatClusters.
    Run(Box<Settings>),
    /// Print the CustomResourceDefinition.
    Crd,
}

/// See the module.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Settings {
    /// Image of ChatClusters that name none.
    pub image: String,
    /// The namespaces to look after; empty for all.
    pub namespaces: Vec<String>,
    /// Probes and metrics.
    pub listen: SocketAddr,
    /// The operator's own namespace, for its Lease and for network policies.
    pub namespace: String,
    /// The Lease of all replicas.
    pub lease: String,
    /// Its own name among several replicas.
    pub identity: String,
    /// What is logged.
    pub log: String,
}

const IMAGE: &str = "image";
const NAMESPACES: &str = "namespaces";
const LISTEN: &str = "listen";
const NAMESPACE: &str = "namespace";
const LEASE: &str = "lease";
const IDENTITY: &str = "identity";
const LOG: &str = "log";

/// Flag, default and help.
const TABLE: [(&str, &str, &str); 7] = [
    (IMAGE, "parley:dev", "Image of ChatClusters that name none"),
    (NAMESPACES, "", "Namespaces to look after, separated by commas; empty for all"),
    (LISTEN, "127.0.0.1:8090", "Address of /livez, /readyz and /metrics"),
    (NAMESPACE, "default", "Namespace of the operator itself, for its Lease"),
    (LEASE, "parley-operator", "Name of the Lease, the same for all replicas and of no other installation"),
    (IDENTITY, "parley-operator", "Name of this replica, different for each"),
    (LOG, "info", "What is logged: error, warn, info, debug or trace, also per module"),
];

/// Reads the process's arguments and environment.
///
/// # Errors
/// What is wrong with them, or the help that was asked for.
#[expect(clippy::disallowed_methods, reason = "the home of arguments and environment in the operator")]
pub fn of_process() -> Result<Invocation, clap::Error> {
    parse(std::env::args_os(), &|name| std::env::var(name).ok())
}

fn parse(
    arguments: impl IntoIterator<Item = std::ffi::OsString>,
    environment: &dyn Fn(&str) -> Option<String>,
) -> Result<Invocation, clap::Error> {
    let matches = command().try_get_matches_from(arguments)?;
    let Some(("run", run)) = matches.subcommand() else { return Ok(Invocation::Crd) };
    let value = |name: &'static str| {
        let usual = TABLE.iter().find(|(flag, ..)| *flag == name).map_or("", |(_, usual, _)| *usual);
        run.get_one::<String>(name)
            .cloned()
            .or_else(|| environment(&variable(name)))
            .unwrap_or_else(|| usual.to_owned())
    };
    let listen = value(LISTEN);
    let Ok(listen) = listen.parse() else {
        let message = format!("--listen must be an address and a port, as [::]:8090, not {listen:?}\n");
        return Err(command().error(clap::error::ErrorKind::ValueValidation, message));
    };
    let namespaces = value(NAMESPACES);
    let namespaces = namespaces.split(',').map(str::trim).filter(|name| !name.is_empty()).map(str::to_owned);
    Ok(Invocation::Run(Box::new(Settings {
        image: value(IMAGE),
        namespaces: namespaces.collect(),
        listen,
        namespace: value(NAMESPACE),
        lease: value(LEASE),
        identity: value(IDENTITY),
        log: value(LOG),
    })))
}

fn variable(flag: &str) -> String {
    format!("PARLEY_OPERATOR_{}", flag.to_ascii_uppercase())
}

fn command() -> Command {
    let run =
        TABLE.iter().fold(Command::new("run").about("Looks after ChatClusters"), |command, (flag, usual, help)| {
            let usual = if usual.is_empty() { String::new() } else { format!("; {usual} if not given") };
            let help = format!("{help}{usual} [{}]", variable(flag));
            command.arg(Arg::new(*flag).long(*flag).value_name("VALUE").help(help))
        });
    Command::new("parley-operator")
        .about("Turns a ChatCluster into a running chat on Kubernetes")
        .version(env!("CARGO_PKG_VERSION"))
        .subcommand_required(true)
        .subcommand(run)
        .subcommand(Command::new("crd").about("Prints the CustomResourceDefinition of ChatClusters"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(arguments: &[&str], environment: &[(&str, &str)]) -> Result<Invocation, String> {
        let arguments = ["parley-operator"].iter().chain(arguments).map(Into::into);
        let lookup =
            |name: &str| environment.iter().find(|(key, _)| *key == name).map(|(_, value)| (*value).to_owned());
        parse(arguments, &lookup).map_err(|error| error.to_string())
    }

    #[test]
    fn a_flag_beats_the_environment_which_beats_the_default() {
        let environment = [("PARLEY_OPERATOR_IMAGE", "parley:1"), ("PARLEY_OPERATOR_NAMESPACES", "a, b,")];
        let Ok(Invocation::Run(settings)) = parsed(&["run", "--image", "parley:2"], &environment) else {
            panic!("it runs")
        };
        assert_eq!(settings.image, "parley:2");
        assert_eq!(settings.namespaces, ["a", "b"]);
        assert_eq!(settings.listen.to_string(), "127.0.0.1:8090");
    }

    #[test]
    fn a_wrong_address_is_named() {
        let error = parsed(&["run", "--listen", "everywhere"], &[]).unwrap_err();
        assert!(error.contains("--listen must be an address"), "{error}");
    }
}

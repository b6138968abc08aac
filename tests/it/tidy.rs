//! Keeps the repository as it was agreed: layers, homes, names and sizes. The rules are the tables on top and one test
//! each; how they read the files is in `tidy/`. What clippy can see is in `clippy.toml` and not repeated here.

mod files;
mod layers;
mod source;
mod tree;

use std::fmt;
use std::path::Path;

use tree::{Files, Rust};

/// The packages that are layered. A file may name lower layers and its relatives (the same first segment); siblings of
/// one layer do not know each other.
const PACKAGES: &[Package] = &[SERVICE, OPERATOR];

const SERVICE: Package = Package {
    src: "service/src",
    crate_name: "parley_service",
    // The longest entry counts; `x::*` is everything below `x`, for ports whose implementations stand higher.
    layers: &[
        // Words.
        ("ids", 0),
        ("clock", 0),
        ("entropy", 0),
        ("message", 0),
        // Contracts.
        ("protocol", 1),
        ("rights", 1),
        ("origin", 1),
        ("metrics", 1),
        ("tracing_context", 1),
        ("drain", 1),
        // What is made of contracts.
        ("delivery", 2),
        ("config", 2),
        // Ports.
        ("backplane", 3),
        ("presence", 4),
        ("directory", 4),
        ("redis", 4),
        ("auth", 4),
        ("auth::keys", 4),
        // One session; and what stands behind the ports.
        ("session", 5),
        ("backplane::*", 5),
        ("presence::*", 6),
        ("directory::*", 6),
        ("auth::*", 5),
        // One instance.
        ("hub", 6),
        ("telemetry", 7),
        ("edge", 8),
        ("balance", 8),
        ("server", 9),
        ("demo", 9),
        ("main", 10),
    ],
    exceptions: &[Exception { from: "message", to: "ids", why: "a message carries names" }],
};

const OPERATOR: Package = Package {
    src: "operator/src",
    crate_name: "parley_operator",
    layers: &[
        // Words and homes.
        ("checksum", 0),
        ("clock", 0),
        ("names", 0),
        ("entropy", 1),
        // Contracts.
        ("crd", 1),
        ("health", 1),
        ("metrics", 1),
        ("settings", 1),
        ("term", 1),
        // Tables.
        ("profiles", 2),
        // The five steps.
        ("controller", 3),
        // The rim.
        ("admin", 4),
        ("client", 4),
        ("lease", 4),
        ("run", 5),
        ("main", 6),
    ],
    exceptions: &[],
};

/// What only its home may name. `redis*` is every file and folder whose name begins so.
const CONFINED: &[Confined] = &[
    Confined { what: &["fred"], homes: &["redis*"], why: "the rest knows the ports, not Redis" },
    Confined { what: &["crate", "redis"], homes: &["redis*"], why: "the rest knows the ports, not Redis" },
    Confined { what: &["axum"], homes: &["edge", "server", "admin"], why: "HTTP ends at the edge" },
    Confined { what: &["tokio_tungstenite"], homes: &["demo"], why: "only the demo is a client" },
    Confined { what: &["tungstenite"], homes: &["edge"], why: "WebSocket frames end at the edge" },
    Confined {
        what: &["std", "env"],
        homes: &["config::vars", "settings"],
        why: "settings are parsed once and handed down",
    },
];

/// Modules whose tests need no runtime.
const PURE: Pure = Pure {
    modules: &["session", "protocol", "ids", "message", "rights"],
    without: &["tokio", "tokio_util", "hyper", "axum"],
};

/// Files that may be longer than the rest. Empty is the aim.
const LONG_FILES: &[LongFile] = &[];

struct Package {
    src: &'static str,
    crate_name: &'static str,
    layers: &'static [(&'static str, u8)],
    exceptions: &'static [Exception],
}

/// One module (and what is below it) that may name another in spite of the layers.
struct Exception {
    from: &'static str,
    to: &'static str,
    #[expect(dead_code, reason = "read by people")]
    why: &'static str,
}

struct Confined {
    what: &'static [&'static str],
    homes: &'static [&'static str],
    why: &'static str,
}

struct Pure {
    modules: &'static [&'static str],
    without: &'static [&'static str],
}

struct LongFile {
    path: &'static str,
    #[expect(dead_code, reason = "read by people")]
    why: &'static str,
}

/// One place that breaks a rule, and what to do about it.
struct Finding {
    path: String,
    line: usize,
    what: String,
}

impl Finding {
    fn new(path: &str, line: usize, what: impl Into<String>) -> Self {
        Self { path: path.to_owned(), line, what: what.into() }
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}: {}", self.path, self.line, self.what)
    }
}

fn repository() -> Files {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the package lies in a folder of the repository");
    tree::walk(root).expect("the repository can be read")
}

fn assert_none(findings: impl IntoIterator<Item = Finding>) {
    let lines: Vec<String> = findings.into_iter().map(|finding| finding.to_string()).collect();
    assert!(lines.is_empty(), "{} to put right:\n{}\n", lines.len(), lines.join("\n"));
}

#[test]
fn every_module_names_only_lower_layers() {
    let rust = Rust::read(&repository());
    assert_none(PACKAGES.iter().flat_map(|package| layers::findings(package, &rust)));
}

#[test]
fn crates_with_one_home_stay_there() {
    let rust = Rust::read(&repository());
    assert_none(PACKAGES.iter().flat_map(|package| files::confined(package.src, CONFINED, &rust)));
}

#[test]
fn pure_modules_know_no_runtime() {
    let rust = Rust::read(&repository());
    assert_none(PACKAGES.iter().flat_map(|package| files::pure(package.src, &PURE, &rust)));
}

#[test]
fn every_file_is_declared_by_a_module() {
    assert_none(files::orphans(&Rust::read(&repository())));
}

#[test]
fn no_file_is_too_long() {
    assert_none(files::long_files(LONG_FILES, &Rust::read(&repository())));
}

#[test]
fn every_file_begins_with_what_it_is_responsible_for() {
    let files = repository();
    assert_none(
        files
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .filter_map(|(path, text)| files::without_doc(path, text)),
    );
}

#[test]
fn no_test_is_ignored_or_sleeps() {
    let rust = Rust::read(&repository());
    let weak = rust.sources.iter().flat_map(|(path, source)| files::weak_tests(path, source, rust.is_only_tests(path)));
    assert_none(weak);
}

#[test]
fn every_file_name_names_a_concept() {
    assert_none(repository().keys().filter_map(|path| files::empty_name(path)));
}

#[test]
fn no_file_names_a_folder_of_one_machine() {
    assert_none(repository().iter().flat_map(|(path, text)| files::foreign_paths(path, text)));
}

#[test]
fn the_walk_sees_the_repository() {
    let files = repository();
    for expected in ["Cargo.toml", "service/src/lib.rs", "tests/it/tidy/tree.rs"] {
        assert!(files.contains_key(expected), "{expected} was not found, so the other rules looked at nothing");
    }
}

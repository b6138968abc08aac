//! Rules that look at one file, or at its name, at a time. Each is a function from text to findings.

use super::source::{Named, Source};
use super::tree::{Rust, module};
use super::{Confined, Finding, LongFile, Pure};

/// Names that say nothing about what is inside.
const EMPTY_NAMES: [&str; 6] = ["utils", "helpers", "common", "core", "manager", "types"];
/// Lines of a file without its unit tests.
const MOST_LINES: usize = 500;
/// Folders of the test targets. The harness in `tests/src` may sleep: it is what waits with a deadline.
const TEST_TARGETS: [&str; 4] = ["tests/it/", "tests/process/", "tests/redis/", "tests/cluster/"];

/// Crates and modules that only their own home may name. Test code may name anything.
pub(super) fn confined(src: &str, table: &[Confined], rust: &Rust) -> Vec<Finding> {
    outside_tests(src, rust, |path, module, named| {
        let rule = table.iter().find(|rule| named.starts_with(rule.what))?;
        let at_home = rule.homes.iter().any(|home| match home.strip_suffix('*') {
            Some(prefix) => module.split("::").any(|part| part.starts_with(prefix)),
            None => module == *home || module.strip_prefix(home).is_some_and(|rest| rest.starts_with("::")),
        });
        let what = rule.what.join("::");
        let complaint = || format!("`{what}` belongs only in {}: {}", rule.homes.join(", "), rule.why);
        (!at_home).then(|| Finding::new(path, named.line, complaint()))
    })
}

/// Modules that stay free of the runtime and of sockets, so that their tests need neither.
pub(super) fn pure(src: &str, pure: &Pure, rust: &Rust) -> Vec<Finding> {
    outside_tests(src, rust, |path, module, named| {
        let is_pure = pure.modules.contains(&module.split("::").next().unwrap_or(module));
        let crate_name = named.path.first().filter(|first| pure.without.contains(&first.as_str()))?;
        let complaint = || format!("`{module}` is pure, it may not name `{crate_name}`: take the value as an argument");
        is_pure.then(|| Finding::new(path, named.line, complaint()))
    })
}

fn outside_tests(src: &str, rust: &Rust, check: impl Fn(&str, &str, &Named) -> Option<Finding>) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in &rust.sources {
        let Some(module) = module(src, path).filter(|_| !rust.is_only_tests(path)) else { continue };
        let place: Vec<String> = module.split("::").map(str::to_owned).collect();
        let named = source.named(&place);
        findings.extend(named.iter().filter(|named| !named.in_test).filter_map(|named| check(path, &module, named)));
    }
    findings
}

/// Files that nobody compiles.
pub(super) fn orphans(rust: &Rust) -> Vec<Finding> {
    let lost = rust.sources.keys().filter(|path| !Rust::is_root(path) && !rust.is_declared(path));
    lost.map(|path| Finding::new(path, 1, "no `mod` declares this file, so it is never compiled: declare or delete it"))
        .collect()
}

/// Files that have grown too long, and entries of the list that are not needed any more.
pub(super) fn long_files(exceptions: &[LongFile], rust: &Rust) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (path, source) in rust.sources.iter().filter(|(path, _)| !rust.is_only_tests(path)) {
        let lines = source.lines_without_tests();
        if lines > MOST_LINES && !exceptions.iter().any(|exception| exception.path == path) {
            let what = format!(
                "{lines} lines without its tests, {MOST_LINES} are the most: find the second idea in it and give that a file"
            );
            findings.push(Finding::new(path, lines, what));
        }
    }
    for exception in exceptions {
        if rust.sources.get(exception.path).is_none_or(|source| source.lines_without_tests() <= MOST_LINES) {
            let what = format!("the exception for {} is not needed any more: remove it", exception.path);
            findings.push(Finding::new("tests/it/tidy.rs", 1, what));
        }
    }
    findings
}

/// Files that do not begin with what they are responsible for.
pub(super) fn without_doc(path: &str, text: &str) -> Option<Finding> {
    let described =
        text.lines().next().and_then(|line| line.strip_prefix("//!")).is_some_and(|doc| !doc.trim().is_empty());
    (!described).then(|| {
        Finding::new(
            path,
            1,
            "the first line must be `//! …`: what the file is responsible for, then what it does not do",
        )
    })
}

/// Tests that are switched off, and tests that wait for time instead of for the event.
pub(super) fn weak_tests(path: &str, source: &Source, only_tests: bool) -> Vec<Finding> {
    let ignored = source.attributes("ignore").into_iter().map(|line| {
        Finding::new(
            path,
            line,
            "an ignored test rots: fix it, delete it, or put it in a target that is built only where it can run",
        )
    });
    let all_tests = only_tests || TEST_TARGETS.iter().any(|folder| path.starts_with(folder));
    let sleeps = source.named(&[]).into_iter().filter(move |named| {
        (all_tests || named.in_test) && (named.contains(&["thread", "sleep"]) || named.contains(&["time", "sleep"]))
    });
    let sleeps = sleeps.map(|named| {
        Finding::new(
            path,
            named.line,
            "a test that sleeps is slow or flaky: advance a paused clock, or wait for the event with a deadline",
        )
    });
    ignored.chain(sleeps).collect()
}

/// File names that name no concept.
pub(super) fn empty_name(path: &str) -> Option<Finding> {
    let name = path.rsplit('/').next().unwrap_or(path);
    let (stem, extension) = name.rsplit_once('.')?;
    if !matches!(extension, "rs" | "ts" | "tsx" | "sh" | "py") {
        return None;
    }
    if name == "mod.rs" {
        return Some(Finding::new(path, 1, "`foo.rs` beside a folder `foo/`, never `foo/mod.rs`"));
    }
    EMPTY_NAMES
        .contains(&stem)
        .then(|| Finding::new(path, 1, "this name says nothing about what is inside: name the concept"))
}

/// Folders of a build machine that slipped into a file.
pub(super) fn foreign_paths(path: &str, text: &str) -> Vec<Finding> {
    // Spelled so that this file does not find itself.
    let words = [concat!("/ho", "me/"), concat!("/ro", "ot/"), concat!("/Us", "ers/")];
    let begins_path = |line: &str, at: usize| {
        !line[..at].ends_with(|before: char| before.is_alphanumeric() || matches!(before, '.' | '-' | '_' | '}' | '~'))
    };
    let mut findings = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let found = words.iter().find(|word| line.match_indices(**word).any(|(at, _)| begins_path(line, at)));
        findings.extend(found.map(|word| {
            Finding::new(
                path,
                number,
                format!("`{word}` is a folder of one machine: use a relative path or a variable"),
            )
        }));
    }
    findings
}

#[cfg(test)]
mod tests {
    use super::super::tree::Files;
    use super::*;

    fn rust(files: &[(&str, &str)]) -> Rust {
        let files: Files = files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect();
        Rust::read(&files)
    }

    fn places(findings: &[Finding]) -> Vec<String> {
        findings.iter().map(|finding| format!("{}:{}", finding.path, finding.line)).collect()
    }

    #[test]
    fn a_confined_crate_is_found_outside_its_home() {
        let table = [
            Confined { what: &["std", "env"], homes: &["config::vars"], why: "x" },
            Confined { what: &["fred"], homes: &["redis*"], why: "x" },
            Confined { what: &["axum"], homes: &["edge", "server"], why: "x" },
        ];
        let rust = rust(&[
            ("s/config.rs", "use std::{fmt, env};"),
            ("s/config/vars.rs", "use std::env;"),
            ("s/edge/upgrade.rs", "use axum::Router;"),
            ("s/edges.rs", "fn f() {\n axum::serve() }"),
            ("s/hub.rs", "#[cfg(test)] mod tests { use fred::x; }"),
            ("s/backplane/redis.rs", "use fred::x;"),
            ("s/backplane/memory.rs", "use fred;"),
        ]);
        assert_eq!(places(&confined("s", &table, &rust)), ["s/backplane/memory.rs:1", "s/config.rs:1", "s/edges.rs:2"]);
    }

    #[test]
    fn a_pure_module_may_not_name_the_runtime() {
        let rule = Pure { modules: &["session"], without: &["tokio"] };
        let rust = rust(&[
            ("s/session.rs", "#[cfg(test)] mod tests; use bytes::Bytes;"),
            ("s/session/tests.rs", "use tokio::time;"),
            ("s/session/heartbeat.rs", "use tokio::time;"),
            ("s/sessions.rs", "use tokio::time;"),
        ]);
        assert_eq!(places(&pure("s", &rule, &rust)), ["s/session/heartbeat.rs:1"]);
    }

    #[test]
    fn a_file_that_nobody_declares_is_found() {
        let rust = rust(&[("s/src/lib.rs", "mod a;"), ("s/src/a.rs", ""), ("s/src/b.rs", ""), ("s/src/a/c.rs", "")]);
        assert_eq!(places(&orphans(&rust)), ["s/src/a/c.rs:1", "s/src/b.rs:1"]);
    }

    #[test]
    fn a_long_file_is_found_and_a_stale_exception_too() {
        let (long, tests) = ("//! x\n".repeat(501), "#[cfg(test)]\nmod tests {\n}\n".repeat(300));
        let rust = rust(&[("a.rs", long.as_str()), ("b.rs", long.as_str()), ("c.rs", tests.as_str())]);
        let exceptions = [LongFile { path: "b.rs", why: "x" }, LongFile { path: "c.rs", why: "x" }];
        assert_eq!(places(&long_files(&exceptions, &rust)), ["a.rs:501", "tests/it/tidy.rs:1"]);
    }

    #[test]
    fn a_file_without_a_doc_is_found() {
        assert!(without_doc("a.rs", "//! What it is.\nmod a;").is_none());
        for text in ["", "//!\nmod a;", "// x", "\n//! x", "use a::b;"] {
            assert!(without_doc("a.rs", text).is_some(), "{text:?}");
        }
    }

    #[test]
    fn ignored_and_sleeping_tests_are_found() {
        let text = "#[test]\n#[ignore]\nfn f() {\n tokio::time::sleep(x)\n}\nuse std::{thread::{self, sleep}};\n";
        assert_eq!(
            places(&weak_tests("tests/it/a.rs", &Source::read(text), false)),
            ["tests/it/a.rs:2", "tests/it/a.rs:4", "tests/it/a.rs:6"]
        );
        assert_eq!(
            places(&weak_tests("a/tests.rs", &Source::read("use tokio::time::{sleep, timeout};"), true)),
            ["a/tests.rs:1"]
        );
        let mixed = "use tokio::time::sleep;\n#[cfg(test)]\nmod tests {\n fn f() { std::thread::sleep(x) } }";
        assert_eq!(places(&weak_tests("service/src/a.rs", &Source::read(mixed), false)), ["service/src/a.rs:4"]);
    }

    #[test]
    fn names_without_a_concept_are_found() {
        for path in ["s/src/utils.rs", "a/hub/mod.rs", "web/types.ts", "kind/common.sh"] {
            assert!(empty_name(path).is_some(), "{path}");
        }
        for path in ["s/src/hub.rs", "chart/_helpers.tpl", "README.md", "LICENSE"] {
            assert!(empty_name(path).is_none(), "{path}");
        }
    }

    #[test]
    fn folders_of_a_machine_are_found() {
        for folder in [concat!("/ho", "me/jo/x"), concat!("/ro", "ot/.cargo"), concat!("/Us", "ers/jo")] {
            assert_eq!(places(&foreign_paths("a", &format!("fine\nsee {folder} there"))), ["a:2"]);
            assert_eq!(places(&foreign_paths("a", &format!("https://example.com{folder}"))), [""; 0]);
        }
    }
}

//! The one-way layering: who may name whom. The tables are at the top of `tidy.rs`; here is how they are applied.

use std::collections::BTreeSet;

use super::source::Named;
use super::tree::{Rust, module};
use super::{Exception, Finding, Package};

/// What is wrong with the layering of a package. Test code may name anything.
pub(super) fn findings(package: &Package, rust: &Rust) -> Vec<Finding> {
    let modules = rust.modules(package.src);
    let mut used = vec![false; package.exceptions.len()];
    let mut findings = Vec::new();
    for (path, source) in &rust.sources {
        let Some(from) = module(package.src, path) else { continue };
        if from == "lib" || rust.is_only_tests(path) {
            continue;
        }
        let Some(layer) = layer_of(package, &from) else {
            findings.push(Finding::new(
                path,
                1,
                format!("module `{from}` has no layer: give it a line in the table of tests/it/tidy.rs"),
            ));
            continue;
        };
        let place: Vec<String> =
            if from == "main" { Vec::new() } else { from.split("::").map(str::to_owned).collect() };
        for named in source.named(&place).into_iter().filter(|named| !named.in_test) {
            let Some(to) = target(package, &named, &modules) else { continue };
            if top(&to) == top(&from) {
                continue;
            }
            let complaint = match layer_of(package, &to) {
                Some(below) if below < layer => continue,
                Some(other) => format!(
                    "`{from}` (layer {layer}) names `{to}` (layer {other}): only lower layers may be named; hand it in from above, or move what both need down"
                ),
                None => format!(
                    "`{from}` names `{to}`, which has no layer: give it a line in the table of tests/it/tidy.rs"
                ),
            };
            match package.exceptions.iter().position(|exception| covers(exception, &from, &to)) {
                Some(index) => used[index] = true,
                None => findings.push(Finding::new(path, named.line, complaint)),
            }
        }
    }
    // One `use` of several names is one finding.
    findings.dedup_by(|a, b| (&a.path, a.line, &a.what) == (&b.path, b.line, &b.what));
    for (exception, _) in package.exceptions.iter().zip(used).filter(|(_, used)| !used) {
        let what =
            format!("the exception `{}` -> `{}` is not needed any more: remove it", exception.from, exception.to);
        findings.push(Finding::new("tests/it/tidy.rs", 1, what));
    }
    findings
}

/// The module that a path leads to: the longest part of it that is a file, else its first segment.
fn target(package: &Package, named: &Named, modules: &BTreeSet<String>) -> Option<String> {
    // The binary sees its own library under the package's name.
    if named.path.first().is_none_or(|first| first != "crate" && first != package.crate_name) {
        return None;
    }
    let inner = &named.path[1..];
    (1..=inner.len())
        .rev()
        .map(|length| inner[..length].join("::"))
        .find(|candidate| modules.contains(candidate))
        .or_else(|| inner.first().filter(|first| *first != "*").cloned())
}

/// The layer of a module: the longest entry that is the module itself, or `parent::*` for everything below a parent.
fn layer_of(package: &Package, module: &str) -> Option<u8> {
    let matches = |entry: &str| match entry.strip_suffix("::*") {
        Some(parent) => module.strip_prefix(parent).is_some_and(|rest| rest.starts_with("::")),
        None => module == entry || module.strip_prefix(entry).is_some_and(|rest| rest.starts_with("::")),
    };
    package
        .layers
        .iter()
        .filter(|(entry, _)| matches(entry))
        .max_by_key(|(entry, _)| entry.len())
        .map(|(_, layer)| *layer)
}

fn top(module: &str) -> &str {
    module.split("::").next().unwrap_or(module)
}

fn covers(exception: &Exception, from: &str, to: &str) -> bool {
    let within = |module: &str, entry: &str| {
        module == entry || module.strip_prefix(entry).is_some_and(|rest| rest.starts_with("::"))
    };
    within(from, exception.from) && within(to, exception.to)
}

#[cfg(test)]
mod tests {
    use super::super::tree::Files;
    use super::*;

    const PACKAGE: Package = Package {
        src: "service/src",
        crate_name: "parley_service",
        layers: &[("ids", 0), ("clock", 0), ("backplane", 2), ("backplane::*", 3), ("hub", 3), ("main", 6)],
        exceptions: &[],
    };

    fn complaints(package: &Package, files: &[(&str, &str)]) -> Vec<String> {
        let files: Files =
            files.iter().map(|(path, text)| (format!("service/src/{path}.rs"), (*text).to_owned())).collect();
        findings(package, &Rust::read(&files)).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn lower_layers_and_relatives_may_be_named() {
        let files = [
            ("lib", "pub mod hub; mod ids;"),
            ("ids", "use std::fmt::Debug;"),
            ("backplane", "mod memory; use crate::ids::RoomId; pub use crate::backplane::memory::Memory;"),
            ("backplane/memory", "use super::Backplane; use crate::{backplane::Backplane, ids::RoomId};"),
            ("hub/room", "use crate::hub::outbox::Outbox; fn f() -> crate::backplane::Position {}"),
            ("main", "fn main() { parley_service::hub::run() }"),
        ];
        assert_eq!(complaints(&PACKAGE, &files), [""; 0]);
    }

    #[test]
    fn higher_layers_and_siblings_may_not_be_named() {
        let files = [
            ("backplane/memory", "fn f() {\n    crate::hub::run()\n}"),
            ("clock", "use super::ids::RoomId;"),
            ("hub", "use crate::{\n    ids::RoomId,\n    backplane::memory::Memory,\n};"),
            ("ids", "use crate::hub::{Hub, Room};"),
        ];
        let found = complaints(&PACKAGE, &files);
        assert_eq!(found.len(), 4, "{found:#?}");
        assert!(
            found[0]
                .starts_with("service/src/backplane/memory.rs:2: `backplane::memory` (layer 3) names `hub` (layer 3)")
        );
        assert!(found[1].starts_with("service/src/clock.rs:1: `clock` (layer 0) names `ids` (layer 0)"));
        assert!(found[2].starts_with("service/src/hub.rs:3: `hub` (layer 3) names `backplane::memory` (layer 3)"));
        assert!(found[3].starts_with("service/src/ids.rs:1: `ids` (layer 0) names `hub` (layer 3)"));
    }

    #[test]
    fn a_module_without_a_layer_is_told_where_to_get_one() {
        let found = complaints(&PACKAGE, &[("gossip", ""), ("hub", "use crate::gossip::X;")]);
        assert_eq!(found.len(), 2, "{found:#?}");
        assert!(found.iter().all(|line| line.contains("tests/it/tidy.rs")), "{found:#?}");
    }

    #[test]
    fn tests_may_name_anything() {
        let files = [
            ("ids", "#[cfg(test)]\nmod tests { use crate::hub::Hub; }\n#[cfg(test)] mod more;"),
            ("ids/more", "use crate::hub::Hub;"),
        ];
        assert_eq!(complaints(&PACKAGE, &files), [""; 0]);
    }

    #[test]
    fn an_exception_is_honoured_and_a_stale_one_reported() {
        let exceptions = &[Exception { from: "ids", to: "clock", why: "for this test" }];
        let package = Package { exceptions, ..PACKAGE };
        assert_eq!(complaints(&package, &[("clock", ""), ("ids", "use crate::clock::Now;")]), [""; 0]);
        let found = complaints(&package, &[("clock", ""), ("ids", "")]);
        assert_eq!(found.len(), 1, "{found:#?}");
        assert!(found[0].contains("not needed any more"), "{}", found[0]);
    }
}

//! The files of the repository and which Rust file is which module. It walks folders and reads text; it judges nothing.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::source::Source;

/// Folders in which nothing is written by hand, by name.
const NOT_OURS: [&str; 4] = [".git", "target", "node_modules", "dist"];

/// Text files by their path from the repository root, with `/` between the parts.
pub(super) type Files = BTreeMap<String, String>;

/// Reads every text file below `root`. Files that are not UTF-8 are left out.
///
/// # Errors
/// When a folder or a file cannot be read.
pub(super) fn walk(root: &Path) -> std::io::Result<Files> {
    let mut files = Files::new();
    let mut folders = vec![root.to_path_buf()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(&folder)? {
            let entry = entry?;
            let (kind, path) = (entry.file_type()?, entry.path());
            if kind.is_dir() {
                if !NOT_OURS.iter().any(|name| entry.file_name() == *name) {
                    folders.push(path);
                }
            } else if kind.is_file()
                && let Ok(text) = String::from_utf8(std::fs::read(&path)?)
                && let Ok(relative) = path.strip_prefix(root)
            {
                let parts: Vec<_> = relative.components().map(|part| part.as_os_str().to_string_lossy()).collect();
                files.insert(parts.join("/"), text);
            }
        }
    }
    Ok(files)
}

/// The Rust files among them, read.
pub(super) struct Rust {
    pub(super) sources: BTreeMap<String, Source>,
    /// Every file that some `mod` may mean, and whether all who declare it do so only in tests.
    declared: BTreeMap<String, bool>,
}

impl Rust {
    pub(super) fn read(files: &Files) -> Self {
        let sources: BTreeMap<String, Source> = files
            .iter()
            .filter(|(path, _)| path.ends_with(".rs"))
            .map(|(path, text)| (path.clone(), Source::read(text)))
            .collect();
        let mut declared = BTreeMap::new();
        for (path, source) in &sources {
            for child in source.declared() {
                let only_in_tests = declared.entry(format!("{}/{}.rs", home(path), child.name)).or_insert(true);
                *only_in_tests &= child.only_in_tests;
            }
        }
        Self { sources, declared }
    }

    /// Whether Cargo starts at this file, so that no `mod` has to declare it.
    pub(super) fn is_root(path: &str) -> bool {
        let parts: Vec<&str> = path.split('/').collect();
        match parts.as_slice() {
            [.., "lib.rs" | "main.rs"] | [.., "bin" | "examples" | "benches", _] => true,
            // Beside a package's manifest it is Cargo's; among the sources it is a module like any other.
            [.., "build.rs"] => !parts.contains(&"src"),
            // `tests` at the top is a package; inside a package it is Cargo's folder of test targets.
            [_, "tests", _] => true,
            _ => false,
        }
    }

    pub(super) fn is_declared(&self, path: &str) -> bool {
        self.declared.contains_key(path)
    }

    /// Whether the whole file is compiled only for unit tests: it or a module above it stands under `#[cfg(test)]`.
    pub(super) fn is_only_tests(&self, path: &str) -> bool {
        let mut path = path.to_owned();
        loop {
            if self.declared.get(&path) == Some(&true) {
                return true;
            }
            match path.rsplit_once('/') {
                Some((folder, _)) => path = format!("{folder}.rs"),
                None => return false,
            }
        }
    }

    /// The modules below a source folder, as `hub` and `hub::room`.
    pub(super) fn modules(&self, src: &str) -> BTreeSet<String> {
        self.sources.keys().filter_map(|path| module(src, path)).collect()
    }
}

/// The folder in which the children of a file live.
fn home(path: &str) -> String {
    let folder = path.rsplit_once('/').map_or("", |(folder, _)| folder);
    if Rust::is_root(path) { folder.to_owned() } else { path.trim_end_matches(".rs").to_owned() }
}

/// The module that a file below `src` is: `service/src/hub/room.rs` is `hub::room`. Nothing for files elsewhere.
pub(super) fn module(src: &str, path: &str) -> Option<String> {
    let inner = path.strip_prefix(src)?.strip_prefix('/')?.strip_suffix(".rs")?;
    Some(inner.replace('/', "::"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rust(files: &[(&str, &str)]) -> Rust {
        Rust::read(&files.iter().map(|(path, text)| ((*path).to_owned(), (*text).to_owned())).collect())
    }

    #[test]
    fn children_of_a_root_live_beside_it_and_of_a_module_below_it() {
        let rust = rust(&[("service/src/lib.rs", "mod hub;"), ("service/src/hub.rs", "mod room;")]);
        assert!(rust.is_declared("service/src/hub.rs"));
        assert!(rust.is_declared("service/src/hub/room.rs"));
        assert!(!rust.is_declared("service/src/room.rs"));
    }

    #[test]
    fn files_below_a_test_module_are_tests() {
        let rust = rust(&[
            ("service/src/hub.rs", "#[cfg(test)] mod tests; mod room;"),
            ("service/src/hub/tests.rs", "mod a;"),
        ]);
        assert!(rust.is_only_tests("service/src/hub/tests.rs"));
        assert!(rust.is_only_tests("service/src/hub/tests/a.rs"));
        assert!(!rust.is_only_tests("service/src/hub/room.rs"));
    }

    #[test]
    fn roots_are_what_cargo_starts_at() {
        for root in [
            "service/src/main.rs",
            "tests/it/main.rs",
            "tests/src/bin/load.rs",
            "service/examples/echo.rs",
            "service/tests/x.rs",
            "service/build.rs",
        ] {
            assert!(Rust::is_root(root), "{root}");
        }
        for module in
            ["service/src/hub.rs", "tests/it/tidy.rs", "service/src/hub/tests/a.rs", "operator/src/controller/build.rs"]
        {
            assert!(!Rust::is_root(module), "{module}");
        }
    }
}

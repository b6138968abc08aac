//! The process as settings see it: variables, files, host name, terminal, arguments. The only home of `std::env`.
//!
//! It parses nothing and knows no setting by name.

#[cfg(any(test, feature = "testing"))]
use std::collections::BTreeMap;
use std::{
    ffi::OsString,
    io::{self, IsTerminal},
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
};

/// Where settings come from, apart from the command line.
pub trait Vars {
    /// The value of one environment variable, `None` when it is not set.
    fn var(&self, name: &str) -> Option<OsString>;

    /// The names of all variables that start with `prefix`, in any order.
    fn names(&self, prefix: &str) -> Vec<String>;

    /// The whole text of a file.
    ///
    /// # Errors
    /// Whatever the operating system says, and `InvalidData` for bytes that are no UTF-8.
    fn read_file(&self, path: &Path) -> io::Result<String>;

    /// The name of this machine or pod, `None` when the system gives none.
    fn host_name(&self) -> Option<String>;

    /// Whether a person reads what goes to standard error.
    fn stderr_is_terminal(&self) -> bool;
}

/// The real process.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessVars;

impl Vars for ProcessVars {
    fn var(&self, name: &str) -> Option<OsString> {
        #[expect(clippy::disallowed_methods, reason = "this file is the home of the environment")]
        std::env::var_os(name)
    }

    fn names(&self, prefix: &str) -> Vec<String> {
        #[expect(clippy::disallowed_methods, reason = "this file is the home of the environment")]
        let names = std::env::vars_os().filter_map(|(name, _)| name.into_string().ok());
        names.filter(|name| name.starts_with(prefix)).collect()
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }

    fn host_name(&self) -> Option<String> {
        let uname = rustix::system::uname();
        uname.nodename().to_str().ok().filter(|name| !name.is_empty()).map(str::to_owned)
    }

    fn stderr_is_terminal(&self) -> bool {
        io::stderr().is_terminal()
    }
}

/// The arguments of this process without its own name.
pub fn process_args() -> Vec<OsString> {
    #[expect(clippy::disallowed_methods, reason = "this file is the home of the command line")]
    std::env::args_os().skip(1).collect()
}

/// The file of the program that runs, to start it once more.
///
/// # Errors
/// The operating system does not say.
pub fn program() -> io::Result<PathBuf> {
    std::env::current_exe()
}

/// The first executable file of this name in the folders of `PATH`.
#[must_use]
pub fn find_program(vars: &dyn Vars, name: &str) -> Option<PathBuf> {
    let executable = |path: &PathBuf| {
        std::fs::metadata(path).is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    let path = vars.var("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(executable)
}

/// A process that exists only in a test. Starts empty: no variables, no files, host name `test-host`, no terminal.
#[cfg(any(test, feature = "testing"))]
#[derive(Debug, Clone)]
pub struct FakeVars {
    vars: BTreeMap<String, OsString>,
    files: BTreeMap<std::path::PathBuf, String>,
    host_name: Option<String>,
    terminal: bool,
}

#[cfg(any(test, feature = "testing"))]
impl Default for FakeVars {
    fn default() -> Self {
        Self { vars: BTreeMap::new(), files: BTreeMap::new(), host_name: Some("test-host".into()), terminal: false }
    }
}

#[cfg(any(test, feature = "testing"))]
impl FakeVars {
    /// Sets one environment variable.
    #[must_use]
    pub fn with(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.vars.insert(name.to_owned(), value.into());
        self
    }

    /// Puts a file in place.
    #[must_use]
    pub fn with_file(mut self, path: &str, text: &str) -> Self {
        self.files.insert(path.into(), text.to_owned());
        self
    }

    /// Sets or removes the host name.
    #[must_use]
    pub fn with_host_name(mut self, name: Option<&str>) -> Self {
        self.host_name = name.map(str::to_owned);
        self
    }

    /// Says whether standard error is a terminal.
    #[must_use]
    pub fn with_terminal(mut self, terminal: bool) -> Self {
        self.terminal = terminal;
        self
    }
}

#[cfg(any(test, feature = "testing"))]
impl Vars for FakeVars {
    fn var(&self, name: &str) -> Option<OsString> {
        self.vars.get(name).cloned()
    }

    fn names(&self, prefix: &str) -> Vec<String> {
        self.vars.keys().filter(|name| name.starts_with(prefix)).cloned().collect()
    }

    fn read_file(&self, path: &Path) -> io::Result<String> {
        self.files.get(path).cloned().ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    fn host_name(&self) -> Option<String> {
        self.host_name.clone()
    }

    fn stderr_is_terminal(&self) -> bool {
        self.terminal
    }
}

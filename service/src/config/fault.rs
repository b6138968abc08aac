//! What is said about settings that cannot be used: all faults of a start at once, each with its remedy.
//!
//! It decides nothing; whoever finds a fault puts it here, and never with the value of a secret.

use std::fmt;

/// Longest part of a wrong value that is repeated to the user, in characters.
const SHOWN_CHARS: usize = 80;

/// Where the value of a setting came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// Nobody gave it.
    Default,
    /// The environment variable of the setting's own name.
    Env,
    /// The flag of this name, with its dashes.
    Flag(String),
    /// A file whose path was given by a `_FILE` variable or a `-file` flag.
    File(String),
    /// It follows from something else, which is named here.
    Derived(&'static str),
}

impl fmt::Display for Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::Env => f.write_str("environment"),
            Self::Flag(name) => write!(f, "flag {name}"),
            Self::File(path) => write!(f, "file {path}"),
            Self::Derived(from) => f.write_str(from),
        }
    }
}

/// One setting that cannot be used, and what would be right.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fault {
    /// The setting as the user knows it: `PARLEY_LISTEN`, or `--listne` for a flag that does not exist.
    pub setting: String,
    /// Where the value came from, `None` when the fault is not in one value.
    pub source: Option<Source>,
    /// The value given; `None` for a secret and where there is none.
    pub given: Option<String>,
    /// What would be right, as a request.
    pub remedy: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.setting)?;
        if let Some(given) = &self.given {
            let shown: String = given.chars().take(SHOWN_CHARS).collect();
            let dots = if shown.len() < given.len() { "…" } else { "" };
            write!(f, " = {shown:?}{dots}")?;
        }
        if let Some(source) = &self.source {
            write!(f, " ({source})")?;
        }
        write!(f, ": {}", self.remedy)
    }
}

/// Every fault of a start, one per line. Never empty when it is returned as an error.
#[derive(Debug, Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Faults(pub Vec<Fault>);

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.len() {
            1 => f.write_str("one setting is wrong")?,
            n => write!(f, "{n} settings are wrong")?,
        }
        for fault in &self.0 {
            write!(f, "\n  {fault}")?;
        }
        f.write_str("\n`parley --help` lists every setting")
    }
}

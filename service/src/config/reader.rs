//! Finds the value of each setting (flag, environment, file, default), remembers where it came from, collects faults.
//!
//! It knows the table's shape but no single setting; what values mean to each other is in `check`.

use std::{collections::BTreeMap, fmt, path::Path};

use super::{
    Fault, Faults, Source, Vars,
    table::{Setting, Spec, TABLE},
};

/// Values given as flags, by flag name without dashes.
pub(super) type Flags = BTreeMap<String, String>;

/// One pass over all settings.
pub(super) struct Reader<'a> {
    vars: &'a dyn Vars,
    flags: Flags,
    faults: Vec<Fault>,
    warnings: Vec<String>,
    /// Printable value and source of each setting read so far; a secret is `***` here already.
    shown: BTreeMap<&'static str, (String, Source)>,
}

/// What `parley config` prints: each setting, its value in force, and where that came from. Holds no secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EffectiveSettings(Vec<(String, String, Source)>);

impl<'a> Reader<'a> {
    pub(super) fn new(vars: &'a dyn Vars, flags: Flags, faults: Vec<Fault>) -> Self {
        Self { vars, flags, faults, warnings: Vec::new(), shown: BTreeMap::new() }
    }

    pub(super) fn vars(&self) -> &'a dyn Vars {
        self.vars
    }

    /// The value of a setting; `None` when it is at fault, which is then on the list.
    pub(super) fn get<T>(&mut self, setting: &Setting<T>) -> Option<T> {
        let spec = &setting.spec;
        let (text, source) = self.find(spec).map_err(|fault| self.faults.push(fault)).ok()?;
        match (setting.parse)(spec, &text) {
            Ok(value) => {
                let shown = if spec.secret && !text.is_empty() { "***".to_owned() } else { text };
                self.shown.insert(spec.name, (shown, source));
                Some(value)
            }
            Err(remedy) => {
                let given = (!spec.secret).then_some(text);
                self.faults.push(Fault { setting: spec.env(), source: Some(source), given, remedy });
                None
            }
        }
    }

    /// Whether somebody gave this setting a value that could be read.
    pub(super) fn is_given(&self, spec: &Spec) -> bool {
        self.shown.get(spec.name).is_some_and(|(_, source)| *source != Source::Default)
    }

    /// Notes the value in force of a setting that follows from something else.
    pub(super) fn derived(&mut self, spec: &Spec, value: impl Into<String>, source: Source) {
        self.shown.insert(spec.name, (value.into(), source));
    }

    /// Puts a fault on the list.
    pub(super) fn add(&mut self, fault: Fault) {
        self.faults.push(fault);
    }

    /// Refuses a value that is right by itself but not beside the others.
    pub(super) fn refuse(&mut self, spec: &Spec, remedy: impl Into<String>) {
        let (given, source) = self.shown.get(spec.name).filter(|(text, _)| !text.is_empty()).cloned().unzip();
        let given = given.filter(|_| !spec.secret);
        self.faults.push(Fault { setting: spec.env(), source, given, remedy: remedy.into() });
    }

    /// Refuses a file that cannot be read.
    pub(super) fn must_be_readable(&mut self, spec: &Spec, path: Option<&Path>) {
        if let Some(Err(error)) = path.map(|path| self.vars.read_file(path)) {
            self.refuse(spec, format!("name a file that can be read ({error})"));
        }
    }

    /// Something that does not prevent the start but should be seen.
    pub(super) fn warn(&mut self, warning: String) {
        self.warnings.push(warning);
    }

    /// The list of faults, if there are any; else what is in force, and the warnings.
    pub(super) fn finish(self) -> Result<(EffectiveSettings, Vec<String>), Faults> {
        if !self.faults.is_empty() {
            return Err(Faults(self.faults));
        }
        let lines = TABLE.iter().filter_map(|spec| {
            let (value, source) = self.shown.get(spec.name)?.clone();
            let words = if spec.default_words.is_empty() { "-" } else { spec.default_words };
            Some((spec.env(), if value.is_empty() { words.to_owned() } else { value }, source))
        });
        Ok((EffectiveSettings(lines.collect()), self.warnings))
    }

    /// The text of a setting and its source. A flag beats the environment, either way it is given.
    fn find(&self, spec: &Spec) -> Result<(String, Source), Fault> {
        let flag = self.flags.get(spec.name).cloned();
        // An empty flag takes a value of the environment back.
        let default = Ok((spec.default.to_owned(), Source::Default));
        let file_flag = format!("{}-file", spec.name);
        let flag_path = self.flags.get(&file_flag).cloned().filter(|path| spec.secret && !path.is_empty());
        match (flag, flag_path) {
            (Some(value), None) if value.is_empty() => return default,
            (Some(value), None) => return Ok((tidy(spec, &value), Source::Flag(spec.flag()))),
            (None, Some(path)) => return self.read_secret_file(spec, &format!("--{file_flag}"), &path),
            (Some(_), Some(_)) => return Err(given_twice(&spec.flag(), &format!("--{file_flag}"))),
            (None, None) => {}
        }

        let file_env = format!("{}_FILE", spec.env());
        let value = self.env(&spec.env())?;
        let path = if spec.secret { self.env(&file_env)? } else { None };
        match (value, path) {
            (Some(value), None) => Ok((tidy(spec, &value), Source::Env)),
            (None, Some(path)) => self.read_secret_file(spec, &file_env, &path),
            (Some(_), Some(_)) => Err(given_twice(&spec.env(), &file_env)),
            (None, None) => default,
        }
    }

    /// An environment variable that has a value. An empty one counts as not set: templates leave such behind.
    pub(super) fn env(&self, name: &str) -> Result<Option<String>, Fault> {
        let Some(value) = self.vars.var(name).filter(|value| !value.is_empty()) else { return Ok(None) };
        value.into_string().map(Some).map_err(|_| Fault {
            setting: name.to_owned(),
            source: None,
            given: None,
            remedy: "give text in UTF-8".to_owned(),
        })
    }

    fn read_secret_file(&self, spec: &Spec, setting: &str, path: &str) -> Result<(String, Source), Fault> {
        // The path is not repeated: now and then somebody puts the secret itself where its file belongs.
        let fault = |remedy| Fault { setting: setting.to_owned(), source: None, given: None, remedy };
        match self.vars.read_file(Path::new(path)) {
            Ok(text) if tidy(spec, &text).is_empty() => Err(fault("name a file that is not empty".to_owned())),
            Ok(text) => Ok((tidy(spec, &text), Source::File(path.to_owned()))),
            Err(error) => Err(fault(format!("name a file that can be read ({error})"))),
        }
    }
}

/// Drops what no user means: the line end that editors and `echo` leave behind a secret, spaces around all else.
fn tidy(spec: &Spec, text: &str) -> String {
    if spec.secret { text.trim_end_matches(['\r', '\n']).to_owned() } else { text.trim().to_owned() }
}

fn given_twice(value: &str, file: &str) -> Fault {
    let remedy = format!("give this or {file}, not both");
    Fault { setting: value.to_owned(), source: None, given: None, remedy }
}

impl fmt::Display for EffectiveSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = self.0.iter().map(|(name, ..)| name.len()).max().unwrap_or(0);
        // One long list of origins should not push the third column of every line off the screen.
        let values = self.0.iter().map(|(_, value, _)| value.chars().count()).max().unwrap_or(0).min(40);
        for (name, value, source) in &self.0 {
            writeln!(f, "{name:names$}  {:values$}  {source}", value)?;
        }
        Ok(())
    }
}

//! Names that were mistyped: what the user may have meant, and which unknown variables are none of ours.
//!
//! It only finds words; whether an unknown name is a fault or a warning is the caller's choice.

use super::{
    Vars,
    table::{Spec, TABLES},
};

/// A sentence for an unknown name, with the nearest known one if it is near.
pub(super) fn remedy(problem: &str, name: &str, known: impl Iterator<Item = String>) -> String {
    let nearest = known.map(|known| (strsim::damerau_levenshtein(name, &known), known)).min();
    // One slip of the finger in three letters; with more it is another word.
    let letters = name.trim_start_matches("PARLEY_").trim_start_matches('-').len();
    match nearest.filter(|(edits, _)| *edits <= (letters / 3).clamp(1, 3)) {
        Some((_, nearest)) => format!("{problem}; did you mean {nearest}?"),
        None => format!("{problem}; `parley --help` lists them all"),
    }
}

/// A warning for every `PARLEY_*` variable that is no setting and that Kubernetes did not make.
pub(super) fn unknown_variables(vars: &dyn Vars) -> Vec<String> {
    let known: Vec<_> = TABLES.iter().copied().flatten().flat_map(|spec| variables(spec)).collect();
    let mut unknown = vars.names("PARLEY_");
    unknown.retain(|name| !known.contains(name) && !is_service_link(name));
    unknown.sort();
    let warning = |name: &String| format!("{name}: {}", remedy("no such setting", name, known.iter().cloned()));
    unknown.iter().map(warning).collect()
}

fn variables(spec: &Spec) -> impl Iterator<Item = String> {
    let file = spec.secret.then(|| format!("{}_FILE", spec.env()));
    std::iter::once(spec.env()).chain(file)
}

/// Kubernetes sets `X_SERVICE_HOST`, `X_SERVICE_PORT…`, `X_PORT` and `X_PORT_…` for every Service `x`, so a Service
/// called `parley` or `parley-web` makes variables that begin like settings.
fn is_service_link(name: &str) -> bool {
    ["_SERVICE_HOST", "_SERVICE_PORT", "_PORT_"].iter().any(|part| name.contains(part)) || name.ends_with("_PORT")
}

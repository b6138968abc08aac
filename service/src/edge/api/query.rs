//! Query parameters: each known, given once, in range. A mistyped `after` must not silently read from the beginning.

use axum::http::Uri;

use super::faults;
use crate::edge::problem::Problem;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::limits::ROOMS_MAX_LISTED;

/// Highest offset: the largest whole number that every JSON reader keeps exact. A log never comes near it.
const OFFSET_MAX: u64 = (1 << 53) - 1;
/// Most messages or rooms that one request may ask for.
const LIMIT_MAX: usize = ROOMS_MAX_LISTED;
/// How many a request gets that does not say.
const LIMIT_DEFAULT: usize = 100;

/// The parameters of one request.
#[derive(Debug)]
pub(super) struct Query(Vec<(String, String)>);

impl Query {
    /// Reads the query of a URL that may have the parameters `known`.
    pub(super) fn read(uri: &Uri, known: &[&str]) -> Result<Self, Problem> {
        let bad = |detail: String| faults::bad(ErrorCode::BadField, detail);
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|_| bad("the query is not one of a URL".to_owned()))?
            .0;
        for (index, (name, _)) in pairs.iter().enumerate() {
            if !known.contains(&name.as_str()) {
                let known = if known.is_empty() { "none".to_owned() } else { format!("`{}`", known.join("`, `")) };
                return Err(bad(format!("this endpoint knows the query parameters {known}, and no other")));
            }
            if pairs[..index].iter().any(|(other, _)| other == name) {
                return Err(bad(format!("`{name}` is given twice")));
            }
        }
        Ok(Self(pairs))
    }

    /// A parameter as text.
    pub(super) fn text(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(other, _)| other == name).map(|(_, value)| value.as_str())
    }

    /// A parameter as an offset.
    pub(super) fn offset(&self, name: &str) -> Result<Option<u64>, Problem> {
        self.number(name, 0, OFFSET_MAX)
    }

    /// How many to give.
    pub(super) fn limit(&self) -> Result<usize, Problem> {
        let limit = self.number("limit", 1, LIMIT_MAX as u64)?;
        Ok(limit.map_or(LIMIT_DEFAULT, |limit| usize::try_from(limit).unwrap_or(LIMIT_MAX)))
    }

    fn number(&self, name: &str, least: u64, most: u64) -> Result<Option<u64>, Problem> {
        let Some(text) = self.text(name) else { return Ok(None) };
        // Digits only: `parse` alone would also take a sign, which a URL turns into a space elsewhere.
        let digits = text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse().ok().filter(|number| digits && (least..=most).contains(number));
        let wrong = || faults::bad(ErrorCode::BadField, format!("`{name}` must be a whole number, {least} to {most}"));
        number.map(Some).ok_or_else(wrong)
    }
}

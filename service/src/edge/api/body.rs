//! Bodies: read within a limit, checked like client frames, taken apart field by field, so that `msg` stays the bytes
//! that the caller wrote and every fault names its field.

use axum::extract::Request;
use axum::http::{HeaderMap, StatusCode, header};
use http_body_util::{BodyExt as _, LengthLimitError, Limited};
use serde::Deserialize;
use serde_json::value::RawValue;

use super::faults;
use crate::edge::problem::Problem;
use crate::edge::services::Services;
use crate::ids::NameError;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::json;

/// Room for the fields around `msg` or `data`, bytes.
const AROUND: usize = 4 * 1024;

/// The text of a JSON body; empty if there is none and `required` does not ask for it.
///
/// # Errors
/// 413 and 415 before anything is read where the headers tell already; 400 for what is not fit to be JSON.
pub(super) async fn read(services: &Services, request: Request, required: bool) -> Result<String, Problem> {
    let limits = &services.rules.limits;
    let most = limits.message_bytes + AROUND;
    let (parts, body) = request.into_parts();
    let length = declared_length(&parts.headers);
    if length.is_some_and(|length| length > most as u64) {
        return Err(too_large(most));
    }
    let typed = is_json(&parts.headers);
    if !typed && (required || parts.headers.contains_key(header::CONTENT_TYPE)) {
        return Err(not_json());
    }
    let bytes = match Limited::new(body, most).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(too_large(most)),
        Err(_) => return Err(faults::bad(ErrorCode::Malformed, "the body ended before it was complete")),
    };
    if !typed && !bytes.is_empty() {
        return Err(not_json());
    }
    let text =
        String::from_utf8(bytes.into()).map_err(|_| faults::bad(ErrorCode::Malformed, "the body is not UTF-8"))?;
    json::check(&text, limits.depth)
        .map_err(|fault| faults::bad(ErrorCode::Malformed, format!("the body is {fault}")))?;
    Ok(text)
}

fn declared_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(header::CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

fn is_json(headers: &HeaderMap) -> bool {
    let value = headers.get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok()).unwrap_or_default();
    let kind = value.split(';').next().unwrap_or_default();
    kind.trim().eq_ignore_ascii_case("application/json")
}

fn too_large(most: usize) -> Problem {
    faults::too_large(format!("the body may have at most {most} bytes"))
}

fn not_json() -> Problem {
    let detail = "send the body with `Content-Type: application/json`";
    Problem::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unsupported_media_type", detail)
}

/// The fields of a body. An array is not taken for them.
pub(super) fn fields<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Problem> {
    if !text.trim_start_matches([' ', '\t', '\r', '\n']).starts_with('{') {
        return Err(faults::bad(ErrorCode::Malformed, "the body must be one JSON object"));
    }
    serde_json::from_str(text)
        .map_err(|error| faults::bad(ErrorCode::Malformed, format!("the body is not a JSON object: {error}")))
}

/// `null` is a payload like any other, where `Option` alone would take it for absent.
pub(super) fn even_null<'de: 'a, 'a, D: serde::Deserializer<'de>>(from: D) -> Result<Option<&'a RawValue>, D::Error> {
    <&RawValue>::deserialize(from).map(Some)
}

/// The value of a field as `T`; absent and `null` are the same.
pub(super) fn value<'a, T: Deserialize<'a>>(
    field: &str,
    raw: Option<&'a RawValue>,
    what: &str,
) -> Result<Option<T>, Problem> {
    let Some(raw) = raw.filter(|raw| raw.get() != "null") else { return Ok(None) };
    let wrong = |_| faults::bad(ErrorCode::BadField, format!("`{field}` must be {what}"));
    serde_json::from_str(raw.get()).map(Some).map_err(wrong)
}

/// A field that must not be absent.
pub(super) fn required<T>(field: &str, value: Option<T>) -> Result<T, Problem> {
    value.ok_or_else(|| faults::bad(ErrorCode::BadField, format!("`{field}` is missing")))
}

/// A name or key.
pub(super) fn name<T>(
    field: &str,
    raw: Option<&RawValue>,
    parse: fn(&str) -> Result<T, NameError>,
) -> Result<Option<T>, Problem> {
    let text: Option<String> = value(field, raw, "a string")?;
    let parsed = text.map(|text| parse(&text)).transpose();
    parsed.map_err(|error| faults::bad(ErrorCode::BadName, format!("`{field}`: {error}")))
}

/// A `msg` or `data`: any JSON value up to the limit of messages.
pub(super) fn payload<'a>(
    services: &Services,
    field: &str,
    raw: Option<&'a RawValue>,
) -> Result<&'a RawValue, Problem> {
    let raw = required(field, raw)?;
    let (size, most) = (raw.get().len(), services.rules.limits.message_bytes);
    if size > most {
        return Err(faults::too_large(format!("`{field}` has {size} bytes, at most {most} are allowed")));
    }
    Ok(raw)
}

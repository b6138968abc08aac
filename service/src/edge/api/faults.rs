//! The problems of the server API: how faults become statuses, and which of them the OpenAPI document lists where.

use std::collections::BTreeMap;

use axum::http::StatusCode;
use utoipa::openapi::response::{Response, ResponseBuilder};
use utoipa::openapi::{Content, Ref, RefOr};
use utoipa::{IntoResponses, ToSchema};

use crate::backplane::{PublishError, Unavailable};
use crate::edge::problem::Problem;
use crate::protocol::error_code::ErrorCode;

/// What a caller should wait, in seconds, before it asks again for what is unavailable.
const RETRY_SECONDS: u32 = 2;

/// The API has no key, so nobody may use it.
pub(super) fn off() -> Problem {
    let detail = "the server API is off; set PARLEY_API_KEY on every instance to switch it on";
    Problem::new(StatusCode::NOT_FOUND, ErrorCode::NotFound.as_str(), detail)
}

/// A field, parameter or path of the request is wrong.
pub(super) fn bad(code: ErrorCode, detail: impl Into<String>) -> Problem {
    Problem::new(StatusCode::BAD_REQUEST, code.as_str(), detail)
}

/// `msg`, `data` or the whole body is too large.
pub(super) fn too_large(detail: String) -> Problem {
    Problem::new(StatusCode::PAYLOAD_TOO_LARGE, ErrorCode::MessageTooLarge.as_str(), detail)
}

/// Certainly not done. The reason is for the log of whoever handled it, not for the caller.
pub(super) fn unavailable(error: &Unavailable) -> Problem {
    tracing::debug!(%error, "the server API could not be served");
    let detail = "the backplane cannot be reached: certainly not done, try again";
    Problem::new(StatusCode::SERVICE_UNAVAILABLE, ErrorCode::Unavailable.as_str(), detail).retry_after(RETRY_SECONDS)
}

/// Perhaps done.
pub(super) fn outcome_unknown(detail: &'static str) -> Problem {
    Problem::new(StatusCode::GATEWAY_TIMEOUT, ErrorCode::OutcomeUnknown.as_str(), detail)
}

/// A publish without a position.
pub(super) fn publish(error: &PublishError, key: Option<&str>) -> Problem {
    match (error, key) {
        (PublishError::Unavailable(error), _) => unavailable(error),
        (PublishError::OutcomeUnknown(_), Some(key)) => {
            outcome_unknown("perhaps stored: repeat it with this `key`, which is safe for five minutes").key(key)
        }
        (PublishError::OutcomeUnknown(_), None) => {
            outcome_unknown("perhaps stored: a repeat may store it twice; with a `key` of your own it never does")
        }
    }
}

/// An order that may not have reached the instances.
pub(super) fn order(error: &PublishError) -> Problem {
    match error {
        PublishError::Unavailable(error) => unavailable(error),
        PublishError::OutcomeUnknown(_) => outcome_unknown("perhaps sent: give the order again, which is safe"),
    }
}

fn listed(rows: &[(u16, &str)]) -> BTreeMap<String, RefOr<Response>> {
    let schema = Ref::from_schema_name(Problem::name());
    let row = |(status, description): &(u16, &str)| {
        let content = Content::new(Some(schema.clone()));
        let response = ResponseBuilder::new().description(*description).content("application/problem+json", content);
        (status.to_string(), RefOr::T(response.build()))
    };
    rows.iter().map(row).collect()
}

macro_rules! problems {
    ($($(#[$doc:meta])* $group:ident: $($status:literal $description:literal),+;)+) => {$(
        $(#[$doc])*
        pub(super) struct $group;

        impl IntoResponses for $group {
            fn responses() -> BTreeMap<String, RefOr<Response>> {
                listed(&[$(($status, $description)),+])
            }
        }
    )+};
}

problems! {
    /// Of every endpoint with a key.
    Always:
        401 "`unauthenticated`: the key is missing or wrong",
        404 "`not_found`: the API is off, or there is no such path",
        408 "`timeout`: the request took longer than 15 s, its body included",
        503 "`unavailable`: certainly not done; try again after `Retry-After` seconds";
    /// Of those with a name or a query parameter, but no body.
    Named:
        400 "`bad_name`: a name breaks the rules of names; `bad_field`: a query parameter is unknown, given twice or out of range";
    /// Of those with a body.
    WithBody:
        400 "`bad_name`: a name or key breaks the rules of names; `bad_field`: a field is missing, of the wrong type or out of range; `malformed`: the body is not a JSON object, nested deeper than 64 levels, or holds a lone surrogate",
        413 "`message_too_large`: `msg` or `data` is over PARLEY_MAX_MESSAGE_BYTES, or the body more than 4 KiB over it",
        415 "`unsupported_media_type`: the body is not declared as application/json";
    /// Of publishing.
    Publishing:
        504 "`outcome_unknown`: perhaps stored; repeat it with the `key` of the problem, which is safe";
    /// Of orders.
    Ordering:
        504 "`outcome_unknown`: perhaps done; repeat it, which is safe";
    /// Of reading a log.
    Reading:
        410 "`gap`: the log cannot go on from `epoch` and `after` without loss; the problem says where it can";
}

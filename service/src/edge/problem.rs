//! Errors over HTTP: RFC 9457 problem documents, with the same codes as `error` frames.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;

use crate::message::Epoch;

/// What went wrong, for a person and for a program.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, ToSchema)]
pub struct Problem {
    /// The HTTP status once more.
    pub status: u16,
    /// The short name of the status.
    pub title: &'static str,
    /// One sentence: what is wrong and what would be right.
    pub detail: String,
    /// A word to switch on, from a closed list.
    pub code: &'static str,
    /// `outcome_unknown` of a publish: the key to repeat it with.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false)]
    key: Option<Box<str>>,
    /// `gap`: the present epoch of the log.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, nullable = false)]
    epoch: Option<Epoch>,
    /// `gap`: the offset of the oldest message that is there, or else of the next one that will be.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(nullable = false, minimum = 1)]
    oldest: Option<u64>,
    #[serde(skip)]
    retry_after: Option<u32>,
}

impl Problem {
    /// A problem with a status and a word.
    #[must_use]
    pub fn new(status: StatusCode, code: &'static str, detail: impl Into<String>) -> Self {
        let title = status.canonical_reason().unwrap_or("Error");
        Self {
            status: status.as_u16(),
            title,
            detail: detail.into(),
            code,
            key: None,
            epoch: None,
            oldest: None,
            retry_after: None,
        }
    }

    /// The key with which a publish of unknown outcome can be repeated.
    #[must_use]
    pub fn key(mut self, key: &str) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Where a log can go on after a gap: its present epoch and its oldest offset.
    #[must_use]
    pub fn gap(mut self, epoch: Epoch, oldest: u64) -> Self {
        (self.epoch, self.oldest) = (Some(epoch), Some(oldest));
        self
    }

    /// When to come again, in seconds.
    #[must_use]
    pub fn retry_after(mut self, seconds: u32) -> Self {
        self.retry_after = Some(seconds);
        self
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let mut response = (status, body).into_response();
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/problem+json"));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if let Some(seconds) = self.retry_after {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        response
    }
}

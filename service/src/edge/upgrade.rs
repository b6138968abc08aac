//! `GET /ws`: decides whether a request becomes a connection, does the handshake of RFC 6455 section 4.2 and hands the
//! bare socket to its connection. A plain GET is answered too, for browsers that cannot see why an upgrade failed.

use std::sync::Arc;
use std::time::Duration;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method, Response, StatusCode, header};
use axum::response::IntoResponse;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;

use super::connection::Connection;
use super::problem::Problem;
use super::services::Services;
use crate::auth::{AuthError, Credentials};
use crate::clock::Clock as _;
use crate::drain::Health;
use crate::ids::RoomName;
use crate::protocol::error_code::ErrorCode;
use crate::protocol::limits::URL_ROOMS_MAX;
use crate::rights::Grant;

/// How long the socket may take to become ours after the answer was written.
const UPGRADE_WAIT: Duration = Duration::from_secs(10);
/// What a client should wait at least when the instance has no place for it.
const RETRY_SECONDS: u32 = 2;

/// The word for a page that may not connect.
const ORIGIN_REFUSED: &str = "origin_not_allowed";

/// A socket after its upgrade: the bare one, or whatever hyper has when it is not a plain TCP connection.
pub trait Socket: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Socket for S {}

/// Answers `/ws`.
pub async fn ws(State(services): State<Arc<Services>>, request: Request) -> Response<Body> {
    let started = services.clock.now().mono;
    let (parts, _) = request.into_parts();
    let origin = parts.headers.get(header::ORIGIN).cloned();
    match admit(&services, parts).await {
        Ok(Welcomed { accept, upgrade, admitted, grant, rooms }) => {
            let task = {
                let services = Arc::clone(&services);
                async move {
                    let upgraded = tokio::time::timeout(UPGRADE_WAIT, upgrade).await;
                    let Ok(Ok(upgraded)) = upgraded else { return };
                    let edge = &services.metrics.edge;
                    edge.connections.inc();
                    edge.handshake.0.observe(services.clock.now().mono.since(started).as_secs_f64());
                    let tracker = services.connections.clone();
                    // The connection is a task of its own, as small as it can be: this one is wide and ends here. The
                    // buffer that hyper read the request into is dropped with it.
                    match into_socket(upgraded) {
                        Ok((stream, early)) => {
                            let connection = Connection::new(stream, &early, services, admitted, grant, rooms);
                            tracker.spawn(connection);
                        }
                        Err(upgraded) => {
                            let stream: Box<dyn Socket> = Box::new(TokioIo::new(upgraded));
                            let connection = Connection::new(stream, &[], services, admitted, grant, rooms);
                            tracker.spawn(connection);
                        }
                    }
                }
            };
            services.connections.spawn(task);
            switching(&accept)
        }
        Err(problem) => {
            let upgrade_required = problem.status == StatusCode::UPGRADE_REQUIRED.as_u16();
            if !upgrade_required {
                services.metrics.edge.refused.get_or_create(&[("reason", problem.code)]).inc();
                tracing::debug!(reason = problem.code, "connection refused");
            }
            let readable = problem.code != ORIGIN_REFUSED;
            let mut response = problem.into_response();
            let headers = response.headers_mut();
            if upgrade_required {
                headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
                headers.insert(header::SEC_WEBSOCKET_VERSION, HeaderValue::from_static("13"));
            }
            // A page whose origin may connect may also read why it could not.
            if let Some(origin) = origin.filter(|_| readable) {
                headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin);
                headers.insert(header::VARY, HeaderValue::from_static("origin"));
                headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, HeaderValue::from_static("retry-after"));
            }
            response
        }
    }
}

/// A request that becomes a connection.
struct Welcomed {
    accept: String,
    upgrade: OnUpgrade,
    admitted: super::admission::Admitted,
    grant: Option<Grant>,
    rooms: Vec<RoomName>,
}

/// The bare socket and what came with the request, if it is a plain TCP connection.
///
/// # Errors
/// Gives the upgraded connection back when it is not.
pub fn into_socket(upgraded: Upgraded) -> Result<(TcpStream, Vec<u8>), Upgraded> {
    let parts = upgraded.downcast::<TokioIo<TcpStream>>()?;
    Ok((parts.io.into_inner(), parts.read_buf.to_vec()))
}

/// The answer that turns the connection into a WebSocket.
#[must_use]
pub fn switching(accept: &str) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
    if let Ok(accept) = HeaderValue::from_str(accept) {
        headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept);
    }
    response
}

/// The handshake of a request: what to answer and how to get the connection.
///
/// # Errors
/// 426 when it is none, 400 when it is a wrong one.
pub fn handshake(parts: &mut Parts) -> Result<(String, OnUpgrade), Problem> {
    let has = |name: header::HeaderName, word: &str| {
        let values = parts.headers.get_all(name).iter().filter_map(|value| value.to_str().ok());
        values.flat_map(|value| value.split(',')).any(|part| part.trim().eq_ignore_ascii_case(word))
    };
    let version = parts.headers.get(header::SEC_WEBSOCKET_VERSION).map(HeaderValue::as_bytes);
    let wanted = has(header::CONNECTION, "upgrade") && has(header::UPGRADE, "websocket");
    if parts.method != Method::GET || !wanted || version != Some(b"13") {
        return Err(Problem::new(
            StatusCode::UPGRADE_REQUIRED,
            "upgrade_required",
            "this is a WebSocket endpoint (RFC 6455, version 13): connect with a WebSocket client",
        ));
    }
    let malformed = |detail| Problem::new(StatusCode::BAD_REQUEST, ErrorCode::Malformed.as_str(), detail);
    let mut keys = parts.headers.get_all(header::SEC_WEBSOCKET_KEY).iter().map(HeaderValue::as_bytes);
    let key = keys.next().filter(|key| is_handshake_key(key) && keys.next().is_none());
    let key = key.ok_or_else(|| malformed("exactly one Sec-WebSocket-Key is needed, 16 bytes in base64"))?;
    let accept = tungstenite::handshake::derive_accept_key(key);
    let upgrade = parts.extensions.remove::<OnUpgrade>();
    Ok((accept, upgrade.ok_or_else(|| malformed("this connection cannot be upgraded"))?))
}

/// 16 bytes in base64 are 22 letters of its alphabet and `==`.
fn is_handshake_key(key: &[u8]) -> bool {
    let letter = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/');
    key.strip_suffix(b"==").is_some_and(|letters| letters.len() == 22 && letters.iter().all(letter))
}

async fn admit(services: &Services, mut parts: Parts) -> Result<Welcomed, Problem> {
    let busy =
        |code, detail: &str| Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, detail).retry_after(RETRY_SECONDS);
    match services.drain.health() {
        Health::Ok | Health::Leaving => {}
        Health::Draining => return Err(busy("draining", "this instance is shutting down, connect to another one")),
        Health::Unready => return Err(busy("unready", "this instance cannot deliver messages now, try again")),
    }
    // A header that is there but is no text, or is there twice, is no origin that could be allowed.
    let text = |name| {
        let mut values = parts.headers.get_all(name).iter();
        let first = values.next()?;
        Some(if values.next().is_some() { "" } else { first.to_str().unwrap_or_default() })
    };
    if !services.origins.allows(text(header::ORIGIN), text(header::HOST)) {
        return Err(Problem::new(
            StatusCode::FORBIDDEN,
            ORIGIN_REFUSED,
            "pages of this origin may not connect; see PARLEY_ALLOWED_ORIGINS",
        ));
    }
    let full =
        |refused: super::admission::Refused| busy(refused.reason(), "no place for another connection now, try again");
    let now = services.clock.now().mono;
    // Before any signature is checked, so that refusing costs little. A plain GET, which asks whether it is worth trying
    // again, takes no place, but is told when there is none.
    services.admission.check(now).map_err(full)?;
    let query = Query::parse(parts.uri.query().unwrap_or_default())?;
    let grant = match query.credentials(bearer(&parts.headers)) {
        Some(credentials) => Some(services.auth.authenticate(credentials).await.map_err(refused)?),
        None => None,
    };
    let (accept, upgrade) = handshake(&mut parts)?;
    let admitted = services.admission.admit(now).map_err(full)?;
    Ok(Welcomed { accept, upgrade, admitted, grant, rooms: query.rooms })
}

fn refused(error: AuthError) -> Problem {
    let code = ErrorCode::Unauthenticated.as_str();
    match error {
        AuthError::Refused(_) | AuthError::Expired => Problem::new(StatusCode::UNAUTHORIZED, code, error.to_string()),
        AuthError::Banned => Problem::new(StatusCode::FORBIDDEN, "banned", error.to_string()),
        AuthError::Unavailable => {
            let code = ErrorCode::Unavailable.as_str();
            Problem::new(StatusCode::SERVICE_UNAVAILABLE, code, error.to_string()).retry_after(RETRY_SECONDS)
        }
    }
}

/// The token of an `Authorization: Bearer` header.
pub(super) fn bearer(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

#[derive(Debug, Default)]
struct Query {
    user: Option<String>,
    token: Option<String>,
    rooms: Vec<RoomName>,
}

impl Query {
    fn parse(text: &str) -> Result<Self, Problem> {
        let malformed = |detail: String| Problem::new(StatusCode::BAD_REQUEST, ErrorCode::BadName.as_str(), detail);
        let pairs: Vec<(String, String)> = axum::extract::Query::try_from_uri(
            &format!("/?{text}").parse().map_err(|_| malformed("the query is not a URL query".to_owned()))?,
        )
        .map_err(|error| malformed(format!("the query cannot be read: {error}")))?
        .0;
        let mut query = Self::default();
        for (name, value) in pairs {
            match name.as_str() {
                "user" => query.user = Some(value),
                "token" => query.token = Some(value),
                "room" => {
                    let room = RoomName::parse(&value).map_err(|error| malformed(format!("`room`: {error}")))?;
                    if query.rooms.len() == URL_ROOMS_MAX {
                        return Err(malformed(format!("at most {URL_ROOMS_MAX} rooms in the URL: join the others")));
                    }
                    if !query.rooms.contains(&room) {
                        query.rooms.push(room);
                    }
                }
                _ => {}
            }
        }
        Ok(query)
    }

    /// The header beats the URL, a token beats a name.
    fn credentials<'a>(&'a self, bearer: Option<&'a str>) -> Option<Credentials<'a>> {
        let token = bearer.or(self.token.as_deref());
        token.map(Credentials::Token).or(self.user.as_deref().map(Credentials::User))
    }
}

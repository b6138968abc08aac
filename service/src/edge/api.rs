//! The server API for back ends, under `/api/v1`: publish, read, who is where, moderation. Here are its routes and its
//! OpenAPI document, which is made from the handlers. It decides nothing about rooms: it asks the same ports that
//! sessions do, with all rights.

mod body;
mod cluster;
mod faults;
mod gate;
mod messages;
mod names;
mod orders;
mod pages;
mod query;
mod signals;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{MethodRouter, delete, get, post, put};
use axum::{Router, middleware};
use utoipa::openapi::security::{HttpAuthScheme, HttpBuilder, SecurityScheme};
use utoipa::{Modify, OpenApi};

use super::problem::Problem;
use super::services::Services;
use crate::protocol::error_code::ErrorCode;

/// Where the public router mounts the API.
pub const MOUNT: &str = "/api/v1";

/// Every route. The paths are those of the document; a test compares the two.
fn routes() -> [(&'static str, MethodRouter<Arc<Services>>); 10] {
    [
        ("/rooms", get(cluster::rooms)),
        ("/rooms/{room}/messages", get(pages::room).post(messages::to_room)),
        ("/rooms/{room}/signals", post(signals::to_room)),
        ("/rooms/{room}/presence", get(cluster::presence)),
        ("/rooms/{room}/members/{user}", delete(orders::kick)),
        ("/users/{user}/messages", get(pages::user).post(messages::to_user)),
        ("/users/{user}/signals", post(signals::to_user)),
        ("/users/{user}/disconnect", post(orders::disconnect)),
        ("/users/{user}/ban", put(orders::ban).delete(orders::unban)),
        ("/instances", get(cluster::instances)),
    ]
}

/// All routes of the API, to be nested at [`MOUNT`].
pub fn router(services: &Arc<Services>) -> Router<Arc<Services>> {
    let keyed = routes().into_iter().fold(Router::new(), |router, (path, methods)| router.route(path, methods));
    keyed
        .fallback(not_found)
        .method_not_allowed_fallback(method_not_allowed)
        .layer(middleware::from_fn_with_state(Arc::clone(services), gate::check_key))
        .route(DOCUMENT, get(openapi).fallback(method_not_allowed))
        .layer(middleware::from_fn_with_state(Arc::clone(services), gate::count))
}

/// Where the document is served.
const DOCUMENT: &str = "/openapi.json";

/// Needs no key, so that tools can read it: it tells nothing that is not in the public source. With the API switched
/// off it is not there either.
async fn openapi(State(services): State<Arc<Services>>) -> Result<Response, Problem> {
    if services.api_key.is_none() {
        return Err(faults::off());
    }
    Ok(([(header::CONTENT_TYPE, "application/json")], document()).into_response())
}

async fn not_found() -> Problem {
    let detail = format!("the server API has no such path; {MOUNT}{DOCUMENT} describes it");
    Problem::new(StatusCode::NOT_FOUND, ErrorCode::NotFound.as_str(), detail)
}

async fn method_not_allowed() -> Problem {
    let detail = "this path does not know that method; the header `Allow` lists those that it knows";
    Problem::new(StatusCode::METHOD_NOT_ALLOWED, "method_not_allowed", detail)
}

/// The OpenAPI document: indented JSON with a final line feed.
#[must_use]
pub fn document() -> String {
    let mut text = description().to_pretty_json().expect("a description has string keys and nothing that fails");
    text.push('\n');
    text
}

fn description() -> utoipa::openapi::OpenApi {
    Description::openapi()
}

#[derive(OpenApi)]
#[openapi(
    info(
        title = "Parley server API",
        version = "1",
        description = "For back ends: publish, read, moderate. It is on once PARLEY_API_KEY is set; until then every path \
                       answers 404.\n\nNames of rooms and users stand percent-encoded in paths: 1 to 128 bytes without \
                       control characters, not starting with @. Bodies are JSON objects; unknown fields in them are \
                       ignored, unknown query parameters of GET are refused. Every error is a problem document (RFC 9457) whose \
                       `code` is a word to switch on. Any path answers 401 without the right key, 404 when it is none of \
                       these, and 405 to other methods.",
        license(name = "Apache-2.0", identifier = "Apache-2.0")
    ),
    servers((url = "/api/v1")),
    paths(
        cluster::rooms,
        pages::room,
        messages::to_room,
        signals::to_room,
        cluster::presence,
        orders::kick,
        pages::user,
        messages::to_user,
        signals::to_user,
        orders::disconnect,
        orders::ban,
        orders::unban,
        cluster::instances,
    ),
    components(schemas(Problem, names::Name)),
    security(("key" = [])),
    modifiers(&Key),
    tags(
        (name = "messages", description = "What rooms and inboxes hold"),
        (name = "moderation", description = "Orders to the sessions of all instances"),
        (name = "cluster", description = "What there is, and who is where"),
    ),
)]
struct Description;

/// Adds how the key is sent.
struct Key;

impl Modify for Key {
    fn modify(&self, document: &mut utoipa::openapi::OpenApi) {
        let scheme = HttpBuilder::new().scheme(HttpAuthScheme::Bearer).description(Some("The value of PARLEY_API_KEY"));
        let components = document.components.get_or_insert_default();
        components.add_security_scheme("key", SecurityScheme::Http(scheme.build()));
    }
}

//! The web client: the files of `web/dist`, embedded in the binary, with what browsers should know about them. It does not
//! build them; `service/web/README.md` says how that is done.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::io::Write as _;
use std::sync::{LazyLock, OnceLock};

use axum::body::Body;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use rust_embed::RustEmbed;
use sha2::{Digest as _, Sha256};

use super::problem::Problem;

/// The script and the style of the page, known by their hashes, and nothing else: what somebody writes into a message can
/// neither run nor call home. Trusted types forbid even our own script to turn text into markup.
static CONTENT_SECURITY_POLICY: LazyLock<HeaderValue> = LazyLock::new(|| {
    let page = ASSETS.get(PAGE).map(|asset| String::from_utf8_lossy(&asset.bytes)).unwrap_or_default();
    let policy = format!(
        "default-src 'none'; script-src {}; style-src {}; img-src 'self'; connect-src 'self'; base-uri 'none'; \
         form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; trusted-types 'none'",
        source(&page, "<script type=\"module\">", "</script>"),
        source(&page, "<style>", "</style>"),
    );
    HeaderValue::from_str(&policy).unwrap_or(HeaderValue::from_static("default-src 'none'"))
});

/// How a policy names what stands between two tags.
fn source(page: &str, open: &str, close: &str) -> String {
    let inside = page.split_once(open).and_then(|(_, rest)| rest.split_once(close));
    inside.map_or("'none'".to_owned(), |(text, _)| format!("'sha256-{}'", BASE64_STANDARD.encode(Sha256::digest(text))))
}

/// With every file, whatever its type.
const HEADERS: [(HeaderName, &str); 4] = [
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "no-referrer"),
    (HeaderName::from_static("cross-origin-opener-policy"), "same-origin"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
];

/// Has all in it that it needs: while versions change, the next request may reach an instance of another one.
const PAGE: &str = "index.html";
/// Kept by the browser, and asked about every time.
const ASK: &str = "no-cache";

#[derive(RustEmbed)]
#[folder = "web/dist"]
struct Dist;

/// One file, and the answer to a request for it.
struct Asset {
    bytes: Bytes,
    content_type: &'static str,
    /// The beginning of the SHA-256 of the file, in hexadecimal.
    hash: String,
    gzip: OnceLock<Bytes>,
}

static ASSETS: LazyLock<BTreeMap<String, Asset>> = LazyLock::new(|| {
    let asset = |path: &str| {
        let file = Dist::get(path)?;
        let bytes = match file.data {
            Cow::Borrowed(bytes) => Bytes::from_static(bytes),
            Cow::Owned(bytes) => Bytes::from(bytes),
        };
        let hash = file.metadata.sha256_hash().iter().take(12).map(|byte| format!("{byte:02x}")).collect();
        Some(Asset { bytes, content_type: content_type(path), hash, gzip: OnceLock::new() })
    };
    Dist::iter().filter_map(|path| Some((path.to_string(), asset(&path)?))).collect()
});

/// Answers `/`.
pub(super) async fn page(headers: HeaderMap) -> Response {
    answer(PAGE, &headers)
}

/// Answers `/icon.svg`.
pub(super) async fn icon(headers: HeaderMap) -> Response {
    answer("icon.svg", &headers)
}

/// Answers `/licenses.md`: who wrote the libraries in the bundle.
pub(super) async fn licenses(headers: HeaderMap) -> Response {
    answer("licenses.md", &headers)
}

fn answer(path: &str, request: &HeaderMap) -> Response {
    match ASSETS.get(path) {
        Some(asset) => asset.answer(request),
        None => {
            Problem::new(StatusCode::NOT_FOUND, "not_found", "there is no such file; the page is at /").into_response()
        }
    }
}

impl Asset {
    fn answer(&self, request: &HeaderMap) -> Response {
        let gzip = accepts_gzip(request);
        let tag = if gzip { format!("\"{}-gzip\"", self.hash) } else { format!("\"{}\"", self.hash) };
        let mut response = if is_known(request, &self.hash) {
            StatusCode::NOT_MODIFIED.into_response()
        } else if gzip {
            let mut response = Body::from(self.compressed()).into_response();
            response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
            response
        } else {
            Body::from(self.bytes.clone()).into_response()
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.content_type));
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static(ASK));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        headers.insert(header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY.clone());
        headers.extend(HEADERS.map(|(name, value)| (name, HeaderValue::from_static(value))));
        response
    }

    /// The file in gzip. Some ten milliseconds for the first who asks, and nothing for the others.
    fn compressed(&self) -> Bytes {
        let compress = || {
            let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
            // Writing into memory does not fail; were it to, the file would be sent as empty and the page be broken.
            encoder.write_all(&self.bytes).and_then(|()| encoder.finish()).map(Bytes::from).unwrap_or_default()
        };
        self.gzip.get_or_init(compress).clone()
    }
}

/// Whether the browser has the file already, in either form.
fn is_known(request: &HeaderMap, hash: &str) -> bool {
    let values = request.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|tag| {
        let tag = tag.trim().trim_start_matches("W/").trim_matches('"');
        tag == "*" || tag.strip_suffix("-gzip").unwrap_or(tag) == hash
    })
}

/// Whether gzip is among the codings that the browser names, and not with a weight of zero.
fn accepts_gzip(request: &HeaderMap) -> bool {
    let values = request.get_all(header::ACCEPT_ENCODING).iter().filter_map(|value| value.to_str().ok());
    values.flat_map(|value| value.split(',')).any(|coding| {
        let mut parts = coding.split(';').map(str::trim);
        let named = parts.next().is_some_and(|name| name.eq_ignore_ascii_case("gzip"));
        let weight = parts.find_map(|part| part.strip_prefix("q=")).and_then(|weight| weight.parse::<f32>().ok());
        named && weight.is_none_or(|weight| weight > 0.0)
    })
}

/// The type by the end of the name; what is not in the list is sent as bytes, which no browser runs.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map(|(_, end)| end) {
        Some("html") => "text/html; charset=utf-8",
        Some("md") => "text/plain; charset=utf-8",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(pairs: &[(HeaderName, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), HeaderValue::from_static(value))).collect()
    }

    fn header(response: &Response, name: HeaderName) -> &str {
        response.headers().get(name).map_or("", |value| value.to_str().unwrap())
    }

    #[test]
    fn every_embedded_file_has_a_type_and_the_page_is_among_them() {
        assert!(ASSETS.contains_key(PAGE), "build the web client: service/web/README.md");
        for (path, asset) in ASSETS.iter() {
            assert_ne!(asset.content_type, "application/octet-stream", "{path}: give it a line in `content_type`");
            assert!(!asset.bytes.is_empty(), "{path}");
        }
    }

    #[test]
    fn the_page_needs_no_other_file_and_its_policy_knows_what_is_in_it() {
        let page = std::str::from_utf8(&ASSETS[PAGE].bytes).unwrap();
        let tags: Vec<&str> = page.split('<').filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag).collect();
        let of = |name: &str| tags.iter().filter(|tag| tag.split(' ').next() == Some(name)).count();
        // What stands in the script as text is no tag, but begins like one.
        assert_eq!((of("/script"), of("style"), of("/style"), of("link")), (1, 1, 1, 1), "and the link is the icon");
        assert!(page.contains("<link rel=\"icon\" type=\"image/svg+xml\" href=\"./icon.svg\""));
        assert!(ASSETS.contains_key("icon.svg"));
        let policy = CONTENT_SECURITY_POLICY.to_str().unwrap();
        let sources = policy.split(';').filter_map(|rule| rule.trim().split_once("-src 'sha256-"));
        assert_eq!(sources.map(|(what, _)| what).collect::<Vec<_>>(), ["script", "style"], "{policy}");
    }

    #[test]
    fn what_is_allowed_is_named_by_its_hash_and_what_is_not_there_is_not_allowed() {
        // As `openssl dgst -sha256 -binary | base64` tells it.
        let expected = "'sha256-ungWv48Bz+pBQUDeXa4iI7ADYaOWF3qctBD/YfIAFa0='";
        assert_eq!(source("<p><b>abc</b>", "<b>", "</b>"), expected);
        assert_eq!((source("<b>abc", "<b>", "</b>"), source("", "<b>", "</b>")), ("'none'".into(), "'none'".into()));
    }

    #[test]
    fn the_browser_asks_about_every_file() {
        for (path, asset) in ASSETS.iter() {
            assert_eq!(header(&asset.answer(&HeaderMap::new()), header::CACHE_CONTROL), "no-cache", "{path}");
        }
    }

    #[test]
    fn a_known_file_is_not_sent_again() {
        let page = &ASSETS[PAGE];
        for accept in ["", "gzip, br"] {
            let first = page.answer(&request(&[(header::ACCEPT_ENCODING, accept)]));
            let tag = first.headers()[header::ETAG].clone();
            for (tag, status) in [(tag, 304), (HeaderValue::from_static("\"other\", W/\"another\""), 200)] {
                let mut again = HeaderMap::new();
                again.insert(header::IF_NONE_MATCH, tag);
                let response = page.answer(&again);
                assert_eq!(response.status(), status, "{accept}");
                assert_eq!(response.headers()[header::CONTENT_SECURITY_POLICY], *CONTENT_SECURITY_POLICY);
            }
        }
    }

    #[test]
    fn gzip_is_sent_to_whom_takes_it_under_a_tag_of_its_own() {
        let page = &ASSETS[PAGE];
        let rows = [("gzip", true), ("br, GZIP;q=0.5", true), ("br", false), ("gzip;q=0", false), ("", false)];
        for (accept, expected) in rows {
            let response = page.answer(&request(&[(header::ACCEPT_ENCODING, accept)]));
            assert_eq!(header(&response, header::CONTENT_ENCODING) == "gzip", expected, "{accept}");
            assert_eq!(header(&response, header::ETAG).ends_with("-gzip\""), expected, "{accept}");
        }
        assert_eq!(page.compressed()[..2], [0x1f, 0x8b]);
    }
}

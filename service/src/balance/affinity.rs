//! The affinity cookie: read from a request, written into an answer. Pure text; what it means is the pool's business.

use hyper::HeaderMap;
use hyper::header::{COOKIE, HeaderValue, SET_COOKIE};

/// What the client's cookie of this name holds. The first one counts, as the one with the longest path comes first.
pub(super) fn route<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(COOKIE).iter().filter_map(|value| value.to_str().ok());
    let mut pairs = lines.flat_map(|line| line.split(';')).filter_map(|pair| pair.trim().split_once('='));
    pairs.find(|(other, _)| *other == name).map(|(_, route)| route.trim_matches('"'))
}

/// Lets the client come back. Without `HttpOnly`, because a script must be able to drop it when it is told to reconnect
/// elsewhere; it ends with the browser.
pub(super) fn set(headers: &mut HeaderMap, name: &str, route: &str) {
    if let Ok(value) = HeaderValue::from_str(&format!("{name}={route}; Path=/; SameSite=Lax")) {
        headers.append(SET_COOKIE, value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        lines.iter().map(|line| (COOKIE, HeaderValue::from_static(line))).collect()
    }

    #[test]
    fn it_is_found_among_others_by_its_whole_name() {
        let headers = headers(&["a=1; xroute=no; route=abc", "route=second"]);
        assert_eq!(route(&headers, "route"), Some("abc"));
        assert_eq!(route(&headers, "rout"), None);
        assert_eq!(route(&HeaderMap::new(), "route"), None);
    }

    #[test]
    fn what_is_set_can_be_read_back_and_by_scripts() {
        let mut answer = HeaderMap::new();
        set(&mut answer, "route", "00ff");
        let line = answer[SET_COOKIE].to_str().unwrap();
        assert_eq!(line, "route=00ff; Path=/; SameSite=Lax");
        assert!(!line.to_ascii_lowercase().contains("httponly"));
    }
}

//! What browsers of other origins may do.

use std::net::IpAddr;
use std::time::Duration;

use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tower_http::cors::{AllowOrigin, CorsLayer};

use super::observe::REQUEST_ID;

/// How long a browser may remember the answer to a preflight.
const MAX_AGE: Duration = Duration::from_secs(3_600);

/// Headers of a signed upload, which a browser sends to the embedded object store on this very origin.
const UPLOAD_HEADERS: [&str; 3] =
    ["x-amz-checksum-sha256", "x-amz-meta-parley-group", "x-amz-meta-parley-uploader"];

/// CORS for exactly these origins. No credentials: tokens travel in a header, never in a cookie.
pub fn cors(origins: &[String]) -> CorsLayer {
    // A `*` would be no origin but all of them, and is refused by the layer's list with a panic.
    let listed = origins.iter().filter(|origin| origin.as_str() != "*");
    let listed: Vec<HeaderValue> = listed.filter_map(|origin| HeaderValue::from_str(origin).ok()).collect();
    let idempotency_key = HeaderName::from_static("idempotency-key");
    let allowed =
        [header::AUTHORIZATION, header::CONTENT_TYPE, header::IF_NONE_MATCH, idempotency_key, REQUEST_ID];
    let allowed = allowed.into_iter().chain(UPLOAD_HEADERS.map(HeaderName::from_static));
    CorsLayer::new()
        .allow_origin(AllowOrigin::list(listed))
        .allow_methods([Method::GET, Method::POST, Method::PUT, Method::PATCH, Method::DELETE])
        .allow_headers(allowed.collect::<Vec<_>>())
        .expose_headers([header::RETRY_AFTER, REQUEST_ID])
        .max_age(MAX_AGE)
}

/// Whether a request comes from a page that this server itself served on this machine, or from no page at all: `Host`
/// names a loopback address, so that no foreign name that was made to resolve to it will do, and `Origin`, if there is
/// one, is the same.
#[must_use]
pub fn is_own_page(headers: &HeaderMap) -> bool {
    let mut hosts = headers.get_all(header::HOST).iter();
    let (Some(host), None) = (hosts.next(), hosts.next()) else { return false };
    let Ok(host) = host.to_str() else { return false };
    let is_same = |origin: &HeaderValue| {
        let origin = origin.to_str().ok().and_then(|origin| origin.strip_prefix("http://"));
        origin.is_some_and(|origin| origin.eq_ignore_ascii_case(host))
    };
    is_loopback(host) && headers.get_all(header::ORIGIN).iter().all(is_same)
}

/// Whether `NAME` or `NAME:PORT` can only be this machine.
fn is_loopback(host: &str) -> bool {
    let name = match host.strip_prefix('[').and_then(|rest| rest.split_once(']')) {
        Some((name, _)) => name,
        None => host.rsplit_once(':').map_or(host, |(name, _)| name),
    };
    name.eq_ignore_ascii_case("localhost")
        || name.parse::<IpAddr>().is_ok_and(|address| address.is_loopback())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_page_from_here_is_our_own() {
        let ours = |host: &str, origin: Option<&str>| {
            let mut headers = HeaderMap::new();
            headers.insert(header::HOST, HeaderValue::from_str(host).unwrap());
            if let Some(origin) = origin {
                headers.insert(header::ORIGIN, HeaderValue::from_str(origin).unwrap());
            }
            is_own_page(&headers)
        };
        for host in ["127.0.0.1:8080", "localhost:8080", "localhost", "[::1]:8080", "127.1.2.3:1"] {
            assert!(ours(host, None), "{host}");
            assert!(ours(host, Some(&format!("http://{host}"))), "{host}");
        }
        for (host, origin) in [
            // A foreign name that resolves to this machine.
            ("evil.example:8080", Some("http://evil.example:8080")),
            ("127.0.0.1.evil.example", None),
            ("localhost.evil.example:8080", None),
            ("192.168.1.7:8080", None),
            ("", None),
            // Another page on this machine.
            ("127.0.0.1:8080", Some("http://127.0.0.1:8081")),
            ("127.0.0.1:8080", Some("http://localhost:8080")),
            ("127.0.0.1:8080", Some("https://127.0.0.1:8080")),
            ("127.0.0.1:8080", Some("null")),
        ] {
            assert!(!ours(host, origin), "{host} {origin:?}");
        }
        assert!(!is_own_page(&HeaderMap::new()));
    }

    #[test]
    fn no_list_of_origins_panics() {
        for origins in [vec![], vec!["*"], vec!["https://chat.example.com", "\n"]] {
            let origins: Vec<String> = origins.into_iter().map(Into::into).collect();
            drop(cors(&origins));
        }
    }
}

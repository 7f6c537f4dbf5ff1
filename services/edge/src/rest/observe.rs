//! What is seen of a call from outside: a request id, a span, a count. Never a query, a body or a raw path.

use axum::extract::{MatchedPath, Request};
use axum::middleware::Next;
use axum::response::Response;
use http::{HeaderMap, HeaderName, HeaderValue, Method, header};
use tracing::Instrument as _;
use uuid::Uuid;

pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// The longest request id that is taken over from whoever is before us.
const REQUEST_ID_BYTES_MAX: usize = 64;

/// Wraps every call.
pub(super) async fn observe(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().map_or("none", MatchedPath::as_str).to_owned();
    let method = method_name(request.method());
    let request_id = request_id(request.headers());
    let span = tracing::info_span!("http", method, route, request_id);
    let mut response = next.run(request).instrument(span).await;
    let status = response.status().as_u16().to_string();
    metrics::counter!("parley_http_requests_total", "route" => route, "method" => method, "status" => status)
        .increment(1);
    let headers = response.headers_mut();
    if let Ok(value) = HeaderValue::try_from(request_id) {
        headers.insert(REQUEST_ID, value);
    }
    // Everything here is for one caller at one moment; some of it is a signed URL.
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-store"));
    response
}

/// A given id is taken over if it can be written to a log as it is.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(REQUEST_ID).and_then(|value| value.to_str().ok()).filter(|text| {
        let plain = |b: u8| b.is_ascii_alphanumeric() || b"-_.".contains(&b);
        (1..=REQUEST_ID_BYTES_MAX).contains(&text.len()) && text.bytes().all(plain)
    });
    given.map_or_else(|| Uuid::now_v7().to_string(), str::to_owned)
}

/// Anybody can make up methods; a metric has only these.
fn method_name(method: &Method) -> &'static str {
    match *method {
        Method::GET => "GET",
        Method::HEAD => "HEAD",
        Method::POST => "POST",
        Method::PUT => "PUT",
        Method::PATCH => "PATCH",
        Method::DELETE => "DELETE",
        Method::OPTIONS => "OPTIONS",
        _ => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_given_request_id_is_taken_over_if_it_is_harmless() {
        let long = "x".repeat(65);
        for (given, kept) in [
            ("a-1_b.C", true),
            (&long[..64], true),
            (&long, false),
            ("", false),
            ("a b", false),
            ("a\"b", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(REQUEST_ID, HeaderValue::from_str(given).unwrap());
            assert_eq!(request_id(&headers) == given, kept, "{given}");
        }
        assert!(Uuid::try_parse(&request_id(&HeaderMap::new())).is_ok());
    }

    #[test]
    fn metrics_have_few_methods() {
        assert_eq!(method_name(&Method::PATCH), "PATCH");
        assert_eq!(method_name(&Method::from_bytes(b"BREW").unwrap()), "other");
    }
}

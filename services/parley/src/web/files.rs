//! The client's files, as `scripts/web build` made them, and what browsers are told with them.

use std::io::Write as _;
use std::sync::Arc;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::response::{IntoResponse as _, Response};
use axum::routing::get;
use bytes::Bytes;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::{HeaderMap, HeaderValue, StatusCode, header};

/// Path, content type, content.
type Embedded = (&'static str, &'static str, &'static [u8]);

macro_rules! embedded {
    ($path:literal, $file:literal, $kind:literal) => {
        ($path, $kind, include_bytes!(concat!("../../../web/client/dist/", $file)).as_slice())
    };
}

const FILES: [Embedded; 6] = [
    embedded!("/", "index.html", "text/html; charset=utf-8"),
    embedded!("/app.js", "app.js", "text/javascript; charset=utf-8"),
    embedded!("/app.css", "app.css", "text/css; charset=utf-8"),
    embedded!("/sw.js", "sw.js", "text/javascript; charset=utf-8"),
    embedded!("/icon.svg", "icon.svg", "image/svg+xml"),
    embedded!("/manifest.webmanifest", "manifest.webmanifest", "application/manifest+json"),
];

/// One file, ready to be sent.
struct File {
    kind: &'static str,
    plain: Bytes,
    packed: Bytes,
    tag: String,
    policy: HeaderValue,
}

/// Routes for all of them. `media` is where pictures come from and go to.
pub(super) fn router(media: &str) -> Router {
    let policy = policy(media);
    FILES.into_iter().fold(Router::new(), |router, (path, kind, content)| {
        let file = Arc::new(File::new(kind, content, policy.clone()));
        router.route(path, get(move |headers: HeaderMap| async move { file.answer(&headers) }))
    })
}

/// Nothing but what this server serves, no inline scripts or styles, and no text ever becomes markup.
fn policy(media: &str) -> HeaderValue {
    let policy = format!(
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: {media}; \
         media-src 'self' blob: {media}; connect-src 'self' {media}; manifest-src 'self'; worker-src 'self'; \
         base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'; \
         trusted-types parley"
    );
    // A URL with a line break in it would have been refused as configuration.
    HeaderValue::from_str(&policy).unwrap_or_else(|_| HeaderValue::from_static("default-src 'none'"))
}

fn gzip(content: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::best());
    encoder.write_all(content)?;
    encoder.finish()
}

impl File {
    fn new(kind: &'static str, content: &'static [u8], policy: HeaderValue) -> Self {
        let hash = digest(&SHA256, content);
        let tag = hash.as_ref().iter().take(16).map(|byte| format!("{byte:02x}")).collect();
        let plain = Bytes::from_static(content);
        let packed = gzip(content).map_or_else(|_| Bytes::new(), Bytes::from);
        Self { kind, plain, packed, tag, policy }
    }

    fn answer(&self, request: &HeaderMap) -> Response {
        let names = |name, text: &str| {
            let values = request.get_all(name).iter().filter_map(|value: &HeaderValue| value.to_str().ok());
            values.flat_map(|value| value.split(',')).any(|value| value.trim().starts_with(text))
        };
        let is_packed = !self.packed.is_empty() && names(header::ACCEPT_ENCODING, "gzip");
        let tag = format!("\"{}{}\"", self.tag, if is_packed { "-gzip" } else { "" });
        let is_known = names(header::IF_NONE_MATCH, &tag);
        let mut response = match (is_known, is_packed) {
            (true, _) => StatusCode::NOT_MODIFIED.into_response(),
            (false, true) => self.packed.clone().into_response(),
            (false, false) => self.plain.clone().into_response(),
        };
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        if is_packed && !is_known {
            headers.insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        }
        if let Ok(tag) = HeaderValue::from_str(&tag) {
            headers.insert(header::ETAG, tag);
        }
        // Names don't change with contents, so every use asks whether it is still the same.
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache"));
        headers.insert(header::VARY, HeaderValue::from_static("accept-encoding"));
        headers.insert(header::CONTENT_SECURITY_POLICY, self.policy.clone());
        headers.insert(header::X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("no-referrer"));
        headers.insert("cross-origin-opener-policy", HeaderValue::from_static("same-origin"));
        headers.insert(
            "permissions-policy",
            HeaderValue::from_static("geolocation=(), camera=(), microphone=()"),
        );
        response
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file() -> File {
        File::new("text/css", b"a { color: red }", policy("http://127.0.0.1:1"))
    }

    fn headers(pairs: &[(header::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn what_a_browser_has_is_not_sent_again() {
        let first = file().answer(&headers(&[]));
        assert_eq!(first.status(), StatusCode::OK);
        let tag = first.headers()[header::ETAG].to_str().unwrap();
        let again = file().answer(&headers(&[(header::IF_NONE_MATCH, tag)]));
        assert_eq!(again.status(), StatusCode::NOT_MODIFIED);
        let packed =
            file().answer(&headers(&[(header::ACCEPT_ENCODING, "br, gzip"), (header::IF_NONE_MATCH, tag)]));
        assert_eq!(packed.status(), StatusCode::OK);
        assert_eq!(packed.headers()[header::CONTENT_ENCODING], "gzip");
    }

    #[test]
    fn the_policy_allows_nothing_inline_and_no_markup_from_text() {
        let response = file().answer(&headers(&[]));
        let policy = response.headers()[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
        assert!(
            !policy.contains("unsafe") && policy.contains("require-trusted-types-for 'script'"),
            "{policy}"
        );
        assert_eq!(response.headers()[header::X_CONTENT_TYPE_OPTIONS], "nosniff");
    }
}

//! What browsers of other origins may do.

use std::time::Duration;

use http::{HeaderName, HeaderValue, Method, header};
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_list_of_origins_panics() {
        for origins in [vec![], vec!["*"], vec!["https://chat.example.com", "\n"]] {
            let origins: Vec<String> = origins.into_iter().map(Into::into).collect();
            drop(cors(&origins));
        }
    }
}

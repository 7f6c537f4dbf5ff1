//! How a call fails: always with the envelope of the contract.

use std::any::Any;
use std::collections::BTreeMap;

use axum::Json;
use axum::response::{IntoResponse, Response};
use http::{HeaderValue, StatusCode, header};
use parley_domain::{Code, Rejection};
use parley_wire::code;
use parley_wire::rest::ErrorEnvelope;

/// Why a call is refused or failed.
#[derive(Debug)]
pub(super) struct Fault {
    rejection: Rejection,
    details: Option<BTreeMap<&'static str, String>>,
}

impl From<Rejection> for Fault {
    fn from(rejection: Rejection) -> Self {
        Self { rejection, details: None }
    }
}

impl From<parley_readstore::Error> for Fault {
    fn from(error: parley_readstore::Error) -> Self {
        crate::edge::broken("the read models can't be read", &error).into()
    }
}

impl From<crate::opener::OpenError> for Fault {
    fn from(error: crate::opener::OpenError) -> Self {
        crate::edge::broken("a message can't be opened", &error).into()
    }
}

impl Fault {
    pub(super) fn new(code: Code, message: impl Into<String>) -> Self {
        Rejection::new(code, message).into()
    }

    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    /// What should not happen happened; the client can only try again.
    pub(super) fn internal(what: &str) -> Self {
        tracing::error!("{what}");
        Self::new(Code::Internal, "the server made a mistake: try again")
    }

    /// With something that a program may want to know.
    pub(super) fn with_detail(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.details.get_or_insert_default().insert(name, value.into());
        self
    }

    #[cfg(test)]
    pub(super) fn code(&self) -> Code {
        self.rejection.code
    }
}

impl IntoResponse for Fault {
    fn into_response(self) -> Response {
        let Self { rejection, details } = self;
        let status = StatusCode::from_u16(code::http_status(rejection.code));
        let status = status.unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let mut envelope = ErrorEnvelope::new(&rejection);
        envelope.error.details = details;
        let mut response = (status, Json(envelope)).into_response();
        let headers = response.headers_mut();
        if let Some(millis) = rejection.retry_after_ms {
            headers.insert(header::RETRY_AFTER, HeaderValue::from(millis.div_ceil(1_000)));
        }
        if status == StatusCode::UNAUTHORIZED {
            headers.insert(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
        }
        response
    }
}

/// The path is none of the API's.
pub(super) async fn no_such_route() -> Fault {
    Fault::new(Code::NotFound, "there is no such route")
}

/// The path is known, the method isn't. To the contract that is an unknown route like any other; the router adds `Allow`.
pub(super) async fn no_such_method() -> Fault {
    Fault::new(Code::NotFound, "there is no such route: the path has others, see the Allow header")
}

/// A handler panicked. The panic hook has reported where; its message may hold anything, so it goes no further.
pub(super) fn panicked(_payload: Box<dyn Any + Send>) -> Response {
    Fault::internal("a handler panicked").into_response()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_headers_go_with_the_code() {
        for code in Code::ALL {
            let response = Fault::new(code, "why").into_response();
            assert_eq!(response.status().as_u16(), code::http_status(code));
            let asks = response.headers().contains_key(header::WWW_AUTHENTICATE);
            assert_eq!(asks, matches!(code, Code::Unauthenticated | Code::TokenExpired));
            assert!(!response.headers().contains_key(header::RETRY_AFTER));
        }
        for (millis, seconds) in [(1, "1"), (1_000, "1"), (1_001, "2")] {
            let fault = Fault::from(Rejection::new(Code::Busy, "why").retry_after(millis));
            assert_eq!(fault.into_response().headers()[header::RETRY_AFTER], seconds);
        }
    }
}

//! What a handler gets of a request. The caller comes first, so that nobody learns anything without a token.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::{FromRequest, FromRequestParts, Request};
use bytes::{Bytes, BytesMut};
use futures::StreamExt as _;
use http::request::Parts;
use http::{HeaderMap, header};
use parley_domain::{Code, UserId};
use parley_wire::clock;
use serde::de::DeserializeOwned;

use super::fault::Fault;
use crate::auth::{self, AuthError};
use crate::edge::Shared;

/// The largest body: 1,000 user ids of 128 bytes, in JSON with most bytes escaped, take less.
const BODY_BYTES_MAX: usize = 1024 * 1024;

/// How long a client may take to send its body.
const BODY_WAIT: Duration = Duration::from_secs(30);

/// How much of the JSON library's explanation is passed on; it may quote the body.
const EXPLANATION_CHARS_MAX: usize = 200;

/// Whom the token speaks for.
pub(super) struct Caller(pub(super) UserId);

impl FromRequestParts<Arc<Shared>> for Caller {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Fault> {
        let token = auth::bearer(&parts.headers).map_err(refused)?.ok_or_else(|| {
            Fault::new(Code::Unauthenticated, "this call needs a token: Authorization: Bearer TOKEN")
        })?;
        let identity = shared.engines.auth.verify(token, clock::now()).await.map_err(refused)?;
        Ok(Self(identity.user_id))
    }
}

fn refused(error: AuthError) -> Fault {
    error.of_call().into()
}

/// The variable parts of the path, percent-decoded; what they must be is for the handler to say.
pub(super) struct Path<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Shared>> for Path<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, shared: &Arc<Shared>) -> Result<Self, Fault> {
        match axum::extract::Path::from_request_parts(parts, shared).await {
            Ok(axum::extract::Path(path)) => Ok(Self(path)),
            // Only bytes that aren't UTF-8 come here: every part is taken as a text.
            Err(_) => Err(Fault::new(Code::NotFound, "the path is not UTF-8")),
        }
    }
}

/// The query of the URL.
pub(super) struct Query<T>(pub(super) T);

impl<T: DeserializeOwned + Send> FromRequestParts<Arc<Shared>> for Query<T> {
    type Rejection = Fault;

    async fn from_request_parts(parts: &mut Parts, _: &Arc<Shared>) -> Result<Self, Fault> {
        match axum::extract::Query::try_from_uri(&parts.uri) {
            Ok(axum::extract::Query(query)) => Ok(Self(query)),
            Err(_) => Err(Fault::bad_request("the query can't be read: is a parameter given twice?")),
        }
    }
}

/// A JSON body.
pub(super) struct Body<T>(pub(super) T);

impl<T: DeserializeOwned> FromRequest<Arc<Shared>> for Body<T> {
    type Rejection = Fault;

    async fn from_request(request: Request, _: &Arc<Shared>) -> Result<Self, Fault> {
        // Whatever the header says that it is: tools and libraries say of it what is their default, and here only JSON is taken.
        let bytes = tokio::time::timeout(BODY_WAIT, read(request)).await;
        parse(&bytes.unwrap_or_else(|_| Err(Fault::bad_request("the body didn't come in time")))?)
    }
}

fn announced_bytes(headers: &HeaderMap) -> usize {
    let length = headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok());
    length.and_then(|text| text.parse().ok()).unwrap_or(0)
}

async fn read(request: Request) -> Result<Bytes, Fault> {
    let announced = announced_bytes(request.headers());
    let waits = request.headers().contains_key(header::EXPECT);
    if announced > BODY_BYTES_MAX && waits {
        // The client hasn't begun to send; reading would ask it to.
        return Err(too_large());
    }
    let mut body = request.into_body().into_data_stream();
    let mut bytes = BytesMut::with_capacity(announced.min(BODY_BYTES_MAX));
    while let Some(chunk) = body.next().await {
        let chunk = chunk.map_err(|_| Fault::bad_request("the body broke off"))?;
        if bytes.len() + chunk.len() > BODY_BYTES_MAX || announced > BODY_BYTES_MAX {
            return Err(too_large());
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes.freeze())
}

fn too_large() -> Fault {
    Fault::new(Code::TooLarge, format!("a body has at most {BODY_BYTES_MAX} bytes"))
}

fn parse<T: DeserializeOwned>(bytes: &[u8]) -> Result<Body<T>, Fault> {
    // Derived deserializers take an array for a struct, its fields in their order; the contract knows objects only.
    if !bytes.trim_ascii_start().starts_with(b"{") {
        return Err(Fault::bad_request("the body must be a JSON object"));
    }
    match serde_json::from_slice(bytes) {
        Ok(body) => Ok(Body(body)),
        Err(error) => {
            let why: String = error.to_string().chars().take(EXPLANATION_CHARS_MAX).collect();
            Err(Fault::bad_request(format!("the body is not what this call takes: {why}")))
        }
    }
}

#[cfg(test)]
mod tests {
    use axum::body::Body as Bytes;
    use parley_wire::rest::AddMembers;

    use super::*;

    fn post(body: Bytes, headers: &[(&str, &str)]) -> Request {
        let mut request = Request::post("/v1/groups").body(body).unwrap();
        for (name, value) in headers {
            request.headers_mut().insert(
                http::HeaderName::from_bytes(name.as_bytes()).unwrap(),
                http::HeaderValue::from_str(value).unwrap(),
            );
        }
        request
    }

    #[tokio::test]
    async fn bodies_up_to_the_limit() {
        let at_limit = post(Bytes::from(vec![b' '; BODY_BYTES_MAX]), &[]);
        assert_eq!(read(at_limit).await.unwrap().len(), BODY_BYTES_MAX);
        let beyond = post(Bytes::from(vec![b' '; BODY_BYTES_MAX + 1]), &[]);
        assert_eq!(read(beyond).await.unwrap_err().code(), Code::TooLarge);
        let announced = post(Bytes::from("x"), &[("content-length", "9999999"), ("expect", "100-continue")]);
        assert_eq!(read(announced).await.unwrap_err().code(), Code::TooLarge);
    }

    #[test]
    fn what_is_no_fitting_json_is_a_bad_request() {
        assert_eq!(parse::<AddMembers>(br#"{"user_ids":["a"],"more":1}"#).unwrap().0.user_ids, ["a"]);
        let bad: [&[u8]; 7] =
            [b"", b"{", b"[]", br#"[["a"]]"#, b"{}", br#"{"user_ids":"a"}"#, b"{\"user_ids\":[\"\xff\"]}"];
        for bytes in bad {
            assert_eq!(parse::<AddMembers>(bytes).err().unwrap().code(), Code::BadRequest);
        }
    }
}

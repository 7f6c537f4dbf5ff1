//! The server as an HTTP service.

use std::convert::Infallible;
use std::error::Error as StdError;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONTENT_SECURITY_POLICY, CONTENT_TYPE, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use http_body_util::combinators::UnsyncBoxBody;
use s3s::auth::SimpleAuth;
use s3s::service::{S3Service, S3ServiceBuilder};
use tracing::instrument::WithSubscriber as _;
use tracing::subscriber::NoSubscriber;

use super::server::{Server, Trouble};
use crate::error::BoxError;
use crate::providers::s3::S3Credentials;

/// An answer's body.
pub type ResponseBody = UnsyncBoxBody<Bytes, BoxError>;

/// The embedded server, for axum's `route_service` or anything else that takes a tower service. Answers only
/// requests with a signed URL; never fails.
#[derive(Clone)]
pub struct MediaService {
    s3: S3Service,
}

impl MediaService {
    pub(super) fn new(server: Server, credentials: &S3Credentials) -> Self {
        let mut builder = S3ServiceBuilder::new(server);
        builder.set_auth(SimpleAuth::from_single(
            credentials.access_key_id.clone(),
            credentials.secret_access_key.clone(),
        ));
        Self { s3: builder.build() }
    }

    /// Answers one request from outside.
    pub async fn handle<B>(&self, request: Request<B>) -> Response<ResponseBody>
    where
        B: hyper::body::Body<Data = Bytes> + Send + 'static,
        B::Error: StdError + Send + Sync + 'static,
    {
        let method = request.method().clone();
        let response = match refusal(&request) {
            Some((status, code)) => refuse(status, code),
            None => self.answer(request.map(s3s::Body::http_body_unsync)).await,
        };
        // Never the URL: it is a right to read or write.
        tracing::debug!(%method, status = response.status().as_u16(), "object store request");
        response
    }

    /// Answers one request, also of those that carry the signature in a header, as our own client does.
    pub(super) async fn answer(&self, mut request: Request<s3s::Body>) -> Response<ResponseBody> {
        let trouble = Trouble::default();
        request.extensions_mut().insert(trouble.clone());
        // Without any log output: s3s logs whole requests, and with them signed URLs.
        let answer = self.s3.call(request).with_subscriber(NoSubscriber::default()).await;
        let mut response = match answer {
            Ok(response) => response.map(|body| body.boxed_unsync()),
            Err(_) => refuse(StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        };
        if let Some(error) = trouble.get() {
            tracing::error!(%error, "the embedded object store can't use its files");
        }
        // Same origin as the API: what a user uploaded must never run as a page of it.
        let headers = response.headers_mut();
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        headers.insert(CONTENT_SECURITY_POLICY, HeaderValue::from_static("default-src 'none'; sandbox"));
        response
    }
}

/// What s3s needn't even see. It would read forms of unsigned POSTs into memory, and knows older signatures that
/// don't cover headers.
fn refusal<B>(request: &Request<B>) -> Option<(StatusCode, &'static str)> {
    if ![Method::GET, Method::HEAD, Method::PUT].contains(request.method()) {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed"));
    }
    let query = request.uri().query().unwrap_or_default();
    let has = |name: &str| query.split('&').any(|pair| pair.split('=').next() == Some(name));
    let signed = has("X-Amz-Signature") && !has("AWSAccessKeyId") && !has("Signature");
    let by_header = request.headers().contains_key(http::header::AUTHORIZATION);
    (!signed || by_header).then_some((StatusCode::FORBIDDEN, "AccessDenied"))
}

fn refuse(status: StatusCode, code: &str) -> Response<ResponseBody> {
    let xml = format!("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<Error><Code>{code}</Code></Error>");
    let body = http_body_util::Full::new(Bytes::from(xml)).map_err(|never: Infallible| match never {});
    let mut response = Response::new(body.boxed_unsync());
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/xml"));
    response
}

impl<B> tower_service::Service<Request<B>> for MediaService
where
    B: hyper::body::Body<Data = Bytes> + Send + 'static,
    B::Error: StdError + Send + Sync + 'static,
{
    type Response = Response<ResponseBody>;
    type Error = Infallible;
    type Future = Pin<Box<dyn Future<Output = Result<Self::Response, Infallible>> + Send>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<B>) -> Self::Future {
        let service = self.clone();
        Box::pin(async move { Ok(service.handle(request).await) })
    }
}

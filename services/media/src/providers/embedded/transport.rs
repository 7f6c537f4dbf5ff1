//! How our own S3 client reaches the server: through its HTTP types and signatures, but without a socket, so that
//! `look` works before the listener is up, and whatever stands in front of it.

use std::fmt;

use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::config::http::{HttpRequest, HttpResponse};
use aws_sdk_s3::primitives::SdkBody;
use aws_smithy_runtime_api::client::http::{
    HttpConnector, HttpConnectorFuture, SharedHttpConnector, http_client_fn,
};
use aws_smithy_runtime_api::client::result::ConnectorError;
use http::HeaderValue;
use http::header::HOST;
use http_body_util::BodyExt as _;

use super::service::MediaService;
use crate::error::BoxError;

/// A transport to this server.
pub(super) fn in_process(service: MediaService) -> SharedHttpClient {
    let connector = SharedHttpConnector::new(InProcess { service });
    http_client_fn(move |_, _| connector.clone())
}

struct InProcess {
    service: MediaService,
}

impl fmt::Debug for InProcess {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("InProcess")
    }
}

impl HttpConnector for InProcess {
    fn call(&self, request: HttpRequest) -> HttpConnectorFuture {
        let service = self.service.clone();
        HttpConnectorFuture::new(async move {
            exchange(&service, request).await.map_err(|error| ConnectorError::other(error, None))
        })
    }
}

async fn exchange(service: &MediaService, request: HttpRequest) -> Result<HttpResponse, BoxError> {
    let mut request = request.try_into_http1x()?;
    // A socket's client would add the header that the signature covers.
    if let Some(authority) = request.uri().authority() {
        let host = HeaderValue::from_str(authority.as_str())?;
        request.headers_mut().insert(HOST, host);
    }
    // Our client only asks; it has no body to send.
    let response = service.answer(request.map(|_| s3s::Body::empty())).await;
    let (parts, body) = response.into_parts();
    let bytes = body.collect().await?.to_bytes();
    Ok(HttpResponse::try_from(http::Response::from_parts(parts, SdkBody::from(bytes)))?)
}

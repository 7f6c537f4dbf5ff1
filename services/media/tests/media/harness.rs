//! An embedded store behind axum on a port of its own, and a client.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

use async_trait::async_trait;
use axum::Router;
use axum::routing::get;
use bytes::Bytes;
use http::{Request, Response};
use http_body_util::BodyExt as _;
use parley_domain::Timestamp;
use parley_media::conformance::Http;
use parley_media::providers::embedded::{EmbeddedMedia, EmbeddedOptions, ROUTE};
use parley_media::{BoxError, Clock};
use tempfile::TempDir;
use tokio::net::TcpListener;

pub(crate) const BYTES_MAX: u64 = 8 * 1024 * 1024;

pub(crate) struct Harness {
    pub(crate) media: EmbeddedMedia,
    pub(crate) http: Reqwest,
    pub(crate) address: SocketAddr,
    pub(crate) dir: TempDir,
}

impl Harness {
    pub(crate) async fn start() -> Self {
        Self::start_in(TempDir::new().unwrap(), now()).await
    }

    pub(crate) async fn start_in(dir: TempDir, clock: Clock) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let media = open(dir.path(), address, clock);
        // As the edge mounts it, beside routes of its own.
        let app =
            Router::new().route("/healthz", get(|| async { "ok" })).route_service(ROUTE, media.service());
        tokio::spawn(async move { axum::serve(listener, app).await });
        Self { media, http: Reqwest(reqwest::Client::new()), address, dir }
    }
}

pub(crate) fn open(dir: &Path, address: SocketAddr, clock: Clock) -> EmbeddedMedia {
    let public_url = format!("http://{address}");
    EmbeddedMedia::open(dir, EmbeddedOptions { public_url, bytes_max: BYTES_MAX, clock }).unwrap()
}

/// The real time.
pub(crate) fn now() -> Clock {
    ago(Duration::ZERO)
}

/// A clock that is late.
#[allow(clippy::disallowed_methods, reason = "a test is the rim")]
pub(crate) fn ago(behind: Duration) -> Clock {
    Arc::new(move || {
        let since = (std::time::SystemTime::now() - behind).duration_since(UNIX_EPOCH).unwrap();
        Timestamp(i64::try_from(since.as_millis()).unwrap())
    })
}

pub(crate) struct Reqwest(pub(crate) reqwest::Client);

#[async_trait]
impl Http for Reqwest {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, BoxError> {
        let response = self.0.execute(request.try_into()?).await?;
        let (parts, body) = Response::from(response).into_parts();
        Ok(Response::from_parts(parts, body.collect().await?.to_bytes()))
    }
}

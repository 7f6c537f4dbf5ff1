//! An S3 server inside this process, on a directory.
//!
//! Signatures are checked by the `s3s` crate. The objects are kept by the module `objects`, not by `s3s-fs`, which makes
//! an object visible before it has compared the checksum, leaves it there when it differs, looks for an existing
//! key and renames over it in two steps, keeps type and checksum in other files, and never syncs.
//!
//! ```text
//! client ── signed PUT, GET ──▶ MediaService (only signed URLs) ──▶ s3s (SigV4) ──▶ Server ──▶ Objects (files)
//! look, presign ── S3Media ── in-process transport ────────────────▶ s3s (SigV4) ──▶ Server ──▶ Objects
//! ```

mod credentials;
mod objects;
#[cfg(test)]
mod over_http;
mod server;
mod service;
mod transport;
mod uploads;

use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use parley_domain::MediaClaims;
use parley_domain::MediaId;

pub use service::{MediaService, ResponseBody};

use crate::error::Error;
use crate::port::{Clock, MediaStore, PresignedDownload, PresignedUpload, StoredObject};
use crate::providers::s3::{S3Media, S3Options, endpoint};

/// The one bucket, and so the first part of every path.
pub const BUCKET: &str = "parley-media";
/// What to mount [`MediaService`] under in an axum router, with `route_service` (never `nest`, which would change
/// the path that was signed).
pub const ROUTE: &str = "/parley-media/{*key}";
/// The region that signatures name; means nothing else.
const REGION: &str = "us-east-1";

/// How to open an [`EmbeddedMedia`].
#[derive(Clone)]
pub struct EmbeddedOptions {
    /// `http://host:port` as clients see it, without a path. The host is part of every signature.
    pub public_url: String,
    /// The greatest object.
    pub bytes_max: u64,
    /// The time for signing. Checking uses the system's clock.
    pub clock: Clock,
}

/// A directory of objects with its S3 server and a client of that.
pub struct EmbeddedMedia {
    client: S3Media,
    service: MediaService,
}

impl EmbeddedMedia {
    /// Opens or makes the directory, its credentials, and clears away what uploads left that a crash cut off.
    /// Blocks for a few file operations. One process a directory: another one is refused.
    ///
    /// # Errors
    /// [`Error::Configuration`] for the URL, [`Error::File`], [`Error::Credentials`].
    pub fn open(dir: &Path, options: EmbeddedOptions) -> Result<Self, Error> {
        let endpoint_url = endpoint(&options.public_url)
            .ok_or(Error::Configuration { reason: "the public URL must be http(s)://host[:port]" })?;
        let objects = objects::Objects::open(dir)?;
        let credentials = credentials::load_or_create(&dir.join("credentials.json"))?;
        let server = server::Server::new(objects, options.bytes_max);
        let service = MediaService::new(server, &credentials);
        let s3_options = S3Options {
            bucket: BUCKET.to_owned(),
            prefix: String::new(),
            region: REGION.to_owned(),
            endpoint_url: Some(endpoint_url),
            path_style: true,
            credentials,
        };
        let transport = transport::in_process(service.clone());
        let client = S3Media::with_transport(s3_options, options.clock, transport);
        Ok(Self { client, service })
    }

    /// What to mount at [`ROUTE`]. Cheap to clone.
    #[must_use]
    pub fn service(&self) -> MediaService {
        self.service.clone()
    }
}

#[async_trait]
impl MediaStore for EmbeddedMedia {
    async fn presign_upload(
        &self,
        claims: &MediaClaims,
        valid_for: Duration,
    ) -> Result<PresignedUpload, Error> {
        self.client.presign_upload(claims, valid_for).await
    }

    async fn presign_download(
        &self,
        media_id: MediaId,
        content_type: &str,
        valid_for: Duration,
    ) -> Result<PresignedDownload, Error> {
        self.client.presign_download(media_id, content_type, valid_for).await
    }

    async fn look(&self, media_id: MediaId) -> Result<Option<StoredObject>, Error> {
        self.client.look(media_id).await
    }

    async fn ready(&self) -> Result<(), Error> {
        self.client.ready().await
    }
}

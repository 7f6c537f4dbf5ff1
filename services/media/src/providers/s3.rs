//! Any S3, by its own protocol: AWS, or what speaks it. The embedded provider is a client of this code too.

mod blobs;
mod options;
#[cfg(test)]
mod tests;
mod url;

use std::time::Duration;

use async_trait::async_trait;
use aws_sdk_s3::Client;
use aws_sdk_s3::config::SharedHttpClient;
use aws_sdk_s3::error::SdkError;
use aws_sdk_s3::operation::head_object::HeadObjectOutput;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use aws_sdk_s3::types::ChecksumMode;
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use parley_domain::MediaClaims;
use parley_domain::Timestamp;
use parley_domain::{GroupId, MediaId, UserId};

pub use blobs::S3Blobs;
use options::Patience;
pub use options::{S3Credentials, S3Options};
pub(crate) use url::endpoint;

use crate::content::{disposition, is_content_type};
use crate::error::{BoxError, Error};
use crate::port::{Clock, MediaStore, PresignedDownload, PresignedUpload, StoredObject};

/// Metadata key of the group.
pub(crate) const META_GROUP: &str = "parley-group";
/// Metadata key of the uploader, in URL-safe base64 because user ids may hold any printable UTF-8.
pub(crate) const META_UPLOADER: &str = "parley-uploader";
/// S3's own bound.
const VALID_FOR_MAX: Duration = Duration::from_secs(7 * 24 * 3600);

/// A bucket, and the right to it.
pub struct S3Media {
    client: Client,
    bucket: String,
    prefix: String,
    clock: Clock,
}

impl S3Media {
    /// A client over HTTP(S). Connects at the first [`look`](MediaStore::look) or [`ready`](MediaStore::ready).
    ///
    /// # Errors
    /// [`Error::Configuration`] for options that can't work.
    pub fn new(options: S3Options, clock: Clock) -> Result<Self, Error> {
        options.check()?;
        Ok(Self::build(options, clock, None))
    }

    /// The same client over another transport.
    pub(crate) fn with_transport(options: S3Options, clock: Clock, transport: SharedHttpClient) -> Self {
        Self::build(options, clock, Some(transport))
    }

    fn build(options: S3Options, clock: Clock, transport: Option<SharedHttpClient>) -> Self {
        let client = Client::from_conf(options.client_config(&Patience::SEND, transport));
        Self { client, bucket: options.bucket, prefix: options.prefix, clock }
    }

    fn key(&self, media_id: MediaId) -> String {
        format!("{}{media_id}", self.prefix)
    }

    /// The signing time in whole seconds, as the signature carries it, and so when the URL really expires.
    fn presigning(&self, valid_for: Duration) -> Result<(PresigningConfig, Timestamp), Error> {
        let seconds = valid_for.as_secs();
        if seconds == 0 || valid_for > VALID_FOR_MAX {
            return Err(Error::Invalid { reason: "a URL is valid for 1 s to 7 days" });
        }
        let start_secs = u64::try_from((self.clock)().as_millis() / 1000)
            .map_err(|_| Error::Invalid { reason: "the clock is before 1970" })?;
        let config = PresigningConfig::builder()
            .start_time(std::time::UNIX_EPOCH + Duration::from_secs(start_secs))
            .expires_in(Duration::from_secs(seconds))
            .build()
            .map_err(|error| Error::Signing { source: error.into() })?;
        let expires_at_ms = i64::try_from((start_secs + seconds).saturating_mul(1000)).unwrap_or(i64::MAX);
        Ok((config, Timestamp(expires_at_ms)))
    }
}

#[async_trait]
impl MediaStore for S3Media {
    async fn presign_upload(
        &self,
        claims: &MediaClaims,
        valid_for: Duration,
    ) -> Result<PresignedUpload, Error> {
        if !is_content_type(&claims.content_type) {
            return Err(Error::Invalid { reason: "not a content type" });
        }
        let content_length = i64::try_from(claims.content_length)
            .map_err(|_| Error::Invalid { reason: "the content is too long" })?;
        let (presigning, expires_at) = self.presigning(valid_for)?;
        let request = self
            .client
            .put_object()
            .bucket(&self.bucket)
            .key(self.key(claims.media_id))
            .content_type(&claims.content_type)
            .content_length(content_length)
            .checksum_sha256(STANDARD.encode(claims.sha256))
            // One upload a key, for good: what a message was accepted with can't be replaced later.
            .if_none_match("*")
            .metadata(META_GROUP, claims.group_id.to_string())
            .metadata(META_UPLOADER, URL_SAFE_NO_PAD.encode(claims.uploader.as_str()));
        let signed = request.presigned(presigning).await.map_err(signing)?;
        Ok(PresignedUpload {
            method: signed.method().to_owned(),
            url: signed.uri().to_owned(),
            headers: headers(&signed),
            expires_at,
        })
    }

    async fn presign_download(
        &self,
        media_id: MediaId,
        content_type: &str,
        valid_for: Duration,
    ) -> Result<PresignedDownload, Error> {
        if !is_content_type(content_type) {
            return Err(Error::Invalid { reason: "not a content type" });
        }
        let (presigning, expires_at) = self.presigning(valid_for)?;
        let request = self
            .client
            .get_object()
            .bucket(&self.bucket)
            .key(self.key(media_id))
            .response_content_type(content_type)
            .response_content_disposition(disposition(content_type));
        let signed = request.presigned(presigning).await.map_err(signing)?;
        Ok(PresignedDownload { url: signed.uri().to_owned(), expires_at })
    }

    async fn look(&self, media_id: MediaId) -> Result<Option<StoredObject>, Error> {
        let answer = self
            .client
            .head_object()
            .bucket(&self.bucket)
            .key(self.key(media_id))
            .checksum_mode(ChecksumMode::Enabled)
            .send()
            .await;
        match answer {
            Ok(head) => Ok(Some(stored(&head))),
            Err(error) if status(&error) == Some(404) => Ok(None),
            Err(error) => Err(failed(error)),
        }
    }

    async fn ready(&self) -> Result<(), Error> {
        self.client.head_bucket().bucket(&self.bucket).send().await.map_err(failed)?;
        Ok(())
    }
}

fn headers(signed: &PresignedRequest) -> Vec<(String, String)> {
    signed.headers().map(|(name, value)| (name.to_ascii_lowercase(), value.to_owned())).collect()
}

fn stored(head: &HeadObjectOutput) -> StoredObject {
    let metadata = |key: &str| head.metadata().and_then(|all| all.get(key));
    let uploader = metadata(META_UPLOADER)
        .and_then(|text| URL_SAFE_NO_PAD.decode(text).ok())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .and_then(|text| UserId::parse(&text).ok());
    StoredObject {
        content_type: head.content_type().unwrap_or_default().to_owned(),
        content_length: head.content_length().and_then(|n| u64::try_from(n).ok()).unwrap_or_default(),
        // A multipart object has a checksum of checksums ("…-3") here, which is no SHA-256 of the object.
        sha256: head.checksum_sha256().and_then(|t| STANDARD.decode(t).ok()).and_then(|b| b.try_into().ok()),
        group_id: metadata(META_GROUP).and_then(|text| GroupId::parse(text).ok()),
        uploader,
    }
}

fn status<E>(error: &SdkError<E>) -> Option<u16> {
    error.raw_response().map(|response| response.status().as_u16())
}

fn failed<E>(error: SdkError<E>) -> Error
where
    E: std::error::Error + Send + Sync + 'static,
{
    match status(&error) {
        Some(status) if (400..500).contains(&status) && !matches!(status, 408 | 429) => {
            Error::Refused { status, source: error.into() }
        }
        _ => Error::Unavailable { source: error.into() },
    }
}

fn signing(error: impl Into<BoxError>) -> Error {
    Error::Signing { source: error.into() }
}

//! The ports: media, which clients move themselves, never through this process' memory, and the program's own blobs.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parley_domain::MediaClaims;
use parley_domain::Timestamp;
use parley_domain::{GroupId, MediaId, UserId};

use crate::error::Error;

/// Where a provider takes the time from; the clock itself is read at the rim.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// Objects, named by media id, written once by whoever holds a signed URL and never changed.
///
/// ```text
/// presign_upload ──▶ client PUTs ──▶ look ──▶ the message is accepted ──▶ presign_download ──▶ client GETs
/// ```
///
/// - A URL from [`presign_upload`](Self::presign_upload) MUST work for exactly the object that the claims
///   describe: same key, type, length, SHA-256, uploader and group, and only while nothing lies there yet.
/// - When the store has answered such a PUT with success, the object MUST be durable, whole, and visible to
///   [`look`](Self::look) at once. When it answered anything else, or nothing, `look` MUST NOT show a part of it.
/// - Nothing MUST be readable or writable without a signature.
#[async_trait]
pub trait MediaStore: Send + Sync {
    /// A pre-signed PUT that binds everything that the claims say. `valid_for` has whole seconds, 1 s to 7 days.
    ///
    /// # Errors
    /// [`Error::Invalid`] for claims that no header can carry, [`Error::Signing`].
    async fn presign_upload(
        &self,
        claims: &MediaClaims,
        valid_for: Duration,
    ) -> Result<PresignedUpload, Error>;

    /// A pre-signed GET. Whoever holds the URL may read the object until it expires. `content_type` is what the
    /// message says of it, and decides whether a browser may show it in place ([`crate::disposition`]).
    ///
    /// # Errors
    /// [`Error::Invalid`], [`Error::Signing`]. An object that doesn't exist is none: the client gets a 404.
    async fn presign_download(
        &self,
        media_id: MediaId,
        content_type: &str,
        valid_for: Duration,
    ) -> Result<PresignedDownload, Error>;

    /// What lies under a media id now, or `None`.
    ///
    /// # Errors
    /// [`Error::Unavailable`], [`Error::Refused`].
    async fn look(&self, media_id: MediaId) -> Result<Option<StoredObject>, Error>;

    /// Whether the store can be used.
    ///
    /// # Errors
    /// Why not.
    async fn ready(&self) -> Result<(), Error>;
}

/// The greatest blob: it lies in memory whole when it is written or read.
pub const BLOB_BYTES_MAX: usize = 256 * 1024 * 1024;
/// The longest name of a blob.
pub const BLOB_NAME_BYTES_MAX: usize = 200;
/// The most names that one [`Blobs::list`] gives.
pub const BLOB_LIST_MAX: usize = 1000;

/// Private bytes of this program by name: snapshots, which can be made anew. No client ever gets a URL of one.
///
/// A name is made of parts with `/` between them, each of ASCII letters, digits, `.`, `_` and `-`, beginning with a
/// letter or a digit; at most [`BLOB_NAME_BYTES_MAX`] altogether. Anything else is [`Error::Invalid`]. The caller doesn't
/// use both `a` and `a/b`: several S3 servers keep objects as files, and there one of them can't be.
///
/// - When [`put`](Self::put) has succeeded, the bytes MUST be durable and seen by every call that begins after it. A
///   blob is replaced as a whole: [`get`](Self::get) gives all of the old bytes or all of the new ones.
/// - After a `put` that failed, was cancelled or cut off by a crash, the old blob or the new one is there, and the new one
///   may still come. So what must not be confused has names of its own.
#[async_trait]
pub trait Blobs: Send + Sync {
    /// Writes a blob, over the one that had the name.
    ///
    /// # Errors
    /// [`Error::Invalid`] for a bad name or more than [`BLOB_BYTES_MAX`], [`Error::Unavailable`], [`Error::Refused`].
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Error>;

    /// The whole blob, or `None` if there is none.
    ///
    /// # Errors
    /// As [`put`](Self::put); [`Error::Damaged`] if it isn't what was put.
    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error>;

    /// The first `limit` of the names that begin with `prefix`, in the order of their bytes. At most [`BLOB_LIST_MAX`];
    /// an empty prefix means all. The prefix needn't be a whole name, nor whole parts of one.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, Error>;

    /// Removes a blob. That there is none is no error.
    ///
    /// # Errors
    /// As [`put`](Self::put).
    async fn delete(&self, name: &str) -> Result<(), Error>;
}

/// A signed PUT, for the client.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedUpload {
    /// Always `PUT`.
    pub method: String,
    /// The URL, with the signature in its query. A secret until it expires: never log it.
    pub url: String,
    /// Headers that are part of the signature: the client must send all of them, unchanged. (Browsers send
    /// `content-length` by themselves and don't let scripts set it.)
    pub headers: Vec<(String, String)>,
    /// From then on the store refuses the URL.
    pub expires_at: Timestamp,
}

/// A signed GET, for the client.
#[derive(Clone, PartialEq, Eq)]
pub struct PresignedDownload {
    /// The URL, with the signature in its query. A secret until it expires: never log it.
    pub url: String,
    /// From then on the store refuses the URL.
    pub expires_at: Timestamp,
}

/// What a store knows of an object.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredObject {
    /// MIME type, as uploaded.
    pub content_type: String,
    /// Length in bytes.
    pub content_length: u64,
    /// Checksum of the whole object, where the store has one.
    pub sha256: Option<[u8; 32]>,
    /// The group that the upload was signed for, where the object says so.
    pub group_id: Option<GroupId>,
    /// Whom the upload was signed for, where the object says so.
    pub uploader: Option<UserId>,
}

impl fmt::Debug for PresignedUpload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresignedUpload")
            .field("method", &self.method)
            .field("url", &"<signed>")
            .field("headers", &self.headers)
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

impl fmt::Debug for PresignedDownload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PresignedDownload")
            .field("url", &"<signed>")
            .field("expires_at", &self.expires_at)
            .finish()
    }
}

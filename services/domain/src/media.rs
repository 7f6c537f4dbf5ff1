//! What the core knows of media: that a message carries some, and of what kind and size.

use crate::ids::{GroupId, MediaId, UserId};
use crate::time::Timestamp;

/// What the event says of a message's object, in clear.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaDescription {
    /// The object.
    pub media_id: MediaId,
    /// MIME type.
    pub content_type: String,
    /// Length in bytes.
    pub content_length: u64,
}

/// What an upload was allowed for. Travels inside `media_url`, authenticated, so that uploads need no table.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MediaClaims {
    /// The object.
    pub media_id: MediaId,
    /// The group whose members may see it.
    pub group_id: GroupId,
    /// Who may send it.
    pub uploader: UserId,
    /// MIME type.
    pub content_type: String,
    /// Length in bytes.
    pub content_length: u64,
    /// Checksum.
    pub sha256: [u8; 32],
    /// When the upload URL ends.
    pub expires_at: Timestamp,
}

/// Why a message's media can't be accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MediaFault {
    /// Made for somebody else or another group, or by nobody (a forged URL).
    Forbidden,
    /// Nothing was uploaded.
    NotUploaded,
    /// What lies there is not what was announced.
    Mismatch,
    /// The object store can't be asked now.
    Unavailable,
}

//! The object store: images, video and audio lie outside the log, and clients move them directly with
//! pre-signed URLs.
//!
//! The port is [`MediaStore`]; a second one, [`Blobs`], keeps private bytes of this program (snapshots) in the same store
//! or, beside embedded engines, in a directory ([`providers::directory`]). Two providers share the same S3 client code: [`providers::s3`] for any S3, and
//! [`providers::embedded`], an S3 server inside this process, so that a newcomer's first upload goes the same
//! road as production's. [`conformance`] is what each of them must pass.

mod blobs;
pub mod conformance;
mod content;
mod error;
mod files;
mod port;
pub mod providers;

pub use content::{disposition, is_content_type};
pub use error::{BoxError, Error};
pub use port::{
    BLOB_BYTES_MAX, BLOB_LIST_MAX, BLOB_NAME_BYTES_MAX, Blobs, Clock, MediaStore, PresignedDownload,
    PresignedUpload, StoredObject,
};

//! The object store: images, video and audio lie outside the log, and clients move them directly with
//! pre-signed URLs.
//!
//! The port is [`MediaStore`]. Two providers share the same S3 client code: [`providers::s3`] for any S3, and
//! [`providers::embedded`], an S3 server inside this process, so that a newcomer's first upload goes the same
//! road as production's. [`conformance`] is what each of them must pass.

mod blobs;
pub mod conformance;
mod content;
mod error;
mod port;
pub mod providers;

pub use blobs::Blobs;
pub use content::{disposition, is_content_type};
pub use error::{BoxError, Error};
pub use port::{Clock, MediaStore, PresignedDownload, PresignedUpload, StoredObject};

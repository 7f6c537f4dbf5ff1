//! What can go wrong with an object store.

use std::path::PathBuf;

/// A cause of any kind.
pub type BoxError = Box<dyn std::error::Error + Send + Sync>;

/// Something broke. That nothing was uploaded is no error but `None`.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The store couldn't be asked. Worth a retry.
    #[error("the object store can't be reached")]
    Unavailable {
        /// What the client library or the network said.
        #[source]
        source: BoxError,
    },
    /// The store answered with a refusal, for example of our credentials. A retry won't help.
    #[error("the object store refused: {status}")]
    Refused {
        /// HTTP status.
        status: u16,
        /// What the client library said.
        #[source]
        source: BoxError,
    },
    /// What was asked for can't be, for example a content type that is no header value, or a blob without a name.
    #[error("not a valid upload, download or blob: {reason}")]
    Invalid {
        /// Why.
        reason: &'static str,
    },
    /// Signing itself failed.
    #[error("can't sign the URL")]
    Signing {
        /// What the client library said.
        #[source]
        source: BoxError,
    },
    /// A blob lies there, but not as it was put. Its bytes are of no use.
    #[error("the blob {name} is damaged")]
    Damaged {
        /// Which.
        name: String,
    },
    /// The configuration can't work.
    #[error("bad media configuration: {reason}")]
    Configuration {
        /// Why.
        reason: &'static str,
    },
    /// A file or directory of the embedded store.
    #[error("can't use {}", path.display())]
    File {
        /// Which.
        path: PathBuf,
        /// What the system said.
        #[source]
        source: std::io::Error,
    },
    /// The embedded store's credentials can't be made or read.
    #[error("bad credentials file {}", path.display())]
    Credentials {
        /// Which file.
        path: PathBuf,
        /// Why.
        #[source]
        source: BoxError,
    },
}

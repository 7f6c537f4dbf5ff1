//! Why a log can't be opened.

use std::io;
use std::path::{Path, PathBuf};

/// Why a log can't be opened or inspected. Nothing on disk was changed then, unless `Io` says that a change failed.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// A file could not be read or written.
    #[error("can't {what} {path}", path = .path.display())]
    Io {
        /// What was tried, as a verb.
        what: &'static str,
        /// On which file or directory.
        path: PathBuf,
        /// Why it failed.
        #[source]
        source: io::Error,
    },
    /// There is no log in the directory (not from `open`, which makes one).
    #[error("there is no log in {dir}", dir = .dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// Another process has it.
    #[error("the log in {dir} is in use by another parley process: stop it first", dir = .dir.display())]
    InUse {
        /// The directory.
        dir: PathBuf,
    },
    /// The log was made with another number of partitions.
    #[error(
        "the log in {dir} has {found} partitions, but {configured} are configured; the number is fixed for the life \
         of a log, since it says where each group lies: configure {found}, or begin a new log in another directory",
        dir = .dir.display()
    )]
    Partitions {
        /// The directory.
        dir: PathBuf,
        /// Partitions of the log.
        found: u32,
        /// Partitions configured.
        configured: u32,
    },
    /// A newer program wrote it.
    #[error("{file} has format version {found}, and this program reads {known} only", file = .file.display())]
    Format {
        /// The file.
        file: PathBuf,
        /// Its version.
        found: u32,
        /// This program's version.
        known: u32,
    },
    /// The log's description can't be read.
    #[error(
        "{file} can't be understood; restore the log's directory from a backup",
        file = .file.display()
    )]
    Meta {
        /// The file.
        file: PathBuf,
        /// Why.
        #[source]
        source: serde_json::Error,
    },
    /// Records that had been made durable are damaged or missing. Nothing was changed.
    #[error(
        "{file} is damaged at byte {at} ({reason}), in records that had been made durable, so going on would lose \
         what was acknowledged; keep a copy of the directory, then restore it from a backup",
        file = .file.display()
    )]
    Damaged {
        /// The segment.
        file: PathBuf,
        /// Where the damage begins, in bytes from the file's start.
        at: u64,
        /// What is wrong there.
        reason: String,
    },
    /// An option makes no sense.
    #[error("the log can't be opened: {0}")]
    Options(&'static str),
}

impl OpenError {
    /// For `map_err`.
    pub(super) fn io(what: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { what, path, source }
    }
}

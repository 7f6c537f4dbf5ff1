//! Objects as files. What an object is and its bytes lie in one file, so that there is no moment at which one
//! is there without the other.
//!
//! ```text
//! objects/<media id>   "PMO1" | header length, u32 LE | header, JSON | bytes
//! uploads/<number>     the same, not yet whole; removed at open
//! ```

use std::fs;
use std::io::{self, ErrorKind, SeekFrom};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use aws_lc_rs::digest;
use parley_domain::MediaId;
use serde::{Deserialize, Serialize};
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWriteExt as _};

use crate::error::Error;
use crate::files::{private_dir, sync_dir};

const MAGIC: &[u8; 4] = b"PMO1";
/// Far above what the signed headers can hold; below it, a damaged length can't ask for much memory.
const HEADER_BYTES_MAX: u32 = 16 * 1024;

/// What an object is. Known, and written, before its bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Header {
    pub(super) content_type: String,
    pub(super) content_length: u64,
    pub(super) sha256: [u8; 32],
    pub(super) group: String,
    pub(super) uploader: String,
}

/// Why an upload didn't become an object.
#[derive(Debug, thiserror::Error)]
pub(super) enum UploadError {
    #[error("other bytes than announced")]
    Mismatch,
    #[error("something lies there already")]
    Exists,
    #[error("can't write the object")]
    Io(#[from] io::Error),
}

/// The directory.
pub(super) struct Objects {
    objects: PathBuf,
    uploads: PathBuf,
    next_upload: AtomicU64,
    /// Goes with the process. A second one would clear the uploads of the first away.
    _lock: fs::File,
}

impl Objects {
    /// Makes the directories and removes uploads that a crash cut off.
    pub(super) fn open(dir: &Path) -> Result<Self, Error> {
        let (objects, uploads) = (dir.join("objects"), dir.join("uploads"));
        let file = |path: &Path| {
            let path = path.to_owned();
            move |source| Error::File { path, source }
        };
        for path in [&objects, &uploads] {
            private_dir(path).map_err(file(path))?;
        }
        let lock = lock(dir)?;
        for entry in fs::read_dir(&uploads).map_err(file(&uploads))? {
            let path = entry.map_err(file(&uploads))?.path();
            fs::remove_file(&path).map_err(file(&path))?;
        }
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        for path in [Some(dir), parent].into_iter().flatten() {
            sync_dir(path).map_err(file(path))?;
        }
        Ok(Self { objects, uploads, next_upload: AtomicU64::new(0), _lock: lock })
    }

    /// Whether the directories can still be used.
    pub(super) async fn check(&self) -> io::Result<()> {
        for dir in [&self.objects, &self.uploads] {
            if !tokio::fs::metadata(dir).await?.is_dir() {
                return Err(ErrorKind::NotADirectory.into());
            }
        }
        Ok(())
    }

    pub(super) async fn exists(&self, media_id: MediaId) -> io::Result<bool> {
        tokio::fs::try_exists(self.path(media_id)).await
    }

    /// Opens an object; its file stands at the first of its bytes.
    pub(super) async fn find(&self, media_id: MediaId) -> io::Result<Option<Found>> {
        let mut file = match File::open(self.path(media_id)).await {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error),
        };
        let damaged = |what| io::Error::new(ErrorKind::InvalidData, what);
        let mut start = [0; 8];
        file.read_exact(&mut start).await?;
        let [m0, m1, m2, m3, rest @ ..] = start;
        let header_len = u32::from_le_bytes(rest);
        if [m0, m1, m2, m3] != *MAGIC || header_len > HEADER_BYTES_MAX {
            return Err(damaged("not an object file"));
        }
        let mut bytes = vec![0; usize::try_from(header_len).unwrap_or_default()];
        file.read_exact(&mut bytes).await?;
        let header: Header = serde_json::from_slice(&bytes)?;
        let metadata = file.metadata().await?;
        let offset = 8 + u64::from(header_len);
        if offset.checked_add(header.content_length) != Some(metadata.len()) {
            return Err(damaged("the object has another length than its header says"));
        }
        Ok(Some(Found { header, file, offset, modified: metadata.modified()? }))
    }

    /// Begins an upload, invisible until [`Upload::finish`].
    pub(super) async fn begin(&self, media_id: MediaId, header: Header) -> io::Result<Upload> {
        let json = serde_json::to_vec(&header)?;
        let header_len = u32::try_from(json.len()).ok().filter(|n| *n <= HEADER_BYTES_MAX);
        let header_len = header_len.ok_or(io::Error::from(ErrorKind::InvalidInput))?;
        let number = self.next_upload.fetch_add(1, Ordering::Relaxed);
        let temporary = Temporary(self.uploads.join(number.to_string()));
        let mut file = File::create_new(&temporary.0).await?;
        file.write_all(MAGIC).await?;
        file.write_all(&header_len.to_le_bytes()).await?;
        file.write_all(&json).await?;
        let target = self.path(media_id);
        let digest = digest::Context::new(&digest::SHA256);
        Ok(Upload { file, digest, written: 0, header, temporary, target, objects: self.objects.clone() })
    }

    fn path(&self, media_id: MediaId) -> PathBuf {
        self.objects.join(media_id.to_string())
    }
}

/// Keeps other processes away from a directory.
fn lock(dir: &Path) -> Result<fs::File, Error> {
    let path = dir.join("media.lock");
    let opened = fs::OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let locked = opened.and_then(|file| match file.try_lock() {
        Ok(()) => Ok(file),
        Err(fs::TryLockError::WouldBlock) => {
            let why = "another process has it: processes can share an object store only if it is S3";
            Err(io::Error::new(ErrorKind::ResourceBusy, why))
        }
        Err(fs::TryLockError::Error(error)) => Err(error),
    });
    locked.map_err(|source| Error::File { path, source })
}

/// An object, open for reading.
pub(super) struct Found {
    pub(super) header: Header,
    pub(super) modified: SystemTime,
    file: File,
    offset: u64,
}

impl Found {
    /// `length` bytes from `start` on.
    pub(super) async fn read(mut self, start: u64, length: u64) -> io::Result<tokio::io::Take<File>> {
        self.file.seek(SeekFrom::Start(self.offset + start)).await?;
        Ok(self.file.take(length))
    }
}

/// An upload under way. Dropped at any point it leaves nothing.
pub(super) struct Upload {
    file: File,
    digest: digest::Context,
    written: u64,
    header: Header,
    temporary: Temporary,
    target: PathBuf,
    objects: PathBuf,
}

impl Upload {
    /// Takes more bytes. More than announced is a mismatch at once, so that nobody fills the disk.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> Result<(), UploadError> {
        let length = u64::try_from(bytes.len()).unwrap_or(u64::MAX);
        self.written = self.written.saturating_add(length);
        if self.written > self.header.content_length {
            return Err(UploadError::Mismatch);
        }
        self.digest.update(bytes);
        self.file.write_all(bytes).await?;
        Ok(())
    }

    /// Compares, makes the bytes durable, and only then gives them their name, unless somebody was faster.
    pub(super) async fn finish(mut self) -> Result<(), UploadError> {
        let whole = self.written == self.header.content_length;
        if !whole || self.digest.finish().as_ref() != self.header.sha256 {
            return Err(UploadError::Mismatch);
        }
        self.file.flush().await?;
        self.file.sync_all().await?;
        let Self { temporary, target, objects, .. } = self;
        // Not cancelled halfway when the client goes away: a name is durable or taken back.
        let publish = tokio::task::spawn_blocking(move || publish(&temporary, &target, &objects));
        publish.await.map_err(io::Error::other)?
    }
}

/// A hard link, unlike a rename, fails when the name is taken: the check and the act are one.
fn publish(temporary: &Temporary, target: &Path, objects: &Path) -> Result<(), UploadError> {
    fs::hard_link(&temporary.0, target).map_err(|error| {
        if error.kind() == ErrorKind::AlreadyExists { UploadError::Exists } else { error.into() }
    })?;
    sync_dir(objects).map_err(|error| {
        // The name may or may not survive a crash, and the client is told that nothing was stored.
        let _ = fs::remove_file(target);
        UploadError::Io(error)
    })
}

/// A file that goes when this goes.
struct Temporary(PathBuf);

impl Drop for Temporary {
    fn drop(&mut self) {
        // What can't be removed now is removed at the next open.
        let _ = fs::remove_file(&self.0);
    }
}

//! Blobs as files of a directory, beside embedded engines.
//!
//! ```text
//! blobs/<name, with % for />   a blob, with its checksum
//! blobs/~<random>              the same, not yet whole; removed at an open long after
//! ```

#[cfg(test)]
mod tests;

use std::fs::{self, File, OpenOptions};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use aws_lc_rs::rand;
use bytes::Bytes;

use crate::blobs::{self, check_kept, check_length, check_name, check_prefix, header, limit};
use crate::error::Error;
use crate::files::{private_dir, sync_dir};
use crate::port::Blobs;

/// Begins the name of a file that is being written; no blob's name begins so.
const TEMPORARY: char = '~';

/// A file that was being written and wasn't touched for so long belongs to nobody any more.
const LEFT_BEHIND: Duration = Duration::from_secs(3600);

/// A directory of blobs. Several processes may share it.
pub struct DirectoryBlobs {
    directory: Arc<Directory>,
}

struct Directory {
    path: PathBuf,
}

impl DirectoryBlobs {
    /// Opens or makes the directory, and removes what a crash left half written an hour ago or earlier. Blocks for a few
    /// file operations.
    ///
    /// # Errors
    /// [`Error::File`].
    pub fn open(dir: &Path) -> Result<Self, Error> {
        let file = |source| Error::File { path: dir.to_owned(), source };
        private_dir(dir).map_err(file)?;
        remove_left_behind(dir).map_err(file)?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty());
        for path in [Some(dir), parent].into_iter().flatten() {
            sync_dir(path).map_err(file)?;
        }
        Ok(Self { directory: Arc::new(Directory { path: dir.to_owned() }) })
    }

    /// Does something with files where waiting for them is allowed. It goes on if the caller is cancelled.
    async fn blocking<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Directory) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let directory = self.directory.clone();
        let done = tokio::task::spawn_blocking(move || act(&directory)).await;
        done.map_err(|error| unavailable(io::Error::other(error)))?
    }
}

#[async_trait]
impl Blobs for DirectoryBlobs {
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Error> {
        check_name(name)?;
        check_length(bytes.len())?;
        let name = name.to_owned();
        self.blocking(move |directory| directory.put(&name, &bytes).map_err(unavailable)).await
    }

    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        check_name(name)?;
        let name = name.to_owned();
        self.blocking(move |directory| directory.get(&name)).await
    }

    async fn list(&self, prefix: &str, limit: usize) -> Result<Vec<String>, Error> {
        check_prefix(prefix)?;
        let prefix = prefix.to_owned();
        self.blocking(move |directory| directory.list(&prefix, limit).map_err(unavailable)).await
    }

    async fn delete(&self, name: &str) -> Result<(), Error> {
        check_name(name)?;
        let name = name.to_owned();
        self.blocking(move |directory| directory.delete(&name).map_err(unavailable)).await
    }
}

impl Directory {
    fn file(&self, name: &str) -> PathBuf {
        self.path.join(name.replace('/', "%"))
    }

    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut random = [0; 16];
        rand::fill(&mut random).map_err(|_| io::Error::other("no random numbers"))?;
        let temporary = self.path.join(format!("{TEMPORARY}{:032x}", u128::from_le_bytes(random)));
        self.write(&temporary, name, bytes).inspect_err(|_| {
            // What can't be removed now is removed at the next open.
            let _ = fs::remove_file(&temporary);
        })
    }

    /// Durable first, and only then under its name.
    fn write(&self, temporary: &Path, name: &str, bytes: &[u8]) -> io::Result<()> {
        let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(temporary)?;
        file.write_all(&header(bytes))?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(temporary, self.file(name))?;
        sync_dir(&self.path)
    }

    fn get(&self, name: &str) -> Result<Option<Bytes>, Error> {
        let file = match File::open(self.file(name)) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(unavailable(error)),
        };
        let length = file.metadata().map_err(unavailable)?.len();
        check_kept(length)?;
        let mut kept = Vec::new();
        kept.reserve_exact(usize::try_from(length).unwrap_or_default());
        file.take(length).read_to_end(&mut kept).map_err(unavailable)?;
        blobs::open(name, &kept.into()).map(Some)
    }

    fn list(&self, prefix: &str, wanted: usize) -> io::Result<Vec<String>> {
        let mut names = Vec::new();
        for entry in fs::read_dir(&self.path)? {
            let name = entry?.file_name().to_string_lossy().replace('%', "/");
            // What somebody else put there is no blob.
            if name.starts_with(prefix) && check_name(&name).is_ok() {
                names.push(name);
            }
        }
        names.sort_unstable();
        names.truncate(limit(wanted));
        Ok(names)
    }

    fn delete(&self, name: &str) -> io::Result<()> {
        match fs::remove_file(self.file(name)) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => sync_dir(&self.path),
        }
    }
}

fn remove_left_behind(dir: &Path) -> io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if !entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
            continue;
        }
        // One that is gone meanwhile was finished by the process that wrote it; one from the future isn't old.
        let modified = entry.metadata().and_then(|metadata| metadata.modified());
        if modified.is_ok_and(|time| time.elapsed().is_ok_and(|age| age >= LEFT_BEHIND)) {
            match fs::remove_file(entry.path()) {
                Err(error) if error.kind() == ErrorKind::NotFound => {} // another process that starts was quicker
                removed => removed?,
            }
        }
    }
    Ok(())
}

fn unavailable(error: io::Error) -> Error {
    Error::Unavailable { source: error.into() }
}

//! What the log's thread does to the disk. A trait, so that tests can make each of these fail.

use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};

use super::meta;

/// Space of a file system, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Space {
    /// What this process may still use.
    pub(crate) free: u64,
    /// All of it.
    pub(crate) total: u64,
}

/// The one segment that is written to, and the directory that it lies in.
pub(crate) trait Storage: Send {
    /// Puts a new segment in place, durably, with nothing but its header, and goes on with it.
    /// After an error the former segment stays the current one.
    fn create(&mut self, path: &Path, header: &[u8]) -> io::Result<()>;
    /// Writes all of the bytes at a place of the current segment.
    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()>;
    /// Cuts the current segment back, durably.
    fn truncate(&mut self, len: u64) -> io::Result<()>;
    /// Makes what was written durable.
    fn sync(&mut self) -> io::Result<()>;
    /// What the file system has left.
    fn space(&mut self) -> io::Result<Space>;
}

/// A real disk.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    file: File,
}

impl Disk {
    /// Goes on with a segment that exists.
    pub(super) fn open(dir: &Path, segment: &Path) -> io::Result<Self> {
        let file = File::options().read(true).write(true).open(segment)?;
        Ok(Self { dir: dir.to_owned(), file })
    }

    /// Writes the same bytes once more, and syncs: from `from` to the end.
    ///
    /// After a failed sync the kernel may take pages for clean that never reached the disk; a restart would read them
    /// from the page cache, and its own sync would report success. Dirtying them again makes that sync mean something.
    pub(super) fn rewrite(&mut self, from: u64, to: u64) -> io::Result<()> {
        let mut bytes = vec![0; usize::try_from(to.saturating_sub(from)).unwrap_or(usize::MAX)];
        self.file.read_exact_at(&mut bytes, from)?;
        self.file.write_all_at(&bytes, from)?;
        self.file.sync_all()
    }
}

impl Storage for Disk {
    fn create(&mut self, path: &Path, header: &[u8]) -> io::Result<()> {
        let created =
            meta::write_whole(path, header).and_then(|()| File::options().read(true).write(true).open(path));
        match created {
            Ok(file) => {
                self.file = file;
                Ok(())
            }
            Err(error) => {
                // Left behind, an empty segment would do no harm, so a failure here is none.
                drop(fs::remove_file(path.with_extension("tmp")));
                drop(fs::remove_file(path));
                Err(error)
            }
        }
    }

    fn write_at(&mut self, at: u64, bytes: &[u8]) -> io::Result<()> {
        self.file.write_all_at(bytes, at)
    }

    fn truncate(&mut self, len: u64) -> io::Result<()> {
        self.file.set_len(len)?;
        // Or a part of the batch that was refused might come back after a power loss.
        self.file.sync_all()
    }

    fn sync(&mut self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn space(&mut self) -> io::Result<Space> {
        let stat = rustix::fs::statvfs(&self.dir)?;
        Ok(Space {
            free: stat.f_bavail.saturating_mul(stat.f_frsize),
            total: stat.f_blocks.saturating_mul(stat.f_frsize),
        })
    }
}

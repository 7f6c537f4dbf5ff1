//! One process writes a log, or some read it. The lock goes with the process, whatever ends it.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use super::error::OpenError;

fn path(dir: &Path) -> PathBuf {
    dir.join("log.lock")
}

fn held(outcome: Result<(), TryLockError>, file: File, dir: &Path) -> Result<File, OpenError> {
    match outcome {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(OpenError::InUse { dir: dir.to_owned() }),
        Err(TryLockError::Error(error)) => Err(OpenError::io("lock", &path(dir))(error)),
    }
}

/// For a process that writes.
pub(super) fn to_write(dir: &Path) -> Result<File, OpenError> {
    let file = path(dir);
    let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&file);
    let opened = opened.map_err(OpenError::io("open", &file))?;
    held(opened.try_lock(), opened, dir)
}

/// For one that only reads, which needs no right to write there. `None`: nobody has ever opened it to write.
pub(super) fn to_read(dir: &Path) -> Result<Option<File>, OpenError> {
    match File::open(path(dir)) {
        Ok(opened) => held(opened.try_lock_shared(), opened, dir).map(Some),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(OpenError::io("open", &path(dir))(error)),
    }
}

//! The files of a read store's directory, apart from what lies in the databases.

use std::fs::{self, File, TryLockError};
use std::io::{self, Write as _};
use std::path::{Path, PathBuf};

use crate::Error;

const LOCK: &str = "lock";
const LIVE: &str = "live";
const LIVE_NEW: &str = "live.new";

/// The directory of a version.
pub(super) fn version_dir(dir: &Path, version: u64) -> PathBuf {
    dir.join(format!("v{version}"))
}

/// Takes the directory for this process, until the file is dropped.
pub(super) fn lock(dir: &Path) -> Result<File, Error> {
    fs::create_dir_all(dir).map_err(io_error)?;
    let file = File::create(dir.join(LOCK)).map_err(io_error)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            Err(io_error(io::Error::new(io::ErrorKind::ResourceBusy, "the read store is open already")))
        }
        Err(TryLockError::Error(error)) => Err(io_error(error)),
    }
}

/// Which version is live, and which one was before it, if it is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Live {
    pub(super) version: u64,
    pub(super) previous: Option<u64>,
}

/// The number of the live version; `None` if there never was one.
pub(super) fn read_live(dir: &Path) -> Result<Option<Live>, Error> {
    let text = match fs::read_to_string(dir.join(LIVE)) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(io_error(error)),
    };
    let unfit = || Error::Unfit("no version is named as the live one".to_owned());
    let mut lines = text.lines().map(str::parse::<u64>);
    let version = lines.next().and_then(Result::ok).ok_or_else(unfit)?;
    let previous = lines.next().transpose().map_err(|_| unfit())?;
    Ok(Some(Live { version, previous }))
}

/// Whether a version was ever named as the live one.
pub(super) fn names_live(dir: &Path) -> bool {
    dir.join(LIVE).exists()
}

/// Names the live version: after a crash it is the old one or the new one, and once this returned the new one.
pub(super) fn write_live(dir: &Path, live: Live) -> Result<(), Error> {
    let new = dir.join(LIVE_NEW);
    let write = || {
        let mut file = File::create(&new)?;
        writeln!(file, "{}", live.version)?;
        if let Some(previous) = live.previous {
            writeln!(file, "{previous}")?;
        }
        file.sync_all()?;
        // The version's own entry must be there before the name that points to it.
        sync_dir(dir)?;
        fs::rename(&new, dir.join(LIVE))?;
        sync_dir(dir)
    };
    write().map_err(io_error)
}

/// Forgets which version is live, so that none is.
pub(super) fn remove_live(dir: &Path) -> Result<(), Error> {
    match fs::remove_file(dir.join(LIVE)) {
        Ok(()) => sync_dir(dir).map_err(io_error),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(error) => Err(io_error(error)),
    }
}

/// The numbers of the versions that have a directory, in whatever state.
pub(super) fn versions(dir: &Path) -> Result<Vec<u64>, Error> {
    let mut versions = Vec::new();
    for entry in fs::read_dir(dir).map_err(io_error)? {
        let name = entry.map_err(io_error)?.file_name();
        versions.extend(name.to_str().and_then(|name| name.strip_prefix('v')?.parse::<u64>().ok()));
    }
    versions.sort_unstable();
    Ok(versions)
}

/// Removes a version's directory.
pub(super) fn remove_version(dir: &Path, version: u64) -> Result<(), Error> {
    match fs::remove_dir_all(version_dir(dir, version)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(io_error(error)),
        Ok(()) | Err(_) => Ok(()),
    }
}

fn sync_dir(dir: &Path) -> io::Result<()> {
    File::open(dir)?.sync_all()
}

pub(super) fn io_error(error: io::Error) -> Error {
    Error::Engine(Box::new(error))
}

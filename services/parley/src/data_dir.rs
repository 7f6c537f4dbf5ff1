//! The data directory: one process at a time, and the development key.

use std::fs::{File, OpenOptions};
use std::io::Write as _;
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use anyhow::Context as _;
use parley_edge::auth::Secret;
use rand::Rng as _;
use rustix::fs::FlockOperation;

/// The file with the key that signs development tokens.
const KEY_FILE: &str = "auth.key";
/// Bytes of that key before they are written as hex.
const KEY_BYTES: usize = 32;

/// Another process has the directory.
#[derive(Debug, thiserror::Error)]
#[error(
    "{} is in use by another parley process: stop it first, or name another directory with --data",
    .0.display()
)]
pub(crate) struct InUse(PathBuf);

/// Held while a process owns a data directory; the lock goes with the process, whatever ends it.
#[derive(Debug)]
pub(crate) struct DataDir {
    path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Makes the directory if need be (mode 0700) and locks it.
    ///
    /// # Errors
    /// [`InUse`], or what the file system says.
    pub(crate) fn lock(path: &Path) -> anyhow::Result<Self> {
        create(path)?;
        let file = path.join("lock");
        let lock = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&file);
        let lock = lock.with_context(|| format!("{} can't be opened", file.display()))?;
        match rustix::fs::flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => {
                warn_if_shared(&path.join(KEY_FILE));
                Ok(Self { path: path.to_owned(), _lock: lock })
            }
            Err(rustix::io::Errno::WOULDBLOCK) => Err(InUse(path.to_owned()).into()),
            Err(error) => Err(error).with_context(|| format!("{} can't be locked", file.display())),
        }
    }

    /// Locks a directory that must be there already, so that a mistyped `--data` makes none.
    ///
    /// # Errors
    /// As [`DataDir::lock`], or that there is none.
    pub(crate) fn lock_existing(path: &Path) -> anyhow::Result<Self> {
        must_exist(path)?;
        Self::lock(path)
    }

    /// The directory.
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// The key ring.
    pub(crate) fn key_ring(&self) -> PathBuf {
        self.path.join("keys").join("ring.json")
    }

    /// The wrapped data keys.
    pub(crate) fn key_store(&self) -> PathBuf {
        self.path.join("keys").join("store")
    }

    /// The read models.
    pub(crate) fn reads(&self) -> PathBuf {
        self.path.join("reads")
    }

    /// The objects.
    pub(crate) fn media(&self) -> PathBuf {
        self.path.join("media")
    }
}

/// Whether there is a data directory.
///
/// # Errors
/// There is none.
pub(crate) fn must_exist(path: &Path) -> anyhow::Result<()> {
    anyhow::ensure!(path.is_dir(), "there is no data directory {}: name one with --data", path.display());
    Ok(())
}

/// Makes a data directory, if it isn't there.
pub(crate) fn create(path: &Path) -> anyhow::Result<()> {
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(path)
        .with_context(|| format!("the data directory {} can't be made", path.display()))
}

/// The key that signs development tokens, made the first time. Works while a server runs.
///
/// # Errors
/// What the file system says.
pub(crate) fn development_secret(dir: &Path) -> anyhow::Result<Secret> {
    create(dir)?;
    let path = dir.join(KEY_FILE);
    let cannot = || format!("the development key {} can't be read or made", path.display());
    if !path.exists() {
        make_key(dir, &path).with_context(cannot)?;
    }
    let text = std::fs::read(&path).with_context(cannot)?;
    let text = text.trim_ascii();
    // An empty or half key would let anybody sign tokens.
    anyhow::ensure!(
        text.len() >= KEY_BYTES,
        "the development key {} is damaged: remove it, and a fresh one is made (old tokens end with it)",
        path.display()
    );
    Ok(Secret::new(text.to_vec()))
}

/// Whoever can read the key can sign as anybody. A group of its own is somebody's wish.
fn warn_if_shared(key: &Path) {
    let mode = std::fs::metadata(key).map_or(0, |file| file.permissions().mode());
    if mode & 0o004 != 0 {
        tracing::warn!(
            mode = format!("{:o}", mode & 0o777),
            "everybody on this machine can read {}, with which development tokens are signed: chmod 600 it",
            key.display()
        );
    }
}

/// Whether there is such a key already.
///
/// # Errors
/// There is none, or no data directory.
pub(crate) fn must_have_secret(dir: &Path) -> anyhow::Result<()> {
    must_exist(dir)?;
    anyhow::ensure!(
        dir.join(KEY_FILE).exists(),
        "there is no development key in {}: name the server's data directory with --data, or its secret with auth.hs256_secret",
        dir.display()
    );
    Ok(())
}

/// `token` and `serve` may race here: the key is written aside and linked into place, which only one can do.
fn make_key(dir: &Path, path: &Path) -> std::io::Result<()> {
    let mut key = [0; KEY_BYTES];
    rand::rng().fill_bytes(&mut key);
    let hex: String = key.iter().map(|byte| format!("{byte:02x}")).collect();
    let aside = dir.join(format!("{KEY_FILE}.{}", uuid::Uuid::now_v7()));
    let mut file = OpenOptions::new().create_new(true).write(true).mode(0o600).open(&aside)?;
    file.write_all(hex.as_bytes())?;
    file.sync_all()?;
    let linked = std::fs::hard_link(&aside, path);
    std::fs::remove_file(&aside)?;
    match linked {
        Err(error) if error.kind() != std::io::ErrorKind::AlreadyExists => Err(error),
        _ => File::open(dir)?.sync_all(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_process_at_a_time_and_one_key_for_ever() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("data");
        let held = DataDir::lock(&path).unwrap();
        assert!(DataDir::lock(&path).unwrap_err().is::<InUse>());
        drop(held);
        DataDir::lock(&path).unwrap();
        development_secret(&path).unwrap();
        let key = std::fs::read(path.join(KEY_FILE)).unwrap();
        development_secret(&path).unwrap();
        assert_eq!(std::fs::read(path.join(KEY_FILE)).unwrap(), key);
        std::fs::write(path.join(KEY_FILE), "").unwrap();
        assert!(development_secret(&path).unwrap_err().to_string().contains("damaged"));
    }

    #[test]
    fn many_that_race_for_the_key_get_the_same() {
        let dir = tempfile::tempdir().unwrap();
        let read = || {
            development_secret(dir.path()).unwrap();
            std::fs::read(dir.path().join(KEY_FILE)).unwrap()
        };
        let keys: Vec<Vec<u8>> = std::thread::scope(|scope| {
            let racers: Vec<_> = (0..8).map(|_| scope.spawn(read)).collect();
            racers.into_iter().map(|racer| racer.join().unwrap()).collect()
        });
        assert!(keys.iter().all(|key| Some(key) == keys.first()));
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_mistyped_directory_is_not_made() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("typo");
        assert!(DataDir::lock_existing(&path).is_err());
        assert!(must_have_secret(&path).is_err());
        assert!(!path.exists());
        assert!(must_have_secret(dir.path()).unwrap_err().to_string().contains("no development key"));
        development_secret(dir.path()).unwrap();
        must_have_secret(dir.path()).unwrap();
    }
}

//! The versions of the read models in a directory: which one is live, and the next one beside it.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use arc_swap::{ArcSwap, ArcSwapOption};
use async_trait::async_trait;
use parley_domain::Epoch;
use tokio::sync::Mutex;
use tracing::{info, warn};

use super::engine::Closed;
use super::files::Live;
use super::model::blocking;
use super::{EmbeddedModel, Options, files};
use crate::{Error, ReadModel, ReadStore};

/// How long to wait for the last readers of a version before its directory is left to the next time.
const CLOSE_TRIES: u32 = 200;
const CLOSE_PAUSE: Duration = Duration::from_millis(25);
/// Versions count from 1.
const NO_VERSION: u64 = 0;

/// Read models in a directory.
#[derive(Debug)]
pub struct EmbeddedReadStore(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    dir: PathBuf,
    epoch: Epoch,
    options: Options,
    live: ArcSwap<EmbeddedModel>,
    next: ArcSwapOption<EmbeddedModel>,
    /// The version that was live before, while it is brought up to date.
    former: ArcSwapOption<EmbeddedModel>,
    /// The version that was live before; changed under the lock below.
    previous: AtomicU64,
    /// Versions that were given up but may still be held by a reader. Its lock is held over all of `create_next`,
    /// `switch` and `switch_back`, so that these exclude each other, also when whoever asked for one is gone.
    closing: Arc<Mutex<Vec<(u64, Closed)>>>,
    // Last, so that the databases are closed before another process may have the directory.
    _lock: File,
}

impl EmbeddedReadStore {
    /// Opens the read store in a directory, or makes one with an empty live version.
    ///
    /// What a process that was killed had left half-built is thrown away. Blocks: call it before there is anybody to
    /// serve.
    ///
    /// # Errors
    /// [`Error::OtherLog`] if the live version was built from another epoch, [`Error::Unfit`] if it has another format, [`Error::Engine`] or
    /// [`Error::Damaged`] if it can't be opened, also while another process has it. Nothing is changed then: the caller
    /// may [`discard`](Self::discard) everything and begin anew.
    pub fn open(dir: &Path, epoch: Epoch, options: Options) -> Result<Arc<Self>, Error> {
        let lock = files::lock(dir)?;
        let named = files::read_live(dir)?;
        let live = match named {
            Some(Live { version, .. }) => {
                EmbeddedModel::open(&files::version_dir(dir, version), version, epoch, &options)?
            }
            None => create_first(dir, epoch, &options)?,
        };
        let previous = named.and_then(|live| live.previous);
        // Only now, since opening took the live version's own lock, too.
        let unfinished = |version: &u64| *version > live.version() && Some(*version) != previous;
        for version in files::versions(dir)?.into_iter().filter(unfinished) {
            info!(version, "removing a read model that was never finished");
            files::remove_version(dir, version)?;
        }
        Ok(Arc::new(Self(Arc::new(Inner {
            dir: dir.to_owned(),
            epoch,
            options,
            live: ArcSwap::from_pointee(live),
            next: ArcSwapOption::empty(),
            former: ArcSwapOption::empty(),
            previous: AtomicU64::new(previous.unwrap_or(NO_VERSION)),
            closing: Arc::default(),
            _lock: lock,
        }))))
    }

    /// Whether there are read models in a directory, be they whole or not.
    #[must_use]
    pub fn is_there(dir: &Path) -> bool {
        files::names_live(dir)
    }

    /// Throws away all versions in a directory that nobody has open, so that [`open`](Self::open) makes an empty one.
    /// The read models can be rebuilt from the log.
    ///
    /// # Errors
    /// [`Error::Engine`] if the directory can't be written, or while somebody has it open.
    pub fn discard(dir: &Path) -> Result<(), Error> {
        let _lock = files::lock(dir)?;
        files::remove_live(dir)?;
        for version in files::versions(dir)? {
            files::remove_version(dir, version)?;
        }
        Ok(())
    }
}

impl EmbeddedReadStore {
    /// Does something that must be alone, once what was given up is closed; it is told which versions are still held, and
    /// where to leave what it gives up itself.
    async fn alone<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Inner, &[u64], &mut Vec<(u64, Closed)>) -> Result<T, Error> + Send + 'static,
    ) -> Result<T, Error> {
        let mut closing = Arc::clone(&self.0.closing).lock_owned().await;
        let held = wait_closed(&mut closing).await;
        let inner = Arc::clone(&self.0);
        blocking(move || work(&inner, &held, &mut closing)).await
    }
}

impl Inner {
    /// Removes what isn't live and makes an empty version.
    fn create(&self, held: &[u64]) -> Result<Arc<EmbeddedModel>, Error> {
        let live = self.live.load().version();
        let versions = files::versions(&self.dir)?;
        files::write_live(&self.dir, Live { version: live, previous: None })?;
        self.previous.store(NO_VERSION, Ordering::Relaxed);
        for version in versions.iter().filter(|version| **version != live && !held.contains(version)) {
            files::remove_version(&self.dir, *version)?;
        }
        // Behind all that there was, so that a version that is still held never gets in the way.
        let version = versions.last().map_or(1, |last| last + 1);
        let dir = files::version_dir(&self.dir, version);
        let next = Arc::new(EmbeddedModel::create(&dir, version, self.epoch, &self.options)?);
        self.next.store(Some(Arc::clone(&next)));
        Ok(next)
    }

    fn switch(&self, closing: &mut Vec<(u64, Closed)>) -> Result<(), Error> {
        let next = self.next.load_full();
        let next = next.ok_or_else(|| Error::Unfit("there is no next version to switch to".to_owned()))?;
        next.persist_now()?;
        self.make_live(next, closing)?;
        // In this order: who persists looks at `next` first, and so misses neither.
        self.next.store(None);
        Ok(())
    }

    fn make_live(&self, model: Arc<EmbeddedModel>, closing: &mut Vec<(u64, Closed)>) -> Result<(), Error> {
        // Whoever switches back finds all of it, or has the rest projected again; it may be damaged, and given up for that.
        if let Err(error) = self.live.load().persist_now() {
            warn!(
                error = &error as &dyn std::error::Error,
                "the read model that was live isn't complete in its files"
            );
        }
        let (from, to) = (self.live.load().version(), model.version());
        files::write_live(&self.dir, Live { version: to, previous: Some(from) })?;
        let old = self.live.swap(model);
        self.previous.store(from, Ordering::Relaxed);
        closing.push((from, old.watch()));
        info!(from, to, "switched the read model");
        Ok(())
    }

    /// Opens the version that was live before, unless it is open.
    fn former(&self, held: &[u64]) -> Result<Arc<EmbeddedModel>, Error> {
        if let Some(former) = self.former.load_full() {
            return Ok(former);
        }
        let version = self.previous.load(Ordering::Relaxed);
        if version == NO_VERSION {
            return Err(Error::Unfit("there is no earlier version to switch back to".to_owned()));
        }
        if held.contains(&version) {
            return Err(files::io_error(std::io::ErrorKind::ResourceBusy.into()));
        }
        let dir = files::version_dir(&self.dir, version);
        let former = Arc::new(EmbeddedModel::open(&dir, version, self.epoch, &self.options)?);
        self.former.store(Some(Arc::clone(&former)));
        Ok(former)
    }

    fn switch_back(&self, held: &[u64], closing: &mut Vec<(u64, Closed)>) -> Result<(), Error> {
        let former = self.former(held)?;
        former.persist_now()?;
        self.make_live(former, closing)?;
        self.former.store(None);
        Ok(())
    }
}

/// Waits for the last readers of versions that were given up; those that remain are still held.
async fn wait_closed(closing: &mut Vec<(u64, Closed)>) -> Vec<u64> {
    for _ in 0..CLOSE_TRIES {
        closing.retain(|(_, closed)| !closed.is_closed());
        if closing.is_empty() {
            return Vec::new();
        }
        tokio::time::sleep(CLOSE_PAUSE).await;
    }
    let held: Vec<u64> = closing.iter().map(|(version, _)| *version).collect();
    warn!(versions = ?held, "old read models are still in use; they are removed at the next rebuild");
    held
}

fn create_first(dir: &Path, epoch: Epoch, options: &Options) -> Result<EmbeddedModel, Error> {
    // Without a name for the live version whatever lies here was never finished.
    for version in files::versions(dir)? {
        files::remove_version(dir, version)?;
    }
    let model = EmbeddedModel::create(&files::version_dir(dir, 1), 1, epoch, options)?;
    files::write_live(dir, Live { version: 1, previous: None })?;
    Ok(model)
}

#[async_trait]
impl ReadStore for EmbeddedReadStore {
    fn live(&self) -> Arc<dyn ReadModel> {
        self.0.live.load_full()
    }

    fn live_version(&self) -> u64 {
        self.0.live.load().version()
    }

    fn trouble(&self) -> Option<String> {
        self.0.live.load().trouble().map(str::to_owned)
    }

    async fn refresh(&self) -> Result<(), Error> {
        // Nobody else has the directory.
        Ok(())
    }

    async fn create_next(&self) -> Result<Arc<dyn ReadModel>, Error> {
        let mut closing = Arc::clone(&self.0.closing).lock_owned().await;
        for earlier in [self.0.next.swap(None), self.0.former.swap(None)].into_iter().flatten() {
            closing.push((earlier.version(), earlier.watch()));
            blocking(move || {
                drop(earlier);
                Ok(())
            })
            .await?;
        }
        let held = wait_closed(&mut closing).await;
        let inner = Arc::clone(&self.0);
        let next: Arc<dyn ReadModel> = blocking(move || {
            let next = inner.create(&held);
            drop(closing);
            next
        })
        .await?;
        Ok(next)
    }

    async fn switch(&self) -> Result<(), Error> {
        let mut closing = Arc::clone(&self.0.closing).lock_owned().await;
        let inner = Arc::clone(&self.0);
        blocking(move || inner.switch(&mut closing)).await
    }

    async fn former(&self) -> Result<Arc<dyn ReadModel>, Error> {
        let former = self.alone(|inner, held, _| inner.former(held)).await?;
        Ok(former)
    }

    async fn switch_back(&self) -> Result<(), Error> {
        self.alone(Inner::switch_back).await
    }

    async fn persist(&self) -> Result<(), Error> {
        let inner = Arc::clone(&self.0);
        blocking(move || {
            let next = inner.next.load_full();
            inner.live.load_full().persist_now()?;
            next.map_or(Ok(()), |next| next.persist_now())
        })
        .await
    }
}

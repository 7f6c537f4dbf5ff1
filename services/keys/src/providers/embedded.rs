//! Wrapped keys in a fjall database of their own.

mod rows;

use std::fs::{File, TryLockError};
use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parking_lot::RwLock;
use parley_domain::{GroupId, KeyId};

use self::rows::{Opened, decode, engine, period_key};
use crate::port::{KeyStore, StoreError, WrappedKey};

/// How often, and after what pause, the store is opened again once it was replaced: another process may look at its files.
const REOPEN_TRIES: usize = 5;
const REOPEN_PAUSE: Duration = Duration::from_millis(100);

/// The embedded key store.
///
/// What the engine removes lies on in its journal until that is full, and erased must mean erased: so keys are destroyed by copying all
/// others to a database beside this one, which then takes its place.
///
/// ```text
///  DIR           the store
///  DIR.next      a copy that is being made; whole once DIR is no more
///  DIR.former    what was in its place; removed last
///  DIR.lock      held by the process that has the store
/// ```
pub struct EmbeddedKeyStore {
    dir: PathBuf,
    /// Whoever puts keys there shares this; whoever copies the database has it alone.
    changing: Arc<tokio::sync::RwLock<()>>,
    /// `None` if it couldn't be opened again after it had been replaced.
    opened: Arc<RwLock<Option<Opened>>>,
    /// Whether keys couldn't be stored, as on a full disk. The engine takes nothing more until it is opened anew, and what of them lies in
    /// its files may be gone after a power loss: so before the next ones the store is replaced by a copy of what is seen of it.
    is_broken: Arc<AtomicBool>,
    /// Held on by whoever still replaces when the store is dropped.
    lock: Arc<File>,
}

impl EmbeddedKeyStore {
    /// Opens the store in a directory, which is made if there is none.
    ///
    /// # Errors
    /// [`StoreError::Unfit`] while another process has it, else [`StoreError::Engine`].
    pub fn open(dir: &Path) -> Result<Arc<Self>, StoreError> {
        let lock = lock(dir)?;
        undo_or_finish(dir).map_err(io)?;
        // From here on nobody but `replace` makes what lies there.
        let opened = Opened::open(dir)?;
        // It can be opened, so what was in its place isn't needed any more.
        remove_all(dir).map_err(io)?;
        let opened = Arc::new(RwLock::new(Some(opened)));
        let (changing, is_broken) = (Arc::default(), Arc::default());
        Ok(Arc::new(Self { dir: dir.to_owned(), changing, opened, is_broken, lock: Arc::new(lock) }))
    }

    /// Whether there is a store in a directory.
    #[must_use]
    pub fn is_there(dir: &Path) -> bool {
        dir.exists() || former(dir).exists()
    }

    fn with<T>(&self, read: impl FnOnce(&Opened) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(self.opened.read().as_ref().ok_or_else(closed)?)
    }

    /// Replaces the store by a copy without some keys, if there are any or it is broken.
    async fn replace_without(&self, doomed: Vec<KeyId>) -> Result<(), StoreError> {
        let alone = Arc::clone(&self.changing).write_owned().await;
        let (dir, opened, lock) = (self.dir.clone(), Arc::clone(&self.opened), Arc::clone(&self.lock));
        let is_broken = Arc::clone(&self.is_broken);
        let rewriting = move || {
            let _until_replaced = (alone, lock);
            remove_all(&dir).map_err(io)?;
            if !doomed.is_empty() || is_broken.load(Ordering::Acquire) {
                rewrite(&dir, &opened, &doomed)?;
                // Nobody has broken it meanwhile: to put keys there is to share what is held alone here.
                is_broken.store(false, Ordering::Release);
            }
            Ok(())
        };
        tokio::task::spawn_blocking(rewriting).await.map_err(|error| StoreError::Engine(Box::new(error)))?
    }
}

fn closed() -> StoreError {
    StoreError::Unfit("it couldn't be opened again after it was replaced; a restart may".to_owned())
}

fn io(error: std::io::Error) -> StoreError {
    StoreError::Engine(Box::new(error))
}

fn next(dir: &Path) -> PathBuf {
    dir.with_extension("next")
}

fn former(dir: &Path) -> PathBuf {
    dir.with_extension("former")
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    if let Some(parent) = dir.parent() {
        std::fs::create_dir_all(parent).map_err(io)?;
    }
    let file = dir.with_extension("lock");
    let file = File::options().create(true).truncate(false).write(true).open(file).map_err(io)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Unfit("another process has it open".to_owned())),
        Err(TryLockError::Error(error)) => Err(io(error)),
    }
}

fn remove(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

/// Removes what lies beside the store, for good.
fn remove_all(dir: &Path) -> std::io::Result<()> {
    remove(&next(dir))?;
    remove(&former(dir))?;
    sync_parent(dir)
}

fn sync_parent(dir: &Path) -> std::io::Result<()> {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => File::open(parent)?.sync_all(),
        _ => File::open(".")?.sync_all(),
    }
}

/// Puts what lies in `next` in the store's place, or leaves everything as it was. Nobody may have either open.
fn replace(dir: &Path) -> std::io::Result<()> {
    std::fs::rename(dir, former(dir))?;
    if let Err(error) = std::fs::rename(next(dir), dir) {
        std::fs::rename(former(dir), dir)?;
        return Err(error);
    }
    sync_parent(dir)
}

/// Where the store isn't there but its former one is, a crash or an error came between two renames: the next one, which is whole then,
/// takes its place, or, if that is gone, the former one once more.
fn undo_or_finish(dir: &Path) -> std::io::Result<()> {
    if dir.exists() || !former(dir).exists() {
        return Ok(());
    }
    let heir = if next(dir).exists() { next(dir) } else { former(dir) };
    std::fs::rename(heir, dir)?;
    sync_parent(dir)
}

/// Opens the store again. Never makes one: an empty store in the place of one that couldn't be put back would pass for it.
fn reopen(dir: &Path) -> Result<Opened, StoreError> {
    for _ in 1..REOPEN_TRIES {
        match dir.exists().then(|| Opened::open(dir)) {
            Some(Ok(opened)) => return Ok(opened),
            Some(Err(_)) | None => std::thread::sleep(REOPEN_PAUSE),
        }
    }
    if dir.exists() { Opened::open(dir) } else { Err(closed()) }
}

/// Replaces the store by one without some keys. What an earlier try left beside it must have been removed, since it may hold keys that
/// were to be destroyed.
fn rewrite(dir: &Path, opened: &RwLock<Option<Opened>>, doomed: &[KeyId]) -> Result<(), StoreError> {
    {
        let fresh = Opened::open(&next(dir))?;
        opened.read().as_ref().ok_or_else(closed)?.copy_without(doomed, &fresh)?;
    }
    let mut place = opened.write();
    // Closed, so that the engine writes nothing where soon another database lies.
    *place = None;
    let replaced = replace(dir);
    *place = Some(reopen(dir)?);
    drop(place);
    replaced.and_then(|()| remove_all(dir)).map_err(io)
}

#[async_trait]
impl KeyStore for EmbeddedKeyStore {
    async fn find(&self, key: KeyId) -> Result<Option<WrappedKey>, StoreError> {
        self.with(|opened| opened.find(key.as_bytes()))
    }

    async fn of_period(&self, group: GroupId, period: u32) -> Result<Option<WrappedKey>, StoreError> {
        self.with(|opened| match opened.by_period.get(period_key(group, period)).map_err(engine)? {
            Some(id) => opened.find(&id),
            None => Ok(None),
        })
    }

    async fn put(&self, keys: Vec<WrappedKey>) -> Result<(), StoreError> {
        if self.is_broken.load(Ordering::Acquire) {
            self.replace_without(Vec::new()).await?;
            tracing::info!(store = %self.dir.display(), "the key store takes keys again");
        }
        let shared = Arc::clone(&self.changing).read_owned().await;
        let (opened, is_broken) = (Arc::clone(&self.opened), Arc::clone(&self.is_broken));
        let putting = move || {
            let _until_durable = shared;
            let opened = opened.read();
            let opened = opened.as_ref().ok_or_else(closed)?;
            opened.put(&keys).inspect_err(|_| is_broken.store(true, Ordering::Release))
        };
        tokio::task::spawn_blocking(putting).await.map_err(|error| StoreError::Engine(Box::new(error)))?
    }

    async fn page(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<WrappedKey>, StoreError> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(*after.as_bytes()));
        self.with(|opened| {
            let range = opened.by_id.range::<[u8; 16], _>((from, Bound::Unbounded));
            range
                .take(limit)
                .map(|guard| {
                    let (id, row) = guard.into_inner().map_err(engine)?;
                    decode(&id, &row)
                })
                .collect()
        })
    }

    async fn of_group(&self, group: GroupId) -> Result<Vec<(u32, KeyId)>, StoreError> {
        let mut found = Vec::new();
        let mut after = None;
        loop {
            let page = self.page(after, 1_000).await?;
            let Some(last) = page.last() else { return Ok(found) };
            after = Some(last.key_id);
            let own = page.iter().filter(|key| key.group_id == group);
            found.extend(own.map(|key| (key.period, key.key_id)));
        }
    }

    async fn destroy(&self, _: GroupId, keys: &[(u32, KeyId)]) -> Result<(), StoreError> {
        self.replace_without(keys.iter().map(|(_, key)| *key).collect()).await
    }
}

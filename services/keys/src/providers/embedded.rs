//! Wrapped keys in a fjall database of their own.

mod rows;

use std::ops::Bound;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::RwLock;
use parley_domain::{GroupId, KeyId};

use self::rows::{Opened, decode, encode, engine, period_key};
use crate::port::{KeyStore, StoreError, WrappedKey};

/// The embedded key store.
///
/// What the engine removes lies on in its journal until that is full, and erased must mean erased: so keys are destroyed by copying all
/// others to a database beside this one, which then takes its place.
pub struct EmbeddedKeyStore {
    dir: PathBuf,
    /// Whoever puts keys there shares this; whoever copies the database has it alone.
    changing: Arc<tokio::sync::RwLock<()>>,
    /// `None` if it couldn't be opened again after its place had been taken.
    opened: Arc<RwLock<Option<Opened>>>,
}

impl EmbeddedKeyStore {
    /// Opens the store in a directory, which is made if need be.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn open(dir: &Path) -> Result<Arc<Self>, StoreError> {
        finish_replacing(dir).map_err(io)?;
        let opened = Arc::new(RwLock::new(Some(Opened::open(dir)?)));
        Ok(Arc::new(Self { dir: dir.to_owned(), changing: Arc::default(), opened }))
    }

    /// Whether there is a store in a directory.
    #[must_use]
    pub fn is_there(dir: &Path) -> bool {
        dir.exists() || former(dir).exists()
    }

    fn with<T>(&self, read: impl FnOnce(&Opened) -> Result<T, StoreError>) -> Result<T, StoreError> {
        read(self.opened.read().as_ref().ok_or_else(closed)?)
    }
}

fn closed() -> StoreError {
    StoreError::Unfit("it couldn't be opened again after keys were destroyed; a restart may".to_owned())
}

fn io(error: std::io::Error) -> StoreError {
    StoreError::Engine(Box::new(error))
}

/// Beside the store: what is to take its place.
fn next(dir: &Path) -> PathBuf {
    dir.with_extension("next")
}

/// Beside the store: what was in its place.
fn former(dir: &Path) -> PathBuf {
    dir.with_extension("former")
}

fn remove(dir: &Path) -> std::io::Result<()> {
    match std::fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn sync_parent(dir: &Path) -> std::io::Result<()> {
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => std::fs::File::open(parent)?.sync_all(),
        _ => std::fs::File::open(".")?.sync_all(),
    }
}

/// Puts what lies in `next` in the store's place. Nobody may have either open.
fn replace(dir: &Path) -> std::io::Result<()> {
    std::fs::rename(dir, former(dir))?;
    std::fs::rename(next(dir), dir)?;
    sync_parent(dir)
}

/// What a crash left of replacing. Where the store isn't there but its former one is, it came between the two renames, and the next
/// one is whole.
fn finish_replacing(dir: &Path) -> std::io::Result<()> {
    if !dir.exists() && former(dir).exists() {
        std::fs::rename(next(dir), dir)?;
        sync_parent(dir)?;
    }
    remove(&next(dir))?;
    remove(&former(dir))
}

/// Replaces the store by one without some keys.
fn rewrite(dir: &Path, opened: &RwLock<Option<Opened>>, doomed: &[KeyId]) -> Result<(), StoreError> {
    remove(&next(dir)).map_err(io)?;
    {
        let fresh = Opened::open(&next(dir))?;
        opened.read().as_ref().ok_or_else(closed)?.copy_without(doomed, &fresh)?;
    }
    let mut place = opened.write();
    // Closed, so that the engine writes nothing where soon another database lies.
    *place = None;
    let replaced = replace(dir);
    *place = Some(Opened::open(dir)?);
    drop(place);
    replaced.and_then(|()| remove(&former(dir))).map_err(io)
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
        let shared = Arc::clone(&self.changing).read_owned().await;
        let opened = Arc::clone(&self.opened);
        let putting = move || {
            let _until_durable = shared;
            let opened = opened.read();
            let opened = opened.as_ref().ok_or_else(closed)?;
            let mut batch = opened.database.batch();
            for key in &keys {
                batch.insert(&opened.by_id, *key.key_id.as_bytes(), encode(key));
                batch.insert(&opened.by_period, period_key(key.group_id, key.period), *key.key_id.as_bytes());
            }
            batch.commit().map_err(engine)?;
            opened.persist()
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
        if keys.is_empty() {
            return Ok(());
        }
        let alone = Arc::clone(&self.changing).write_owned().await;
        let doomed: Vec<KeyId> = keys.iter().map(|(_, key)| *key).collect();
        let (dir, opened) = (self.dir.clone(), Arc::clone(&self.opened));
        let rewriting = move || {
            let _until_replaced = alone;
            rewrite(&dir, &opened, &doomed)
        };
        tokio::task::spawn_blocking(rewriting).await.map_err(|error| StoreError::Engine(Box::new(error)))?
    }
}

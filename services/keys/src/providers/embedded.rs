//! Wrapped keys in a fjall database of their own.

use std::ops::Bound;
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parley_domain::{GroupId, KeyId};

use crate::port::{KeyStore, StoreError, WrappedKey};

/// The embedded key store: rows `key id → group, period, ring key, wrapped` and `group, period → key id`.
pub struct EmbeddedKeyStore {
    database: Database,
    by_id: Keyspace,
    by_period: Keyspace,
}

impl EmbeddedKeyStore {
    /// Opens the store in a directory, which is made if need be.
    ///
    /// # Errors
    /// [`StoreError::Engine`].
    pub fn open(dir: &Path) -> Result<Arc<Self>, StoreError> {
        let database = Database::builder(dir).open().map_err(engine)?;
        let by_id = database.keyspace("by_id", KeyspaceCreateOptions::default).map_err(engine)?;
        let by_period = database.keyspace("by_period", KeyspaceCreateOptions::default).map_err(engine)?;
        Ok(Arc::new(Self { database, by_id, by_period }))
    }

    fn find_now(&self, key: &[u8]) -> Result<Option<WrappedKey>, StoreError> {
        let Some(row) = self.by_id.get(key).map_err(engine)? else { return Ok(None) };
        decode(key, &row).map(Some)
    }
}

fn engine(error: fjall::Error) -> StoreError {
    StoreError::Engine(Box::new(error))
}

fn period_key(group: GroupId, period: u32) -> [u8; 20] {
    let mut key = [0; 20];
    let (left, right) = key.split_at_mut(16);
    left.copy_from_slice(group.as_bytes());
    right.copy_from_slice(&period.to_be_bytes());
    key
}

fn encode(key: &WrappedKey) -> Vec<u8> {
    let mut row = Vec::with_capacity(96);
    row.extend_from_slice(key.group_id.as_bytes());
    row.extend_from_slice(&key.period.to_be_bytes());
    row.push(u8::try_from(key.ring_key.len()).unwrap_or(u8::MAX));
    row.extend_from_slice(key.ring_key.as_bytes());
    row.extend_from_slice(&key.wrapped);
    row
}

fn decode(id: &[u8], row: &[u8]) -> Result<WrappedKey, StoreError> {
    let parts = || {
        let (group, rest) = row.split_at_checked(16)?;
        let (period, rest) = rest.split_at_checked(4)?;
        let (length, rest) = rest.split_first()?;
        let (ring_key, wrapped) = rest.split_at_checked(usize::from(*length))?;
        Some(WrappedKey {
            key_id: KeyId::from_slice(id)?,
            group_id: GroupId::from_slice(group)?,
            period: u32::from_be_bytes(period.try_into().ok()?),
            ring_key: String::from_utf8(ring_key.to_vec()).ok()?,
            wrapped: wrapped.to_vec(),
        })
    };
    parts().ok_or(StoreError::Damaged)
}

#[async_trait]
impl KeyStore for EmbeddedKeyStore {
    async fn find(&self, key: KeyId) -> Result<Option<WrappedKey>, StoreError> {
        self.find_now(key.as_bytes())
    }

    async fn of_period(&self, group: GroupId, period: u32) -> Result<Option<WrappedKey>, StoreError> {
        match self.by_period.get(period_key(group, period)).map_err(engine)? {
            Some(id) => self.find_now(&id),
            None => Ok(None),
        }
    }

    async fn put(&self, keys: Vec<WrappedKey>) -> Result<(), StoreError> {
        let mut batch = self.database.batch();
        for key in &keys {
            batch.insert(&self.by_id, *key.key_id.as_bytes(), encode(key));
            batch.insert(&self.by_period, period_key(key.group_id, key.period), *key.key_id.as_bytes());
        }
        batch.commit().map_err(engine)?;
        let database = self.database.clone();
        let persisted = tokio::task::spawn_blocking(move || database.persist(PersistMode::SyncAll)).await;
        persisted.map_err(|error| StoreError::Engine(Box::new(error)))?.map_err(engine)
    }

    async fn page(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<WrappedKey>, StoreError> {
        let from = after.map_or(Bound::Unbounded, |after| Bound::Excluded(*after.as_bytes()));
        let range = self.by_id.range::<[u8; 16], _>((from, Bound::Unbounded));
        range
            .take(limit)
            .map(|guard| {
                let (id, row) = guard.into_inner().map_err(engine)?;
                decode(&id, &row)
            })
            .collect()
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

    async fn destroy(&self, group: GroupId, keys: &[(u32, KeyId)]) -> Result<(), StoreError> {
        if keys.is_empty() {
            return Ok(());
        }
        let mut batch = self.database.batch();
        for (period, key) in keys {
            batch.remove(&self.by_id, *key.as_bytes());
            let leads_there = self.by_period.get(period_key(group, *period)).map_err(engine)?;
            if leads_there.is_some_and(|id| *id == *key.as_bytes()) {
                batch.remove(&self.by_period, period_key(group, *period));
            }
        }
        batch.commit().map_err(engine)?;
        self.database.persist(PersistMode::SyncAll).map_err(engine)?;
        // A removed row lies on in older tables until they are compacted, and erased must mean erased.
        self.by_id.rotate_memtable_and_wait().map_err(engine)?;
        self.by_id.major_compact().map_err(engine)
    }
}

//! One fjall database of wrapped keys, and its rows.

use std::path::Path;

use fjall::{Database, Keyspace, KeyspaceCreateOptions, PersistMode};
use parley_domain::{GroupId, KeyId};

use crate::port::{StoreError, WrappedKey};

/// How many rows a batch of a copy has.
const COPIED_AT_ONCE: usize = 1_000;

/// An open database: rows `key id → group, period, ring key, wrapped` and `group, period → key id`.
pub(super) struct Opened {
    database: Database,
    pub(super) by_id: Keyspace,
    pub(super) by_period: Keyspace,
}

impl Opened {
    pub(super) fn open(dir: &Path) -> Result<Self, StoreError> {
        let database = Database::builder(dir).open().map_err(engine)?;
        let by_id = database.keyspace("by_id", KeyspaceCreateOptions::default).map_err(engine)?;
        let by_period = database.keyspace("by_period", KeyspaceCreateOptions::default).map_err(engine)?;
        Ok(Self { database, by_id, by_period })
    }

    pub(super) fn find(&self, key: &[u8]) -> Result<Option<WrappedKey>, StoreError> {
        let Some(row) = self.by_id.get(key).map_err(engine)? else { return Ok(None) };
        decode(key, &row).map(Some)
    }

    /// Adds keys. They are seen only once they are durable, since who finds one seals with it. After an error the engine takes no more, and
    /// what of them lies in its files, where the next start would find it, may not last.
    pub(super) fn put(&self, keys: &[WrappedKey]) -> Result<(), StoreError> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncAll));
        for key in keys {
            batch.insert(&self.by_id, *key.key_id.as_bytes(), encode(key));
            batch.insert(&self.by_period, period_key(key.group_id, key.period), *key.key_id.as_bytes());
        }
        batch.commit().map_err(engine)
    }

    /// Copies all rows but those of some keys into another database.
    pub(super) fn copy_without(&self, doomed: &[KeyId], to: &Self) -> Result<(), StoreError> {
        let is_doomed = |id: &[u8]| doomed.iter().any(|key| key.as_bytes() == id);
        copy(&self.by_id, &to.by_id, to, |id, _| !is_doomed(id))?;
        copy(&self.by_period, &to.by_period, to, |_, id| !is_doomed(id))?;
        to.database.persist(PersistMode::SyncAll).map_err(engine)
    }
}

fn copy(
    from: &Keyspace,
    to: &Keyspace,
    database: &Opened,
    stays: impl Fn(&[u8], &[u8]) -> bool,
) -> Result<(), StoreError> {
    let mut rows = from.iter();
    loop {
        let mut batch = database.database.batch();
        let mut read = 0;
        for guard in rows.by_ref().take(COPIED_AT_ONCE) {
            let (key, value) = guard.into_inner().map_err(engine)?;
            if stays(&key, &value) {
                batch.insert(to, key, value);
            }
            read += 1;
        }
        if read == 0 {
            return Ok(());
        }
        batch.commit().map_err(engine)?;
    }
}

pub(super) fn engine(error: fjall::Error) -> StoreError {
    StoreError::Engine(Box::new(error))
}

pub(super) fn period_key(group: GroupId, period: u32) -> [u8; 20] {
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

pub(super) fn decode(id: &[u8], row: &[u8]) -> Result<WrappedKey, StoreError> {
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

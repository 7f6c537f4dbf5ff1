//! Data keys, made when they are needed and kept at hand.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use futures::future::join_all;
use parking_lot::RwLock;
use parley_domain::{GroupId, KeyId, Timestamp};
use quick_cache::sync::Cache;

use crate::data_key::DataKey;
use crate::port::{KeyStore, StoreError, WrappedKey};
use crate::ring::{KeyRing, random};

/// Data keys kept unwrapped in memory; a key takes about 1 KiB.
const CACHED_KEYS_MAX: usize = 20_000;
/// Groups whose keys are read at the same time, and stored in one go.
const GROUPS_AT_ONCE_MAX: usize = 64;
/// Length of a period in days; a group gets a fresh data key in each.
const PERIOD_DAYS: i64 = 30;

/// The period of a point in time: whole 30 days since 1970.
#[must_use]
pub fn period_of(at: Timestamp) -> u32 {
    u32::try_from(at.as_millis().div_euclid(PERIOD_DAYS * 86_400_000)).unwrap_or(0)
}

/// Why there is no key to seal with.
#[derive(Debug, thiserror::Error)]
pub enum KeysError {
    /// The store failed.
    #[error("data keys can't be read or made")]
    Store(#[from] StoreError),
    /// The key-encryption key that wrapped it is not in the ring, or the bytes were changed.
    #[error("data key {0} can't be unwrapped: is its key-encryption key {1:?} in the key ring?")]
    Unwrap(KeyId, String),
}

/// Keys to seal with.
#[derive(Debug, Default)]
pub struct Sealing {
    /// By group.
    pub keys: HashMap<GroupId, Arc<DataKey>>,
    /// Why there is none for some.
    pub unusable: Option<KeysError>,
}

/// The data keys of all groups.
pub struct Keys {
    ring: KeyRing,
    store: Arc<dyn KeyStore>,
    by_period: Cache<(GroupId, u32), Arc<DataKey>>,
    by_id: Cache<KeyId, Arc<DataKey>>,
    /// How often keys were destroyed. What was read from the store before the last time isn't kept: it may be a key that
    /// is no more.
    destructions: RwLock<u64>,
}

fn context(key: &WrappedKey) -> Vec<u8> {
    [key.key_id.as_bytes().as_slice(), key.group_id.as_bytes(), &key.period.to_be_bytes()].concat()
}

impl Keys {
    /// Keys of a store, wrapped by a ring.
    #[must_use]
    pub fn new(ring: KeyRing, store: Arc<dyn KeyStore>) -> Self {
        let (by_period, by_id) = (Cache::new(CACHED_KEYS_MAX), Cache::new(CACHED_KEYS_MAX));
        Self { ring, store, by_period, by_id, destructions: RwLock::new(0) }
    }

    /// The ring, which also signs media URLs.
    #[must_use]
    pub fn ring(&self) -> &KeyRing {
        &self.ring
    }

    fn unwrap(&self, stored: &WrappedKey) -> Result<Arc<DataKey>, KeysError> {
        let secret = self.ring.unwrap(&stored.ring_key, &stored.wrapped, &context(stored));
        let key = secret.and_then(|secret| DataKey::new(stored.key_id, &secret));
        key.map(Arc::new).ok_or_else(|| KeysError::Unwrap(stored.key_id, stored.ring_key.clone()))
    }

    /// Keeps something at hand, unless keys were destroyed since `seen`.
    fn keep(&self, seen: u64, insert: impl FnOnce()) {
        let destructions = self.destructions.read();
        if *destructions == seen {
            insert();
        }
    }

    /// The key with this id; `None` if it was destroyed.
    ///
    /// # Errors
    /// [`KeysError`].
    pub async fn find(&self, id: KeyId) -> Result<Option<Arc<DataKey>>, KeysError> {
        self.try_find(id).await?
    }

    /// The same, but what is wrong with the key is told apart from what is wrong with the store.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn try_find(&self, id: KeyId) -> Result<Result<Option<Arc<DataKey>>, KeysError>, StoreError> {
        if let Some(key) = self.by_id.get(&id) {
            return Ok(Ok(Some(key)));
        }
        let seen = *self.destructions.read();
        let Some(stored) = self.store.find(id).await? else { return Ok(Ok(None)) };
        let key = match self.unwrap(&stored) {
            Ok(key) => key,
            Err(error) => return Ok(Err(error)),
        };
        self.keep(seen, || self.by_id.insert(id, key.clone()));
        Ok(Ok(Some(key)))
    }

    /// The key with this id, if it is at hand.
    #[must_use]
    pub fn known(&self, id: KeyId) -> Option<Arc<DataKey>> {
        self.by_id.get(&id)
    }

    /// The key to seal new content of a group with, if it is at hand.
    #[must_use]
    pub fn known_for_sealing(&self, group: GroupId, now: Timestamp) -> Option<Arc<DataKey>> {
        self.by_period.get(&(group, period_of(now)))
    }

    /// Keys to seal new content of these groups with, read from the store; those that are missing are made, durably. Some at
    /// a time, which are at hand from then on, also if this is given up. Groups whose key can't be unwrapped are left out,
    /// with the first reason.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn for_sealing(
        &self,
        groups: impl IntoIterator<Item = GroupId>,
        now: Timestamp,
    ) -> Result<Sealing, StoreError> {
        let period = period_of(now);
        let groups: HashSet<GroupId> = groups.into_iter().collect();
        let groups: Vec<GroupId> = groups.into_iter().collect();
        let mut sealing = Sealing::default();
        for some in groups.chunks(GROUPS_AT_ONCE_MAX) {
            let seen = *self.destructions.read();
            let reads = some.iter().map(|group| self.store.of_period(*group, period));
            let (mut found, mut made) = (Vec::new(), Vec::new());
            for (group, stored) in some.iter().zip(join_all(reads).await) {
                let key = match stored? {
                    Some(stored) => self.unwrap(&stored),
                    None => self.make(*group, period, &mut made),
                };
                match key {
                    Ok(key) => found.push((*group, key)),
                    Err(error) => sealing.unusable = sealing.unusable.or(Some(error)),
                }
            }
            if !made.is_empty() {
                self.store.put(made).await?;
            }
            self.keep(seen, || {
                for (group, key) in &found {
                    self.by_period.insert((*group, period), key.clone());
                    self.by_id.insert(key.id(), key.clone());
                }
            });
            sealing.keys.extend(found);
        }
        Ok(sealing)
    }

    fn make(
        &self,
        group: GroupId,
        period: u32,
        made: &mut Vec<WrappedKey>,
    ) -> Result<Arc<DataKey>, KeysError> {
        let key_id = KeyId::from_bytes(random());
        let secret = random();
        let mut stored =
            WrappedKey { key_id, group_id: group, period, ring_key: String::new(), wrapped: Vec::new() };
        let unusable = || KeysError::Unwrap(key_id, self.ring.active().to_owned());
        (stored.ring_key, stored.wrapped) =
            self.ring.wrap(&secret, &context(&stored)).ok_or_else(unusable)?;
        let key = DataKey::new(key_id, &secret).ok_or_else(unusable)?;
        made.push(stored);
        Ok(Arc::new(key))
    }

    /// Wraps every data key anew under the ring's active key, a page at a time; returns how many were.
    ///
    /// # Errors
    /// [`KeysError`]; it can be called again.
    pub async fn rewrap(&self) -> Result<usize, KeysError> {
        const PAGE: usize = 500;
        let (mut after, mut count) = (None, 0);
        loop {
            let page = self.store.page(after, PAGE).await?;
            let Some(last) = page.last() else { return Ok(count) };
            after = Some(last.key_id);
            let mut fresh = Vec::new();
            for mut stored in page.into_iter().filter(|stored| stored.ring_key != self.ring.active()) {
                let failed = || KeysError::Unwrap(stored.key_id, stored.ring_key.clone());
                let context = context(&stored);
                let secret =
                    self.ring.unwrap(&stored.ring_key, &stored.wrapped, &context).ok_or_else(failed)?;
                (stored.ring_key, stored.wrapped) = self.ring.wrap(&secret, &context).ok_or_else(failed)?;
                fresh.push(stored);
            }
            count += fresh.len();
            if !fresh.is_empty() {
                self.store.put(fresh).await?;
            }
        }
    }

    /// Destroys a group's data keys: its content so far can't be read by anybody any more. Returns how many. Other
    /// processes on the same store that have them at hand must be told to destroy them too.
    ///
    /// # Errors
    /// [`KeysError::Store`].
    pub async fn destroy(&self, group: GroupId) -> Result<usize, KeysError> {
        let count = self.store.destroy(group).await?;
        let mut destructions = self.destructions.write();
        *destructions += 1;
        self.by_period.clear();
        self.by_id.clear();
        Ok(count)
    }
}

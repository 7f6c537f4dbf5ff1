//! Data keys, made when they are needed and kept at hand.

use std::collections::{HashMap, HashSet};
use std::path::Path;
use std::sync::Arc;

use futures::future::join_all;
use parking_lot::RwLock;
use parley_domain::{GroupId, KeyId, Timestamp};
use quick_cache::sync::Cache;

use crate::data_key::DataKey;
use crate::port::{KeyStore, StoreError, WrappedKey};
use crate::ring::{KeyRing, RingError, random};

/// Data keys kept unwrapped in memory; a key takes about 1 KiB.
const CACHED_KEYS_MAX: usize = 20_000;
/// Destroyed keys that are remembered.
const GONE_KEYS_MAX: usize = 20_000;
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
    /// Destroyed, as far as this process was told lately.
    gone: Cache<KeyId, ()>,
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
        let (gone, destructions) = (Cache::new(GONE_KEYS_MAX), RwLock::new(0));
        Self { ring, store, by_period, by_id, gone, destructions }
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

    /// Keeps something at hand, unless keys were destroyed since `seen`; whether it did.
    fn keep(&self, seen: u64, insert: impl FnOnce()) -> bool {
        let destructions = self.destructions.read();
        let is_kept = *destructions == seen;
        if is_kept {
            insert();
        }
        is_kept
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
        loop {
            if let Some(key) = self.by_id.get(&id) {
                return Ok(Ok(Some(key)));
            }
            let seen = self.destructions();
            if self.is_gone(id) {
                return Ok(Ok(None));
            }
            let stored = match self.store.find(id).await {
                Ok(Some(stored)) => stored,
                Ok(None) => return Ok(Ok(None)),
                Err(error @ StoreError::Engine(_)) => return Err(error),
                Err(error) => return Ok(Err(error.into())),
            };
            let key = match self.unwrap(&stored) {
                Ok(key) => key,
                Err(error) => return Ok(Err(error)),
            };
            // Again if keys were destroyed meanwhile: it may be one of them.
            if self.keep(seen, || self.by_id.insert(id, key.clone())) {
                return Ok(Ok(Some(key)));
            }
        }
    }

    /// The key with this id, if it is at hand.
    #[must_use]
    pub fn known(&self, id: KeyId) -> Option<Arc<DataKey>> {
        self.by_id.get(&id)
    }

    /// Whether the key with this id is known to be destroyed.
    #[must_use]
    pub fn is_gone(&self, id: KeyId) -> bool {
        self.gone.get(&id).is_some()
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
        let groups: HashSet<GroupId> = groups.into_iter().collect();
        let groups: Vec<GroupId> = groups.into_iter().collect();
        let mut sealing = Sealing::default();
        for some in groups.chunks(GROUPS_AT_ONCE_MAX) {
            // Again if keys were destroyed meanwhile: what was found may be one of them.
            while !self.some_for_sealing(some, period_of(now), &mut sealing).await? {}
        }
        Ok(sealing)
    }

    /// `false`: keys were destroyed meanwhile, so that what was found can't be used. What can is kept also if the store fails
    /// for other groups.
    async fn some_for_sealing(
        &self,
        groups: &[GroupId],
        period: u32,
        sealing: &mut Sealing,
    ) -> Result<bool, StoreError> {
        let seen = self.destructions();
        let reads = groups.iter().map(|group| self.store.of_period(*group, period));
        let (mut found, mut made, mut fresh) = (Vec::new(), Vec::new(), Vec::new());
        let mut failed = None;
        for (group, stored) in groups.iter().zip(join_all(reads).await) {
            let is_gone = |stored: &WrappedKey| self.is_gone(stored.key_id);
            let outcome = match stored {
                Ok(Some(stored)) if !is_gone(&stored) => {
                    self.unwrap(&stored).map(|key| found.push((*group, key)))
                }
                Ok(_) => self.make(*group, period, &mut made).map(|key| fresh.push((*group, key))),
                Err(error @ StoreError::Engine(_)) => {
                    failed = failed.or(Some(error));
                    Ok(())
                }
                Err(error) => Err(error.into()),
            };
            if let Err(error) = outcome {
                sealing.unusable = sealing.unusable.take().or(Some(error));
            }
        }
        if !made.is_empty() {
            match self.store.put(made).await {
                Ok(()) => found.extend(fresh),
                Err(error) => failed = failed.or(Some(error)),
            }
        }
        let is_kept = self.keep(seen, || {
            for (group, key) in &found {
                self.by_period.insert((*group, period), key.clone());
                self.by_id.insert(key.id(), key.clone());
            }
        });
        if is_kept {
            sealing.keys.extend(found);
        }
        failed.map_or(Ok(is_kept), Err)
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

    /// Whether the ring is the one that the store's keys were wrapped under, as far as some of them tell; also while there are none.
    /// With another one nothing that is there could be read, and what is made here by nobody else.
    ///
    /// # Errors
    /// [`StoreError`].
    pub async fn is_of_ring(&self) -> Result<bool, StoreError> {
        /// More than one, since one may be damaged.
        const SOME: usize = 16;
        let some = match self.store.page(None, SOME).await {
            Ok(some) => some,
            // One group's trouble, and no word on the others.
            Err(StoreError::Damaged) => return Ok(true),
            Err(error) => return Err(error),
        };
        Ok(some.is_empty() || some.iter().any(|stored| self.unwrap(stored).is_ok()))
    }

    /// Adds a fresh key to the ring and to its file, and makes it the active one. [`rewrap`](Self::rewrap) brings the data keys under it.
    ///
    /// # Errors
    /// [`RingError::Io`].
    pub fn rotate(&mut self, ring: &Path) -> Result<(), RingError> {
        self.ring.rotate(ring)
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
    /// processes on the same store must be told to [forget](Self::forget) them too.
    ///
    /// # Errors
    /// [`StoreError`]; then some of them may be destroyed.
    pub async fn destroy(&self, group: GroupId) -> Result<usize, StoreError> {
        let keys = self.store.of_group(group).await?;
        let ids: Vec<KeyId> = keys.iter().map(|(_, id)| *id).collect();
        // Before, so that nothing is sealed any more with what is about to go: it would be acknowledged and lost.
        self.forget(&ids);
        let outcome = self.store.destroy(group, &keys).await;
        // And after: of very many, not all are remembered as gone, and some may have been found once more.
        self.forget(&ids);
        outcome.map(|()| ids.len())
    }

    /// Keys that are destroyed: they are at hand no more, and aren't used if a replica of the store still shows them.
    pub fn forget(&self, destroyed: &[KeyId]) {
        let mut destructions = self.destructions.write();
        *destructions += 1;
        for id in destroyed {
            self.gone.insert(*id, ());
        }
        self.by_period.clear();
        self.by_id.clear();
    }

    /// How often keys were destroyed: who holds some while it waits for something looks whether that changed.
    #[must_use]
    pub fn destructions(&self) -> u64 {
        *self.destructions.read()
    }
}

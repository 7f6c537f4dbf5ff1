//! A store that can be taken away, for the tests of those who must go on without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parley_domain::{GroupId, KeyId};
use tokio::sync::{Notify, watch};

use crate::port::{KeyStore, StoreError, WrappedKey};

/// Another store behind a switch.
pub struct Switched {
    store: Arc<dyn KeyStore>,
    is_away: AtomicBool,
    refused: Notify,
    is_held: watch::Sender<bool>,
}

impl Switched {
    /// There, until it is taken away.
    #[must_use]
    pub fn new(store: Arc<dyn KeyStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            is_away: AtomicBool::new(false),
            refused: Notify::new(),
            is_held: watch::Sender::new(false),
        })
    }

    /// From now on it fails, or answers again.
    pub fn take_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
    }

    /// From now on what it finds is held back, or let go.
    pub fn hold_back(&self, is_held: bool) {
        self.is_held.send_replace(is_held);
    }

    /// Waits until what it found may go.
    async fn held<T>(&self, found: T) -> T {
        // The sender lives as long as this.
        drop(self.is_held.subscribe().wait_for(|is_held| !is_held).await);
        found
    }

    /// Waits until somebody asked in vain since the last time.
    pub async fn refused(&self) {
        self.refused.notified().await;
    }

    fn store(&self) -> Result<&dyn KeyStore, StoreError> {
        if self.is_away.load(Ordering::SeqCst) {
            self.refused.notify_one();
            return Err(StoreError::Engine("taken away".into()));
        }
        Ok(self.store.as_ref())
    }
}

#[async_trait]
impl KeyStore for Switched {
    async fn find(&self, key: KeyId) -> Result<Option<WrappedKey>, StoreError> {
        let found = self.store()?.find(key).await;
        self.held(found).await
    }

    async fn of_period(&self, group: GroupId, period: u32) -> Result<Option<WrappedKey>, StoreError> {
        let found = self.store()?.of_period(group, period).await;
        self.held(found).await
    }

    async fn put(&self, keys: Vec<WrappedKey>) -> Result<(), StoreError> {
        self.store()?.put(keys).await
    }

    async fn page(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<WrappedKey>, StoreError> {
        self.store()?.page(after, limit).await
    }

    async fn of_group(&self, group: GroupId) -> Result<Vec<(u32, KeyId)>, StoreError> {
        self.store()?.of_group(group).await
    }

    async fn destroy(&self, group: GroupId, keys: &[(u32, KeyId)]) -> Result<(), StoreError> {
        self.store()?.destroy(group, keys).await
    }
}

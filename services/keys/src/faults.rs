//! A store that can be taken away, for the tests of those who must go on without it.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;
use parley_domain::{GroupId, KeyId};
use tokio::sync::Notify;

use crate::port::{KeyStore, StoreError, WrappedKey};

/// Another store behind a switch.
pub struct Switched {
    store: Arc<dyn KeyStore>,
    is_away: AtomicBool,
    refused: Notify,
}

impl Switched {
    /// There, until it is taken away.
    #[must_use]
    pub fn new(store: Arc<dyn KeyStore>) -> Arc<Self> {
        Arc::new(Self { store, is_away: AtomicBool::new(false), refused: Notify::new() })
    }

    /// From now on it fails, or answers again.
    pub fn take_away(&self, is_away: bool) {
        self.is_away.store(is_away, Ordering::SeqCst);
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
        self.store()?.find(key).await
    }

    async fn of_period(&self, group: GroupId, period: u32) -> Result<Option<WrappedKey>, StoreError> {
        self.store()?.of_period(group, period).await
    }

    async fn put(&self, keys: Vec<WrappedKey>) -> Result<(), StoreError> {
        self.store()?.put(keys).await
    }

    async fn page(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<WrappedKey>, StoreError> {
        self.store()?.page(after, limit).await
    }

    async fn destroy(&self, group: GroupId) -> Result<usize, StoreError> {
        self.store()?.destroy(group).await
    }
}

//! The port: where wrapped data keys lie.

use async_trait::async_trait;
use parley_domain::{GroupId, KeyId};

/// A data key as it is stored.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrappedKey {
    /// Its name, random.
    pub key_id: KeyId,
    /// The group whose content it seals.
    pub group_id: GroupId,
    /// The period, see [`crate::period_of`].
    pub period: u32,
    /// The name of the key-encryption key.
    pub ring_key: String,
    /// Nonce, ciphertext and tag.
    pub wrapped: Vec<u8>,
}

/// Why the store didn't answer.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The engine failed.
    #[error("the key store failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Bytes that this program can't have written.
    #[error("a row of the key store is damaged")]
    Damaged,
    /// It can't be used by this program.
    #[error("the key store doesn't fit: {0}")]
    Unfit(String),
}

/// Wrapped data keys, durable. Beside the log the second thing to back up; never rebuilt.
#[async_trait]
pub trait KeyStore: Send + Sync {
    /// The key with this id.
    async fn find(&self, key: KeyId) -> Result<Option<WrappedKey>, StoreError>;

    /// A key of a group's period, if there is one.
    async fn of_period(&self, group: GroupId, period: u32) -> Result<Option<WrappedKey>, StoreError>;

    /// Stores keys; returns once they are durable. A key with the same id is replaced.
    async fn put(&self, keys: Vec<WrappedKey>) -> Result<(), StoreError>;

    /// Keys after `after`, at most `limit` and at least one while there are any, in an order that is the store's own and
    /// always the same.
    async fn page(&self, after: Option<KeyId>, limit: usize) -> Result<Vec<WrappedKey>, StoreError>;

    /// All keys of a group, with their periods.
    async fn of_group(&self, group: GroupId) -> Result<Vec<(u32, KeyId)>, StoreError>;

    /// Destroys these keys of a group and no others, so that what they sealed can't be read any more. May be repeated after an
    /// error. Ids of keys that were destroyed are never put again.
    async fn destroy(&self, group: GroupId, keys: &[(u32, KeyId)]) -> Result<(), StoreError>;
}

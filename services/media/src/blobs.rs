//! temporary
use crate::Error;
use async_trait::async_trait;
use bytes::Bytes;
/// temporary
#[async_trait]
pub trait Blobs: Send + Sync {
    /// t
    async fn put(&self, name: &str, bytes: Bytes) -> Result<(), Error>;
    /// t
    async fn get(&self, name: &str) -> Result<Option<Bytes>, Error>;
}

//! Who can read message text: data keys, the key ring that wraps them, and the seal.
//!
//! ```text
//!  key ring (file)          key store (durable, no read model)            log, rows
//!  ┌───────────────┐ wraps  ┌──────────────────────────────────┐ seals   ┌─────────────────┐
//!  │ k2 (active)   ├───────▶│ key id ─▶ group, period, wrapped │────────▶│ key id, sealed  │
//!  │ k1            │        └──────────────────────────────────┘         └─────────────────┘
//!  └───────────────┘
//! ```
//!
//! A data key belongs to one group and one period and is named by a random id, so that two writers may both make one.
//! It is durable before the first event that is sealed under it. To destroy it is to erase what it sealed, although the
//! log never changes.

mod breaker;
pub mod conformance;
mod data_key;
pub mod faults;
mod keys;
mod media_url;
mod port;
mod providers {
    #[cfg(feature = "cassandra")]
    pub(crate) mod cassandra;
    pub(crate) mod embedded;
}
mod ring;

pub use breaker::Breaker;
pub use data_key::{DataKey, Place, SealError};
pub use keys::{Keys, KeysError, Sealing, period_of};
pub use media_url::{MediaUrlError, media_url, open_media_url};
pub use port::{KeyStore, StoreError, WrappedKey};
#[cfg(feature = "cassandra")]
pub use providers::cassandra::{CassandraKeyOptions, CassandraKeyStore};
pub use providers::embedded::EmbeddedKeyStore;
pub use ring::{KeyRing, RingError};

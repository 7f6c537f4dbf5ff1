//! Read models in a directory, on the fjall storage engine.
//!
//! ```text
//! DIR/lock      held while the store is open
//! DIR/live      the number of the live version, replaced atomically
//! DIR/v1/       a version: one fjall database, disposable
//! DIR/v2/       the next one while it is being built, or the one before
//! ```
//!
//! Rows are gathered in memory and go to the database many at once. After a crash, or if it was closed without
//! [`ReadStore::persist`](crate::ReadStore::persist), a version is what some prefix of its batches had made of it, and its
//! checkpoints say which, so the projector goes on from there: the log is the journal.

mod apply;
mod canonical;
mod codec;
mod directory;
mod engine;
mod files;
mod keys;
mod membership;
mod merged;
mod model;
mod receipts;
mod run;
mod scan;
mod staged;
mod timeline;
mod versions;
mod walk;
mod writing;

pub use model::EmbeddedModel;
pub use versions::EmbeddedReadStore;

/// What an embedded read store may use, each version for itself: while a next version is built there are two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Options {
    /// Bytes of the cache of blocks.
    pub cache_bytes: u64,
    /// Bytes of rows gathered in memory before they go to a file of their own. It takes twice that while they go there.
    pub memtable_bytes: u64,
}

impl Default for Options {
    fn default() -> Self {
        Self { cache_bytes: 64 * 1024 * 1024, memtable_bytes: 32 * 1024 * 1024 }
    }
}

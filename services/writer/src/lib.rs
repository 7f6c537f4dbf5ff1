//! The writer: owns partitions, folds their groups, decides, appends. Nobody else appends to the log.
//!
//! ```text
//!  Commands::submit ──▶ queue of a shard ──▶ prepare ──▶ decide ──▶ append (in flight) ──▶ confirm ──▶ answer
//!                       (bounded)           dedupe,     on the      several batches        offsets as
//!                                           seal        folded      at once                expected?
//!                                                       group
//! ```
//!
//! A shard is one task that owns some partitions, so that no group is ever decided on by two tasks and nothing is
//! locked. It decides on the state that its own appends *will* give and answers only once they are durable, at the
//! offsets that it expected (design decision 2). Whatever goes wrong, it answers, throws its state away, claims its
//! partitions anew and folds the log.
//!
//! [`Writer`] owns all partitions of a log, in a few shards. Where several processes share them, [`AssignedWriter`] owns
//! those that this one was given, one shard each, for as long as it has them.

mod assigned;
mod dedupe;
mod flight;
mod handle;
mod options;
mod shard;
mod snapshot;

pub use assigned::{AssignedWriter, Owned, Release};
pub use handle::{Handle, Writer};
pub use options::{Engines, Options, Plant, StartError};

//! What a writer is started with.

use std::sync::Arc;

use parley_domain::Limits;
use parley_eventlog::{AppendError, EventLog, ReadError};
use parley_keys::Keys;
use parley_media::Blobs;
use parley_readstore::ReadStore;
use parley_wire::service::{Notices, Progress};

/// Limits of a writer and its name.
#[derive(Debug, Clone)]
pub struct Options {
    /// Name of this process in claims and `ce_source`.
    pub instance: Arc<str>,
    /// Of the assignment of partitions to this process; 0 where there is but one process.
    pub generation: u64,
    /// Tasks that share the partitions.
    pub shards: usize,
    /// The contract's limits on groups and messages.
    pub limits: Limits,
    /// Requests that may wait for a shard; beyond that `busy`.
    pub queue_requests_max: usize,
    /// Requests decided on in one go, and so records in one append.
    pub batch_requests_max: usize,
    /// Appends of a shard that may be under way at once.
    pub in_flight_batches_max: usize,
    /// Client message ids that a shard remembers exactly; older ones are looked up in the read model.
    pub recent_ids_max: usize,
    /// How long a creator may take to notify; then the server does it.
    pub notify_after_ms: u64,
    /// How long a shard writes under one claim; then it claims anew, so that a reader may start that near to any record.
    pub claim_seconds: u64,
    /// Records that a shard decides on between two snapshots.
    pub snapshot_records: u64,
    /// How long a shard that is to give its partition up waits for its snapshot, serving meanwhile. Less than those who share
    /// the partitions out wait for its release.
    pub parting_wait_ms: u64,
    /// A promise that is broken on purpose, to prove that the checker of the fault tests would see it.
    pub plant: Option<Plant>,
}

/// A fault that is planted. Only binaries built with the feature `planted` can be told to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// Answers before the log has confirmed.
    AckBeforeDurable,
    /// Forgets what was sent.
    NoDedupe,
    /// Takes any offset for the expected one.
    NoClaimCheck,
    /// Answers a repeat at once, from what is still in flight.
    DupInFlight,
    /// Answers from its state without asking the log whether somebody else owns the partition by now.
    FrozenRefusals,
}

impl Options {
    pub(crate) fn is_planted(&self, plant: Plant) -> bool {
        cfg!(feature = "planted") && self.plant == Some(plant)
    }
}

impl Default for Options {
    fn default() -> Self {
        Self {
            instance: "writer".into(),
            generation: 0,
            shards: 1,
            limits: Limits::default(),
            queue_requests_max: 16_384,
            batch_requests_max: 1_024,
            in_flight_batches_max: 4,
            recent_ids_max: 200_000,
            notify_after_ms: 10_000,
            claim_seconds: 3_000,
            snapshot_records: 5_000,
            parting_wait_ms: 1_000,
            plant: None,
        }
    }
}

/// What a writer works with.
#[derive(Clone)]
pub struct Engines {
    /// The log.
    pub log: Arc<dyn EventLog>,
    /// Data keys.
    pub keys: Arc<Keys>,
    /// Read models, for repeats that are older than what is remembered.
    pub reads: Arc<dyn ReadStore>,
    /// The edges.
    pub notices: Arc<dyn Notices>,
    /// The projectors.
    pub progress: Arc<dyn Progress>,
    /// Where snapshots are kept, if anywhere.
    pub snapshots: Option<Arc<dyn Blobs>>,
}

/// Why a writer can't own its partitions.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// The claim couldn't be appended.
    #[error("a partition can't be claimed")]
    Claim(#[source] AppendError),
    /// The log can't be folded.
    #[error("the log can't be read")]
    Read(#[from] ReadError),
    /// A valid record that this version can't understand.
    #[error("record {offset} of {topic}/{partition} can't be understood; was it written by a newer version?")]
    Decode {
        /// Topic.
        topic: &'static str,
        /// Partition.
        partition: u32,
        /// Offset.
        offset: u64,
        /// Why.
        #[source]
        source: parley_wire::event::DecodeError,
    },
    /// Another writer was given the partition, later.
    #[error("another writer took the partition over")]
    Superseded,
}

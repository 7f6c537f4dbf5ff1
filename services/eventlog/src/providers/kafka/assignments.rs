//! Which partitions this process is responsible for, shared out among a group of processes by Kafka.
//!
//! Nothing is read and no offset is committed here: the group is only used to agree on who does what. Who should own a
//! partition is a hint; what fences writers is the claim in the log.

use std::collections::BTreeSet;
use std::time::Duration;

use tokio::sync::watch;

use super::options::KafkaOptions;

/// How to take part in a group.
#[derive(Debug, Clone)]
pub struct AssignmentOptions {
    /// The group, e.g. `parley.writers`. The log's prefix is put before it.
    pub group: String,
    /// After so long without a sign of life a member counts as dead. The broker's `group.min.session.timeout.ms` (6 s by
    /// default) is the least that it takes.
    pub session_timeout: Duration,
    /// How long a partition that is to move waits for [`Assignments::release`].
    pub release_patience: Duration,
}

impl AssignmentOptions {
    /// Sessions of 6 s, 1.5 s to release.
    #[must_use]
    pub fn new(group: impl Into<String>) -> Self {
        Self {
            group: group.into(),
            session_timeout: Duration::from_secs(6),
            release_patience: Duration::from_millis(1_500),
        }
    }
}

/// What this process is responsible for now.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// Grows with each change: milliseconds since 1970 at which it was made, but at least the former one plus 1. 0 before
    /// the first.
    pub generation: u64,
    /// The partitions (of every topic).
    pub partitions: BTreeSet<u32>,
}

/// Why a group can't be joined.
#[derive(Debug, thiserror::Error)]
pub enum AssignmentError {
    /// The client refused.
    #[error("can't join the group {group}")]
    Kafka {
        /// The group.
        group: String,
        /// Why.
        #[source]
        source: rdkafka::error::KafkaError,
    },
    /// A thread can't be started.
    #[error("can't start a thread")]
    Thread(#[source] std::io::Error),
}

/// Membership in a group. Dropping it leaves the group too, without waiting.
#[derive(Debug)]
pub struct Assignments {
    assignment: watch::Receiver<Assignment>,
}

impl Assignments {
    /// Joins. The first assignment comes a moment later, through [`Assignments::watch`]; brokers that are away are waited
    /// for.
    ///
    /// # Errors
    /// If the client can't be made. (Brokers that don't answer are no error.)
    pub fn join(_log: &KafkaOptions, _options: AssignmentOptions) -> Result<Self, AssignmentError> {
        todo!()
    }

    /// The present assignment, and each later one. A value with fewer partitions than before means: stop with the missing
    /// ones, then call [`Assignments::release`]. Only the newest is kept.
    ///
    /// When the membership ends, the last value has no partitions and then the channel closes.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<Assignment> {
        self.assignment.clone()
    }

    /// Says that everything that was in flight for partitions which the assignment of this generation has no more is
    /// finished: they may move. Until then, or until the patience ends, no other member gets them. Releases a generation
    /// and all before it; not needed where no partition was taken away, and harmless there.
    pub fn release(&self, _generation: u64) {
        todo!()
    }

    /// Gives all partitions back (published as an assignment of none; waits for its release within the patience) and
    /// leaves, so that they move at once.
    pub async fn leave(self) {
        todo!()
    }
}

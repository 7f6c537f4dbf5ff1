//! Which partitions a process is responsible for.

use std::collections::BTreeSet;

/// What this process is responsible for now. A hint, which may be late; what fences writers is the claim in the log.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Assignment {
    /// Grows with each change: milliseconds since 1970 at which it was made, but at least the former one plus 1. 0 before
    /// the first.
    pub generation: u64,
    /// The partitions (of every topic).
    pub partitions: BTreeSet<u32>,
}

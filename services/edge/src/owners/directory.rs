//! Who owns which partition, as the writers publish it.

use std::collections::BTreeMap;

use parley_domain::PartitionCount;

/// The owner of a partition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OwnedBy {
    /// Its instance.
    pub instance: String,
    /// `host:port` of its services.
    pub address: String,
    /// The claim with which it took the partition over. Where several think that a partition is theirs, the latest is right.
    pub term: u64,
}

/// The owners of the partitions, as far as they are known.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Owners(BTreeMap<u32, OwnedBy>);

impl Owners {
    /// Adds what somebody says it owns.
    pub fn add(&mut self, partition: u32, owner: OwnedBy) {
        let known = self.0.get(&partition);
        if known.is_none_or(|known| known.term < owner.term) {
            self.0.insert(partition, owner);
        }
    }

    /// The owner of a partition.
    #[must_use]
    pub fn owner(&self, partition: u32) -> Option<&OwnedBy> {
        self.0.get(&partition)
    }

    /// How many of so many partitions nobody owns.
    #[must_use]
    pub fn missing(&self, partitions: PartitionCount) -> usize {
        (0..partitions.get()).filter(|partition| !self.0.contains_key(partition)).count()
    }

    /// All of them, by partition.
    pub fn iter(&self) -> impl Iterator<Item = (u32, &OwnedBy)> {
        self.0.iter().map(|(partition, owner)| (*partition, owner))
    }
}

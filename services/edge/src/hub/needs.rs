//! Which partitions of the log this edge must follow, and which it does.
//!
//! An edge among several follows only what its channels need. A subscription waits until its partition is followed before it
//! asks the read models for what it missed; so whatever comes after that is delivered.

use std::collections::{BTreeMap, BTreeSet};

use parking_lot::Mutex;
use parley_domain::{GroupId, PartitionCount, partition_of};
use tokio::sync::watch;

/// How many channels need each partition, and whether it is followed.
#[derive(Debug, Clone, Copy, Default)]
struct Need {
    channels: usize,
    is_followed: bool,
}

/// The partitions that channels need. Where all are followed anyway, nothing is counted.
pub(crate) struct Needs {
    /// `None`: all are followed.
    partitions: Option<PartitionCount>,
    needs: Mutex<BTreeMap<u32, Need>>,
    changed: watch::Sender<()>,
}

impl Needs {
    pub(super) fn of_all() -> Self {
        Self { partitions: None, needs: Mutex::default(), changed: watch::Sender::new(()) }
    }

    pub(super) fn counted(partitions: PartitionCount) -> Self {
        Self { partitions: Some(partitions), ..Self::of_all() }
    }

    fn partition(&self, group: GroupId) -> Option<u32> {
        let mut text = [0; 36];
        let key: &str = group.0.hyphenated().encode_lower(&mut text);
        self.partitions.map(|partitions| partition_of(key.as_bytes(), partitions))
    }

    /// A channel was made.
    pub(super) fn add(&self, group: GroupId) {
        let Some(partition) = self.partition(group) else { return };
        let mut needs = self.needs.lock();
        let need = needs.entry(partition).or_default();
        need.channels += 1;
        if need.channels == 1 {
            self.changed.send_replace(());
        }
    }

    /// A channel is gone.
    pub(super) fn remove(&self, group: GroupId) {
        let Some(partition) = self.partition(group) else { return };
        if let Some(need) = self.needs.lock().get_mut(&partition) {
            need.channels = need.channels.saturating_sub(1);
        }
    }

    /// Wakes when a partition is needed that wasn't, or is followed that wasn't.
    pub(crate) fn watch(&self) -> watch::Receiver<()> {
        self.changed.subscribe()
    }

    /// Whether only what is needed is followed.
    pub(crate) fn are_counted(&self) -> bool {
        self.partitions.is_some()
    }

    /// Partitions that are needed and not followed yet.
    pub(crate) fn wanted(&self) -> Vec<u32> {
        let needs = self.needs.lock();
        let wanted = needs.iter().filter(|(_, need)| need.channels > 0 && !need.is_followed);
        wanted.map(|(partition, _)| *partition).collect()
    }

    /// These are followed from now on.
    pub(crate) fn follow(&self, partitions: &BTreeSet<u32>) {
        let mut needs = self.needs.lock();
        for partition in partitions {
            needs.entry(*partition).or_default().is_followed = true;
        }
        drop(needs);
        self.changed.send_replace(());
    }

    /// Partitions that nobody needs any more; they count as not followed from now on, so the caller must see to that.
    pub(crate) fn forget(&self) -> Vec<u32> {
        let mut needs = self.needs.lock();
        let unneeded = needs.extract_if(.., |_, need| need.channels == 0);
        unneeded.filter(|(_, need)| need.is_followed).map(|(partition, _)| partition).collect()
    }

    /// Whether the partition of a group is followed.
    pub(crate) fn is_followed(&self, group: GroupId) -> bool {
        let Some(partition) = self.partition(group) else { return true };
        self.needs.lock().get(&partition).is_some_and(|need| need.is_followed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_followed_while_a_channel_needs_it() {
        let needs = Needs::counted(PartitionCount::new(4).unwrap());
        let group = GroupId::from_bytes([1; 16]);
        assert!(!needs.is_followed(group));
        needs.add(group);
        let wanted = needs.wanted();
        assert_eq!(wanted.len(), 1);
        assert!(!needs.is_followed(group), "asked for is not followed");
        needs.follow(&wanted.iter().copied().collect());
        assert!(needs.is_followed(group));
        assert!(needs.wanted().is_empty() && needs.forget().is_empty());
        needs.remove(group);
        assert_eq!(needs.forget(), wanted);
        needs.add(group);
        assert!(!needs.is_followed(group), "what was given up must be followed anew");
    }

    #[test]
    fn where_all_are_followed_nothing_waits() {
        let needs = Needs::of_all();
        let group = GroupId::from_bytes([1; 16]);
        needs.add(group);
        assert!(needs.is_followed(group) && needs.wanted().is_empty() && !needs.are_counted());
    }
}

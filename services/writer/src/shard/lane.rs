//! One partition of one topic, as its owner writes it.

use parley_domain::Stamp;

/// The owner's place: the claim, and what the next record must be.
#[derive(Debug, Clone, Copy)]
pub(super) struct Lane {
    claim: u64,
    next_index: u64,
    next_offset: u64,
}

impl Lane {
    /// Right after the claim at this offset.
    pub(super) fn claimed(claim: u64) -> Self {
        Self { claim, next_index: 0, next_offset: claim + 1 }
    }

    /// The next record's stamp, and the offset that it must get.
    pub(super) fn next(&mut self) -> (Stamp, u64) {
        let stamp = Stamp::Event { claim: self.claim, index: self.next_index };
        let offset = self.next_offset;
        self.next_index += 1;
        self.next_offset += 1;
        (stamp, offset)
    }

    /// Whether this one's claim came right after the last record of the other.
    pub(super) fn follows(&self, before: &Self) -> bool {
        self.claim == before.next_offset && self.next_index == 0
    }

    /// The offset that the next record will get.
    pub(super) fn next_offset(&self) -> u64 {
        self.next_offset
    }
}

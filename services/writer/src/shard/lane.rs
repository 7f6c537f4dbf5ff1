//! One partition of one topic, as its owner writes it.

use parley_domain::{EventId, Stamp, Validity};

/// The owner's place: the claim, and what the next record must be.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lane {
    claim: u64,
    next_index: u64,
    next_offset: u64,
    /// The event that was written last, or the claim.
    last: EventId,
    /// Up to here everything is in the log, and nobody else wrote since the claim.
    confirmed: u64,
}

impl Lane {
    /// Right after the claim at this offset.
    pub(crate) fn claimed(claim: u64, id: EventId) -> Self {
        Self { claim, next_index: 0, next_offset: claim + 1, last: id, confirmed: claim + 1 }
    }

    /// The stamp of the next record, which is this event, and the offset that it must get.
    pub(crate) fn next(&mut self, id: EventId) -> (Stamp, u64) {
        let stamp = Stamp::Event { claim: self.claim, index: self.next_index };
        let offset = self.next_offset;
        self.next_index += 1;
        self.next_offset += 1;
        self.last = id;
        (stamp, offset)
    }

    /// Whether this one's claim came right after the last record of the other.
    pub(crate) fn follows(&self, before: &Self) -> bool {
        self.claim == before.next_offset && self.next_index == 0
    }

    /// The offset that the next record will get.
    pub(crate) fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// The last record's offset and event.
    pub(crate) fn last(&self) -> (u64, EventId) {
        (self.next_offset.saturating_sub(1), self.last)
    }

    /// The claim's offset.
    pub(crate) fn claim(&self) -> u64 {
        self.claim
    }

    /// The state of the claims behind the last record; only of use while nothing is in flight.
    pub(crate) fn validity(&self) -> Validity {
        Validity { claim: Some(self.claim), next_index: self.next_index }
    }

    /// The record at this offset has landed there.
    pub(crate) fn confirm(&mut self, offset: u64) {
        self.confirmed = self.confirmed.max(offset + 1);
    }

    /// Up to where everything has landed.
    pub(crate) fn confirmed(&self) -> u64 {
        self.confirmed
    }
}

//! Which records of a partition count. The one rule that everything rests on (design decision 2).

/// What a record says of itself: the claim that it was written under, and its index within that claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stamp {
    /// A claim: from here on, only records that name this record's offset are valid.
    Claim,
    /// An event under the claim at offset `claim`, the `index`-th of it, from 0.
    Event {
        /// Offset of the claim.
        claim: u64,
        /// 0, 1, 2 … within the claim.
        index: u64,
    },
    /// Under no claim: void wherever the claim rule holds.
    Unclaimed,
}

/// What a reader does with a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// A new claim took over. Nothing to apply.
    Claim,
    /// Apply it.
    Valid,
    /// Skip it: written by a superseded writer, or after a hole.
    Void,
}

/// A reader's state of one partition: the latest claim and the next index that it may use.
///
/// Starts with no claim, so a reader that begins in mid-partition either restores this from its checkpoint or
/// skips everything up to the next claim.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Validity {
    /// Offset of the latest claim; `None` before the first.
    pub claim: Option<u64>,
    /// The index that the next valid record has.
    pub next_index: u64,
}

impl Validity {
    /// Takes the next record of the partition, in offset order, and says whether it counts.
    pub fn admit(&mut self, offset: u64, stamp: Stamp) -> Verdict {
        match stamp {
            Stamp::Claim => {
                *self = Self { claim: Some(offset), next_index: 0 };
                Verdict::Claim
            }
            Stamp::Event { claim, index } if self.claim == Some(claim) && self.next_index == index => {
                self.next_index += 1;
                Verdict::Valid
            }
            Stamp::Event { .. } | Stamp::Unclaimed => Verdict::Void,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn verdicts(records: &[Stamp]) -> Vec<Verdict> {
        let mut validity = Validity::default();
        (0..).zip(records).map(|(offset, stamp)| validity.admit(offset, *stamp)).collect()
    }

    #[test]
    fn a_superseded_writer_and_a_hole_are_void() {
        use Verdict::{Claim, Valid, Void};
        let event = |claim, index| Stamp::Event { claim, index };
        assert_eq!(verdicts(&[event(0, 0)]), [Void], "no claim yet");
        assert_eq!(
            verdicts(&[Stamp::Claim, event(0, 0), event(0, 1), Stamp::Claim, event(0, 2), event(3, 0)]),
            [Claim, Valid, Valid, Claim, Void, Valid],
        );
        assert_eq!(
            verdicts(&[Stamp::Claim, event(0, 0), event(0, 2), event(0, 1), event(0, 2)]),
            [Claim, Valid, Void, Valid, Valid],
            "what follows a hole is void until the hole is filled",
        );
        assert_eq!(verdicts(&[Stamp::Claim, event(0, 0), event(0, 0)]), [Claim, Valid, Void], "a repeat");
    }
}

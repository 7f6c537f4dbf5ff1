//! What every delivery is held against. A run with anything but zeros here is invalid.

use std::collections::HashMap;
use std::ops::AddAssign;

/// What went wrong, counted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, serde::Serialize)]
pub(super) struct Faults {
    /// A `seq` was left out.
    pub(super) gaps: u64,
    /// A `seq` came twice.
    pub(super) repeats: u64,
    /// A `seq` came after a higher one.
    pub(super) inversions: u64,
    /// One `seq` was two messages, or a message had two.
    pub(super) mismatches: u64,
    /// Messages that weren't accepted, or that some member hadn't got in the end.
    pub(super) missing: u64,
    /// Errors and closed connections.
    pub(super) errors: u64,
}

impl AddAssign for Faults {
    fn add_assign(&mut self, other: Self) {
        self.gaps += other.gaps;
        self.repeats += other.repeats;
        self.inversions += other.inversions;
        self.mismatches += other.mismatches;
        self.missing += other.missing;
        self.errors += other.errors;
    }
}

/// A message of this run, by its own number in its group.
#[derive(Debug)]
struct Flight {
    seq: Option<u64>,
    is_accepted: bool,
    members_left: usize,
}

/// A group's messages in flight.
#[derive(Debug)]
pub(super) struct Ledger {
    members: usize,
    next_number: u64,
    flights: HashMap<u64, Flight>,
    pub(super) faults: Faults,
}

impl Ledger {
    pub(super) fn new(members: usize) -> Self {
        Self { members, next_number: 0, flights: HashMap::new(), faults: Faults::default() }
    }

    /// A message is sent; its number.
    pub(super) fn send(&mut self) -> u64 {
        let number = self.next_number;
        self.next_number += 1;
        let flight = Flight { seq: None, is_accepted: false, members_left: self.members };
        self.flights.insert(number, flight);
        number
    }

    /// It was accepted at `seq`; whether that was the last that was open of it.
    pub(super) fn accepted(&mut self, number: u64, seq: u64) -> bool {
        self.note(number, seq, |flight| !std::mem::replace(&mut flight.is_accepted, true))
    }

    /// A member has got it; whether that was the last that was open of it.
    pub(super) fn delivered(&mut self, number: u64, seq: u64) -> bool {
        self.note(number, seq, |flight| {
            let is_due = flight.members_left > 0;
            flight.members_left = flight.members_left.saturating_sub(1);
            is_due
        })
    }

    fn note(&mut self, number: u64, seq: u64, mark: impl FnOnce(&mut Flight) -> bool) -> bool {
        let Some(flight) = self.flights.get_mut(&number) else {
            self.faults.mismatches += 1;
            return false;
        };
        let is_same = *flight.seq.get_or_insert(seq) == seq;
        let is_due = mark(flight);
        if !is_same || !is_due {
            self.faults.mismatches += 1;
        }
        let is_over = flight.is_accepted && flight.members_left == 0;
        if is_over {
            self.flights.remove(&number);
        }
        is_over
    }

    /// Messages that are open still.
    pub(super) fn open(&self) -> usize {
        self.flights.len()
    }

    /// What was found, what is open counted as missing.
    pub(super) fn finish(&self) -> Faults {
        Faults { missing: self.flights.len() as u64, ..self.faults }
    }
}

/// A member's place in its group.
#[derive(Debug)]
pub(super) struct Place {
    last: u64,
}

impl Place {
    pub(super) fn after(last: u64) -> Self {
        Self { last }
    }

    pub(super) fn last(&self) -> u64 {
        self.last
    }

    /// The next event; what is wrong with it.
    pub(super) fn take(&mut self, seq: u64) -> Faults {
        let mut faults = Faults::default();
        match seq.cmp(&(self.last + 1)) {
            std::cmp::Ordering::Equal => self.last = seq,
            std::cmp::Ordering::Greater => {
                faults.gaps += 1;
                self.last = seq;
            }
            std::cmp::Ordering::Less if seq == self.last => faults.repeats += 1,
            std::cmp::Ordering::Less => faults.inversions += 1,
        }
        faults
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_is_over_once_accepted_and_with_everybody() {
        let mut ledger = Ledger::new(2);
        let number = ledger.send();
        assert!(!ledger.delivered(number, 5));
        assert!(!ledger.accepted(number, 5));
        assert_eq!(ledger.open(), 1);
        assert!(ledger.delivered(number, 5));
        assert_eq!((ledger.open(), ledger.finish()), (0, Faults::default()));
    }

    #[test]
    fn what_does_not_fit_is_counted() {
        let mut ledger = Ledger::new(1);
        let number = ledger.send();
        ledger.delivered(number, 5);
        ledger.delivered(number, 5); // twice
        ledger.accepted(number, 6); // another place
        ledger.delivered(99, 7); // nobody's
        ledger.send();
        let faults = ledger.finish();
        assert_eq!((faults.mismatches, faults.missing), (3, 1));
    }

    #[test]
    fn places_rise_by_one() {
        let mut place = Place::after(3);
        assert_eq!(place.take(4), Faults::default());
        assert_eq!(place.take(4).repeats, 1);
        assert_eq!(place.take(2).inversions, 1);
        assert_eq!(place.take(6).gaps, 1);
        assert_eq!(place.last(), 6);
    }
}

//! When sessions that are sent away may come back: each at another time, so that they don't come all at once.

use rand::seq::SliceRandom as _;

/// Reconnects after a planned stop are spread over at least this long.
const SPREAD_MS: u64 = 10_000;

/// A delay in milliseconds for each of so many sessions, no two alike, in no order. Each has an equal share of the spread to itself, so
/// that they come evenly; beyond [`SPREAD_MS`] sessions that is a millisecond, and the spread grows with them.
pub(super) fn reconnect_delays_ms(sessions: usize) -> Vec<u64> {
    let count = sessions as u64;
    let spread_ms = SPREAD_MS.max(count);
    let share = |nth: u64| rand::random_range(nth * spread_ms / count..(nth + 1) * spread_ms / count);
    let mut delays: Vec<u64> = (0..count).map(share).collect();
    delays.shuffle(&mut rand::rng());
    delays
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn no_two_sessions_come_back_at_the_same_time_however_many_there_are() {
        for sessions in [0, 1, 2, 60, 9_999, 10_000, 10_001, 30_000] {
            let delays = reconnect_delays_ms(sessions);
            let spread_ms = SPREAD_MS.max(sessions as u64);
            assert!(delays.iter().all(|delay| *delay < spread_ms));
            assert_eq!(delays.iter().collect::<HashSet<_>>().len(), sessions);
        }
    }

    #[test]
    fn they_come_evenly_and_not_in_the_order_of_the_list() {
        let delays = reconnect_delays_ms(1_000);
        for tenth in 0..10 {
            let within = delays.iter().filter(|delay| **delay / (SPREAD_MS / 10) == tenth).count();
            assert_eq!(within, 100);
        }
        assert!(!delays.is_sorted());
    }
}

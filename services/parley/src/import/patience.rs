//! How long to wait before a try is repeated, and when to give up.

use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// How long failures in a row are borne: a restart of the server fits in, one that doesn't come back doesn't.
const BORNE: Duration = Duration::from_secs(180);
/// What a wait is drawn from where the server named none: at first, and at most.
const FIRST_MS: u64 = 500;
const MOST_MS: u64 = 30_000;

/// A wait that the server asked for, with a little chance, so that those who wait don't come back at once.
pub(super) fn obeyed(retry_after_ms: u64) -> Duration {
    Duration::from_millis(retry_after_ms + rand::random_range(0..20))
}

/// What went wrong last, for whoever watches and sees nothing move.
#[derive(Default)]
pub(super) struct Trouble(Mutex<Option<String>>);

impl Trouble {
    /// Notes a failure that is borne.
    pub(super) fn note(&self, why: &anyhow::Error) {
        *self.0.lock() = Some(format!("{why:#}"));
    }

    /// The last one since this was asked before.
    pub(super) fn take(&self) -> Option<String> {
        self.0.lock().take()
    }
}

/// Failures in a row.
#[derive(Default)]
pub(super) struct Patience {
    since: Option<Instant>,
    failures: u32,
}

impl Patience {
    /// How long to wait after one more failure; `None`: it has been tried for long enough.
    pub(super) fn next(&mut self, retry_after_ms: Option<u64>) -> Option<Duration> {
        if self.since.get_or_insert_with(Instant::now).elapsed() > BORNE {
            return None;
        }
        self.failures += 1;
        Some(match retry_after_ms {
            Some(millis) => obeyed(millis),
            None => Duration::from_millis(rand::random_range(0..bound(self.failures))),
        })
    }
}

/// The contract's 0 to min(30 s, 0.5 s · 2^n).
fn bound(failures: u32) -> u64 {
    FIRST_MS.saturating_mul(1 << failures.saturating_sub(1).min(16)).min(MOST_MS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_grow_to_their_bound_and_the_server_is_obeyed() {
        assert_eq!([1, 2, 3, 7, 8, 99].map(bound), [500, 1_000, 2_000, 30_000, 30_000, 30_000]);
        let told = Patience::default().next(Some(1_000)).unwrap();
        assert!((1_000..1_020).contains(&told.as_millis()));
        let mut given_up = Patience { since: Instant::now().checked_sub(BORNE * 2), failures: 3 };
        assert_eq!(given_up.next(None).is_none(), given_up.since.is_some());
    }
}

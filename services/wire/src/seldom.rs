//! Lines in the log about trouble that lasts.

use std::time::{Duration, Instant};

/// How often trouble that lasts is worth a line.
const EVERY: Duration = Duration::from_secs(60);

/// Limits the lines about trouble that is met again and again: one the first time, then one a minute. So what changes about its
/// causes is seen too, and the log stays readable.
#[derive(Debug, Default)]
pub struct Seldom(Option<Instant>);

impl Seldom {
    /// Whether to log now. If so, it counts as logged.
    pub fn is_due(&mut self) -> bool {
        self.is_due_at(Instant::now())
    }

    fn is_due_at(&mut self, now: Instant) -> bool {
        let is_due = self.0.is_none_or(|at| now.saturating_duration_since(at) >= EVERY);
        if is_due {
            self.0 = Some(now);
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_time_and_then_once_a_minute() {
        let (mut seldom, begun) = (Seldom::default(), Instant::now());
        let due: Vec<u64> =
            (0..200).filter(|second| seldom.is_due_at(begun + Duration::from_secs(*second))).collect();
        assert_eq!(due, [0, 60, 120, 180]);
    }
}

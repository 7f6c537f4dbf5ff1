//! When a client was last heard, whether it is listened to, and how long its token lives: what a connection's reader tells its clock.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use parley_domain::Timestamp;
use tokio::sync::watch;
use tokio::time::Instant;

/// When a connection's token ends, once it has shown one; its clock is told of every change.
pub(crate) type Expiry = Arc<watch::Sender<Option<Timestamp>>>;

/// What a connection's reader tells its clock.
pub(super) struct Pulse {
    begun: Instant,
    /// Since `begun`. Whole milliseconds would put a quick pong before its ping.
    heard_ns: AtomicU64,
    /// Until when the client wasn't listened to, likewise; 0: it always was; [`UNHEARD`]: it isn't now.
    unheard_ns: AtomicU64,
    pub(super) expires_at: Expiry,
}

const UNHEARD: u64 = u64::MAX;

impl Pulse {
    pub(super) fn new() -> Self {
        let (heard_ns, unheard_ns) = (AtomicU64::new(0), AtomicU64::new(0));
        Self { begun: Instant::now(), heard_ns, unheard_ns, expires_at: Expiry::default() }
    }

    fn now_ns(&self) -> u64 {
        u64::try_from(self.begun.elapsed().as_nanos()).unwrap_or(u64::MAX - 1)
    }

    pub(super) fn heard(&self) {
        self.heard_ns.store(self.now_ns(), Ordering::Relaxed);
    }

    /// From now on nothing is read: a pong isn't heard.
    pub(super) fn stops_listening(&self) {
        self.unheard_ns.store(UNHEARD, Ordering::Relaxed);
    }

    pub(super) fn listens_again(&self) {
        self.unheard_ns.store(self.now_ns(), Ordering::Relaxed);
    }

    /// Until when a pong wouldn't have been heard: now, if it still isn't.
    pub(super) fn unheard_until(&self) -> Option<Instant> {
        match self.unheard_ns.load(Ordering::Relaxed) {
            0 => None,
            UNHEARD => Some(Instant::now()),
            nanos => Some(self.begun + Duration::from_nanos(nanos)),
        }
    }

    pub(super) fn heard_since(&self, at: Instant) -> bool {
        self.begun + Duration::from_nanos(self.heard_ns.load(Ordering::Relaxed)) >= at
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quick_pong_is_heard_since_its_ping() {
        let pulse = Pulse::new();
        for _ in 0..20 {
            std::thread::sleep(Duration::from_micros(130));
            assert!(!pulse.heard_since(Instant::now()));
            let pinged = Instant::now();
            pulse.heard();
            assert!(pulse.heard_since(pinged), "within the same millisecond too");
        }
    }

    #[test]
    fn who_is_not_listened_to_is_not_late() {
        let pulse = Pulse::new();
        assert_eq!(pulse.unheard_until(), None);
        let pinged = Instant::now();
        pulse.stops_listening();
        assert!(pulse.unheard_until() >= Some(pinged));
        pulse.listens_again();
        let again = Instant::now();
        std::thread::sleep(Duration::from_millis(1));
        assert!((pinged..=again).contains(&pulse.unheard_until().unwrap()), "it listens since then");
    }
}

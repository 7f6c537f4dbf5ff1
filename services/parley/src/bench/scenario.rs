//! What is measured. Names and sizes are those of the independent generator that Parley is compared with, so that the
//! two can be held against each other.

use std::time::Duration;

/// How the load is given.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Mode {
    /// At fixed times, whatever the server does; latency counts from the time that was planned. For latency.
    Open,
    /// A group has at most so many messages in flight, each until it is accepted and every member has it. For throughput.
    Closed,
}

/// A scenario.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Scenario {
    pub(super) name: &'static str,
    pub(super) groups: usize,
    pub(super) members: usize,
    /// Sends a second over all groups, in the open loop.
    pub(super) sends_per_second: f64,
    /// Messages in flight a group, in the closed loop.
    pub(super) in_flight_max: usize,
    pub(super) kind: Kind,
}

/// What is done with the groups.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// One member of each sends.
    Load,
    /// Nobody does anything.
    Idle,
    /// A member was away for so many messages.
    CatchUp(usize),
}

/// How long idle connections are looked at.
pub(super) const IDLE_WAIT: Duration = Duration::from_secs(10);

const fn load(
    name: &'static str,
    groups: usize,
    members: usize,
    sends_per_second: f64,
    in_flight_max: usize,
) -> Scenario {
    Scenario { name, groups, members, sends_per_second, in_flight_max, kind: Kind::Load }
}

/// All of them.
pub(super) const ALL: [Scenario; 5] = [
    load("fanout-1x1000", 1, 1_000, 5.0, 8),
    load("groups-100x10", 100, 10, 500.0, 4),
    load("pair-1000x2", 1_000, 2, 1_000.0, 2),
    Scenario { kind: Kind::Idle, ..load("idle-10k", 1_000, 10, 0.0, 0) },
    Scenario { kind: Kind::CatchUp(10_000), ..load("catchup-10k", 1, 2, 0.0, 64) },
];

impl Scenario {
    /// By its name.
    pub(super) fn named(name: &str) -> Option<Self> {
        ALL.into_iter().find(|scenario| scenario.name == name)
    }

    /// Fewer groups (or members, where there is one group), for a try.
    #[allow(clippy::cast_precision_loss, clippy::cast_sign_loss, reason = "small and positive")]
    #[allow(clippy::cast_possible_truncation, reason = "small and positive")]
    pub(super) fn scaled(self, scale: f64) -> Self {
        let less = |count: usize, least: usize| ((count as f64 * scale).round() as usize).max(least);
        if let Kind::CatchUp(missed) = self.kind {
            return Self { kind: Kind::CatchUp(less(missed, 10)), ..self };
        }
        if self.groups == 1 {
            return Self { members: less(self.members, 2), ..self };
        }
        Self { groups: less(self.groups, 1), sends_per_second: self.sends_per_second * scale, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_smaller_one_keeps_its_shape() {
        let groups = Scenario::named("groups-100x10").unwrap().scaled(0.1);
        assert_eq!((groups.groups, groups.members), (10, 10));
        assert!((groups.sends_per_second - 50.0).abs() < 1e-9);
        assert_eq!(Scenario::named("fanout-1x1000").unwrap().scaled(0.001).members, 2);
        assert_eq!(Scenario::named("nothing"), None);
    }
}

//! Answers that rest on a part of the log which isn't known yet: something was written there behind what this writer knew
//! when it decided. If that is its own, in flight, the answers wait until it has landed; else the partition is lost.

use parley_eventlog::TopicPartition;

use super::Shard;
use crate::flight::Answer;

/// Where the log had gone further than was known, and how far.
pub(super) type Beyond = Vec<(TopicPartition, u64)>;

/// Answers that wait.
pub(super) struct Held {
    /// Up to where what is in flight must have landed, in each of these places.
    until: Beyond,
    pub(super) answers: Vec<Answer>,
    /// Records came with them, which are in the log: nobody may be told that they aren't.
    pub(super) has_records: bool,
}

impl Shard {
    /// Answers, or waits for what is in flight; `false` if somebody else has written.
    pub(super) fn answer_or_hold(&mut self, answers: Vec<Answer>, beyond: Beyond, has_records: bool) -> bool {
        let ours = |(at, end): &(TopicPartition, u64)| {
            self.state.lanes.get(at).is_some_and(|lane| lane.next_offset() >= *end)
        };
        if !beyond.iter().all(ours) {
            tracing::error!("somebody else wrote to this writer's partitions: claiming them anew");
            self.held.push(Held { until: beyond, answers, has_records }); // refused with the rest
            return false;
        }
        if beyond.is_empty() {
            answers.into_iter().for_each(|answer| self.answer(answer));
        } else {
            self.held.push(Held { until: beyond, answers, has_records });
        }
        true
    }

    /// Answers what waited for what has landed by now.
    pub(super) fn release_held(&mut self) {
        let mut waiting = Vec::new();
        for held in std::mem::take(&mut self.held) {
            let landed = |(at, end): &(TopicPartition, u64)| {
                self.state.lanes.get(at).is_some_and(|lane| lane.confirmed() >= *end)
            };
            if held.until.iter().all(landed) {
                held.answers.into_iter().for_each(|answer| self.answer(answer));
            } else {
                waiting.push(held);
            }
        }
        self.held = waiting;
    }
}

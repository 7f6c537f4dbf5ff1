//! What is on its way to the log, and what will be said when it has arrived.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parley_domain::{GroupId, Rejection, Seq};
use parley_eventlog::{AppendError, Appending, Bound, EventLog, ReadError, Record, TopicPartition};
use parley_wire::service::{Notice, Reply, ReplyTo};

/// How long the log may take for an answer. Where others may own the partition next, a claim without an answer mustn't come to be in
/// the log later: Kafka gives an append up after 10 s, and a request that is under way then after 5 more. The embedded log waits for
/// its disk as long as that takes, and has one process: a disk that stands still for longer than this costs a fold, and nothing else.
const APPEND_WAIT: Duration = Duration::from_secs(60);

/// An answer that may be given once everything up to and including its flight is durable.
pub(crate) enum Answer {
    /// As it stands.
    Plain(ReplyTo, Result<Reply, Rejection>),
    /// After users were told; the notice says whom, the number how many were to be told.
    AfterNotice(ReplyTo, Notice),
}

/// One append with all that hangs on it. An empty one carries answers that append nothing.
#[derive(Default)]
pub(crate) struct Flight {
    pub(crate) records: Vec<(TopicPartition, Record)>,
    /// The offset that each record must get; `None` where the log is under no claim rule.
    pub(crate) expected: Vec<(TopicPartition, Option<u64>)>,
    /// Where the log must not have gone beyond what this writer knows, since an answer rests on that partition and no record
    /// of this flight proves it by landing where it should: a writer that was superseded while it was frozen must not
    /// answer from its old state.
    pub(crate) rests_on: HashMap<TopicPartition, u64>,
    /// Heads of groups once this is durable.
    pub(crate) heads: Vec<(GroupId, Seq)>,
    /// Users to tell once this is durable.
    pub(crate) notices: Vec<Notice>,
    /// Groups whose creator has some seconds to notify, from when this is durable.
    pub(crate) created: Vec<GroupId>,
    pub(crate) answers: Vec<Answer>,
}

impl Flight {
    pub(crate) fn is_empty(&self) -> bool {
        self.records.is_empty() && self.answers.is_empty()
    }

    /// Waits for the log.
    pub(crate) async fn land(self, appending: Option<Appending>, log: Arc<dyn EventLog>) -> Landed {
        let append = async {
            match appending {
                None => Ok(Vec::new()),
                Some(appending) => answered(appending).await,
            }
        };
        let (places, known): (Vec<_>, Vec<_>) = self.rests_on.iter().map(|(at, end)| (*at, *end)).unzip();
        let look =
            async { if places.is_empty() { Ok(Vec::new()) } else { log.offsets(&places, Bound::End).await } };
        let (outcome, ends) = tokio::join!(append, look);
        let beyond = ends.map(|ends| {
            let pairs = places.iter().zip(ends).zip(known);
            pairs.filter(|((_, end), known)| end > known).map(|((at, end), _)| (*at, end)).collect()
        });
        Landed { flight: self, outcome, beyond }
    }

    /// Whether the records landed where they should.
    pub(crate) fn is_as_expected(&self, offsets: &[u64]) -> bool {
        offsets.len() == self.expected.len()
            && offsets
                .iter()
                .zip(&self.expected)
                .all(|(offset, (_, expected))| expected.is_none_or(|expected| *offset == expected))
    }
}

/// The log's answer to an append, as unknown if it gives none. An answer that never came would hold up all that follow it, and
/// without a word.
pub(crate) async fn answered(appending: Appending) -> Result<Vec<u64>, AppendError> {
    match tokio::time::timeout(APPEND_WAIT, appending).await {
        Ok(Ok(outcome)) => outcome,
        Ok(Err(_)) => Err(AppendError::Unknown("the log gave no answer".into())),
        Err(_) => Err(AppendError::Unknown("the log gave no answer in time".into())),
    }
}

/// A flight and what became of it.
pub(crate) struct Landed {
    pub(crate) flight: Flight,
    pub(crate) outcome: Result<Vec<u64>, AppendError>,
    /// Where the log has gone beyond what was known when the flight began, and how far.
    pub(crate) beyond: Result<Vec<(TopicPartition, u64)>, ReadError>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn an_append_without_an_answer_is_unknown() {
        let (reply, appending) = tokio::sync::oneshot::channel();
        assert!(
            matches!(answered(appending).await, Err(AppendError::Unknown(_))),
            "it waits for nobody for ever"
        );
        assert!(reply.is_closed());
        let (reply, appending) = tokio::sync::oneshot::channel();
        drop(reply);
        assert!(matches!(answered(appending).await, Err(AppendError::Unknown(_))));
        let (reply, appending) = tokio::sync::oneshot::channel();
        reply.send(Ok(vec![7])).unwrap();
        assert_eq!(answered(appending).await.unwrap(), [7]);
    }
}

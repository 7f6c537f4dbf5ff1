//! What is on its way to the log, and what will be said when it has arrived.

use parley_domain::{GroupId, Rejection, Seq};
use parley_eventlog::{AppendError, Appending, Record, TopicPartition};
use parley_wire::service::{Notice, Reply, ReplyTo};

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
    /// The offset that each record must get.
    pub(crate) expected: Vec<u64>,
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
    pub(crate) async fn land(self, appending: Option<Appending>) -> Landed {
        let outcome = match appending {
            None => Ok(Vec::new()),
            Some(appending) => {
                appending.await.unwrap_or_else(|_| Err(AppendError::Unknown("the log gave no answer".into())))
            }
        };
        Landed { flight: self, outcome }
    }
}

/// A flight and what became of it.
pub(crate) struct Landed {
    pub(crate) flight: Flight,
    pub(crate) outcome: Result<Vec<u64>, AppendError>,
}

//! One task that owns some partitions.

mod claim;
mod decide;
mod failing;
mod fold;
mod held;
mod keep;
mod lane;
mod notices;
mod prepare;
mod take_over;

use std::collections::BTreeMap;
use std::time::Duration;

use bytes::BytesMut;
use futures::StreamExt as _;
use futures::future::{BoxFuture, OptionFuture};
use futures::stream::FuturesOrdered;
use hashbrown::HashMap;
use parley_domain::{CursorWish, Group, GroupId, ProfileChanged, Seq};
use parley_eventlog::{AppendError, ReadError, Topic, TopicPartition};
use parley_keys::Breaker;
use parley_wire::seldom::Seldom;
use parley_wire::service::{ReplyTo, Request};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dedupe::Dedupe;
use crate::flight::{Answer, Flight, Landed};
use crate::options::{Engines, Options, Plant};
use held::{Beyond, Held};
use keep::Storing;

pub(crate) use fold::{Opening, fold};
pub(crate) use lane::Lane;

/// How long a shard waits before it tries to take its partitions over again.
pub(crate) const RETRY_MS: std::ops::Range<u64> = 200..1_000;

/// A request in a shard's queue.
pub(crate) enum Queued {
    Group(Box<Request>, ReplyTo),
    Profile(ProfileChanged, ReplyTo),
}

impl Queued {
    pub(crate) fn into_reply_to(self) -> ReplyTo {
        match self {
            Self::Group(_, reply_to) | Self::Profile(_, reply_to) => reply_to,
        }
    }
}

/// A group and how much of it is durable.
#[derive(Default)]
pub(crate) struct Slot {
    pub(crate) group: Option<Group>,
    pub(crate) durable_head: Seq,
    /// Whether its creator has notified of it, as far as this owner knows.
    pub(crate) is_notified: bool,
}

/// What a shard knows; thrown away and folded anew when an append fails.
pub(crate) struct State {
    pub(crate) lanes: HashMap<TopicPartition, Lane>,
    pub(crate) groups: HashMap<GroupId, Slot>,
    pub(crate) dedupe: Dedupe,
    /// Records since the newest snapshot that is kept, folded or decided on: so many the next owner has to fold.
    folded_records: u64,
}

pub(crate) struct Shard {
    options: Options,
    engines: Engines,
    owned: Vec<u32>,
    tracker: TaskTracker,
    state: State,
    /// Groups whose creator has not notified yet, by when the server does.
    to_notify: BTreeMap<(Instant, GroupId), ()>,
    /// Acknowledgements of events that are still in flight.
    deferred: Vec<Deferred>,
    /// Answers that wait until what is in flight has landed.
    held: Vec<Held>,
    keys_breaker: Breaker,
    reads_breaker: Breaker,
    unusable: Seldom,
    storing: Option<Storing>,
    /// How many of the state's `folded_records` the last try to keep a snapshot was of.
    tried_records: u64,
    counters: Counters,
    /// Where records are encoded, one behind another: they share its memory, and what is full is replaced.
    buffer: BytesMut,
}

/// What a piece of memory for records takes; a record that is still needed keeps all of its piece.
const BUFFER_BYTES: usize = 64 * 1024;

/// What is counted with each batch or message: by hand, since to look one up by its name costs more than to count.
struct Counters {
    batch_requests: metrics::Histogram,
    accepted: metrics::Counter,
    repeats: metrics::Counter,
}

impl Default for Counters {
    fn default() -> Self {
        Self {
            batch_requests: metrics::histogram!("parley_writer_batch_requests"),
            accepted: metrics::counter!("parley_messages_accepted_total"),
            repeats: metrics::counter!("parley_dedupe_hits_total"),
        }
    }
}

/// How a shard's service ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was told to stop.
    Stopped,
    /// Its state can't be trusted any more; everybody was answered.
    Failed,
}

/// Acknowledgements that can't be decided on yet.
type Deferred = (GroupId, Vec<CursorWish>, ReplyTo);

type InFlight = FuturesOrdered<BoxFuture<'static, Landed>>;

impl Shard {
    /// Serves until told to stop, however often its partitions have to be taken over again; then answers what had been
    /// queued and ends.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Queued>, stop: CancellationToken) {
        while self.serve(&mut requests, &stop).await == Ended::Failed {
            if !self.recover(&mut requests, &stop).await {
                return;
            }
        }
    }

    /// The same, of a shard whose partitions couldn't be claimed yet: until they are, everybody is told `unavailable`.
    pub(crate) async fn run_once_claimed(
        mut self,
        mut requests: mpsc::Receiver<Queued>,
        stop: CancellationToken,
    ) {
        if self.recover(&mut requests, &stop).await {
            self.run(requests, stop).await;
        }
    }

    /// Serves until told to stop or until the state can't be trusted any more. In the end nothing is in flight, and whoever
    /// waited for something that was has an answer.
    pub(crate) async fn serve(
        &mut self,
        requests: &mut mpsc::Receiver<Queued>,
        stop: &CancellationToken,
    ) -> Ended {
        let mut in_flight = InFlight::new();
        let mut batch = Vec::new();
        let mut claim_at = self.next_claim();
        let mut parting: Option<BoxFuture<'static, ()>> = None;
        loop {
            let may_take = in_flight.len() < self.options.in_flight_batches_max;
            let next_notice = self.to_notify.first_key_value().map(|((at, _), ())| *at);
            let wants_snapshot = parting.is_none() && self.wants_snapshot();
            let holds = tokio::select! {
                biased; // what is rare comes first, so that a full queue can't hold it up
                () = stop.cancelled(), if parting.is_none() => {
                    parting = self.part(&mut in_flight).await;
                    parting.is_some()
                }
                Some(()) = OptionFuture::from(parting.as_mut()), if !requests.is_closed() => {
                    requests.close();
                    true
                }
                Some(ended) = OptionFuture::from(self.storing.as_mut()) => {
                    self.stored(ended);
                    true
                }
                () = tokio::time::sleep_until(claim_at) => {
                    claim_at = self.next_claim();
                    self.claim_anew(&mut in_flight).await
                }
                () = tokio::time::sleep_until(next_notice.unwrap_or_else(Instant::now)), if next_notice.is_some() => {
                    self.notify_overdue();
                    true
                }
                Some(landed) = in_flight.next(), if !in_flight.is_empty() => self.landed(landed, &mut in_flight),
                () = std::future::ready(()), if wants_snapshot => self.keep_snapshot(&mut in_flight).await,
                count = requests.recv_many(&mut batch, self.options.batch_requests_max), if may_take => {
                    if count == 0 {
                        break;
                    }
                    self.take(&mut batch, &mut in_flight).await;
                    true
                }
            };
            if !holds {
                self.give_up(&mut in_flight).await;
                return Ended::Failed;
            }
        }
        if !self.settle(&mut in_flight).await {
            self.give_up(&mut in_flight).await;
            return Ended::Failed;
        }
        Ended::Stopped
    }

    /// The term of a shard of one partition: the claim with which it was taken over. Claims that follow on it don't change it.
    pub(crate) fn term(&self) -> u64 {
        let events = |(at, _): &(&TopicPartition, &Lane)| at.topic == Topic::Events;
        self.state.lanes.iter().find(events).map_or(0, |(_, lane)| lane.claim())
    }

    /// Whether somebody else was given the partitions, later.
    pub(crate) async fn is_theirs(&self) -> Result<bool, ReadError> {
        claim::is_theirs(&self.options, &self.engines, &self.state, &self.owned).await
    }

    /// Decides on some requests and sends what comes of them to the log.
    async fn take(&mut self, batch: &mut Vec<Queued>, in_flight: &mut InFlight) {
        self.counters.batch_requests.record(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        let flight = self.decide_all(batch).await;
        self.launch(flight, in_flight);
    }

    fn launch(&mut self, mut flight: Flight, in_flight: &mut InFlight) {
        if flight.is_empty() {
            return;
        }
        if self.options.is_planted(Plant::FrozenRefusals) {
            flight.rests_on.clear();
        }
        // What landed where it should proves that the log is ours up to there.
        for (at, _) in &flight.expected {
            flight.rests_on.remove(at);
        }
        let records = std::mem::take(&mut flight.records);
        self.state.folded_records += records.len() as u64;
        let appending = (!records.is_empty()).then(|| self.engines.log.append(records));
        if self.options.is_planted(Plant::AckBeforeDurable) {
            for answer in std::mem::take(&mut flight.answers) {
                self.answer(answer);
            }
        }
        in_flight.push_back(Box::pin(flight.land(appending, self.engines.log.clone())));
    }

    /// Confirms a flight; `false` if the shard's state can't be trusted any more.
    fn landed(&mut self, landed: Landed, in_flight: &mut InFlight) -> bool {
        let Landed { flight, outcome, beyond } = landed;
        let offsets = match outcome {
            Ok(offsets) => offsets,
            Err(error) => {
                tracing::error!(error = %error, "append failed: claiming the partitions anew");
                self.refuse(flight, Some(&error));
                return false;
            }
        };
        if !flight.is_as_expected(&offsets) && !self.options.is_planted(Plant::NoClaimCheck) {
            tracing::error!("somebody else wrote to this writer's partitions: claiming them anew");
            self.refuse(flight, Some(&AppendError::Unknown("landed elsewhere".into())));
            return false;
        }
        // The second look at the log would see it too.
        let beyond = if self.options.is_planted(Plant::NoClaimCheck) { Ok(Vec::new()) } else { beyond };
        match beyond {
            Ok(beyond) => self.confirm(flight, beyond, in_flight),
            Err(error) => {
                let error = &error as &dyn std::error::Error;
                tracing::error!(error, "it can't be told whether the partitions are still this writer's");
                self.refuse(flight, None);
                false
            }
        }
    }

    /// What a flight that landed means; `false` as for [`Self::landed`].
    fn confirm(&mut self, mut flight: Flight, beyond: Beyond, in_flight: &mut InFlight) -> bool {
        for (at, expected) in &flight.expected {
            if let (Some(offset), Some(lane)) = (expected, self.state.lanes.get_mut(at)) {
                lane.confirm(*offset);
            }
        }
        for (group, head) in std::mem::take(&mut flight.heads) {
            if let Some(slot) = self.state.groups.get_mut(&group) {
                slot.durable_head = slot.durable_head.max(head);
            }
        }
        for group in std::mem::take(&mut flight.created) {
            let at = Instant::now() + Duration::from_millis(self.options.notify_after_ms);
            self.to_notify.insert((at, group), ());
        }
        for notice in std::mem::take(&mut flight.notices) {
            let notices = self.engines.notices.clone();
            self.tracker.spawn(async move { drop(notices.notify(notice).await) });
        }
        let answers = std::mem::take(&mut flight.answers);
        if !self.answer_or_hold(answers, beyond, !flight.expected.is_empty()) {
            return false;
        }
        self.release_held();
        let deferred = std::mem::take(&mut self.deferred);
        if !deferred.is_empty() {
            let flight = self.decide_cursors_again(deferred);
            self.launch(flight, in_flight);
        }
        true
    }

    fn answer(&mut self, answer: Answer) {
        match answer {
            Answer::Plain(reply_to, result) => reply_to.answer(result),
            Answer::AfterNotice(reply_to, notice) => self.notify_then_answer(notice, reply_to),
        }
    }
}

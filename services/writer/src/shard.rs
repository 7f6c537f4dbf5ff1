//! One task that owns some partitions.

mod decide;
mod lane;
mod prepare;
mod take_over;

use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesOrdered;
use parley_domain::{
    Code, CursorWish, Group, GroupId, Membership, NotificationKind, ProfileChanged, Rejection, Seq,
};
use parley_eventlog::{AppendError, TopicPartition};
use parley_wire::service::{GroupSummary, Notice, Reply, ReplyTo, Request, outcome_unknown};
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

use crate::dedupe::Dedupe;
use crate::flight::{Answer, Flight, Landed};
use crate::options::{Engines, Options};
use lane::Lane;

/// How long a shard waits before it tries to take its partitions over again.
const RETRY_MS: std::ops::Range<u64> = 200..1_000;

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
struct Slot {
    group: Option<Group>,
    durable_head: Seq,
}

/// What a shard knows; thrown away and folded anew when an append fails.
struct State {
    lanes: HashMap<TopicPartition, Lane>,
    groups: HashMap<GroupId, Slot>,
    dedupe: Dedupe,
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
}

/// Acknowledgements that can't be decided on yet.
type Deferred = (GroupId, Vec<CursorWish>, ReplyTo);

type InFlight = FuturesOrdered<futures::future::BoxFuture<'static, Landed>>;

impl Shard {
    /// Serves until told to stop, then answers what had been queued and ends.
    pub(crate) async fn run(mut self, mut requests: mpsc::Receiver<Queued>, stop: CancellationToken) {
        let mut in_flight = InFlight::new();
        let mut batch = Vec::new();
        let mut claim_at = self.next_claim();
        loop {
            let may_take = in_flight.len() < self.options.in_flight_batches_max;
            let next_notice = self.to_notify.first_key_value().map(|((at, _), ())| *at);
            tokio::select! {
                biased; // what is rare comes first, so that a full queue can't hold it up
                () = stop.cancelled(), if !requests.is_closed() => requests.close(),
                () = tokio::time::sleep_until(claim_at) => {
                    if !self.claim_anew(&mut in_flight).await {
                        self.fail_and_recover(&mut in_flight, &mut requests, &stop).await;
                    }
                    claim_at = self.next_claim();
                }
                () = tokio::time::sleep_until(next_notice.unwrap_or_else(Instant::now)), if next_notice.is_some() => {
                    self.notify_overdue();
                }
                Some(landed) = in_flight.next(), if !in_flight.is_empty() => {
                    if !self.landed(landed, &mut in_flight) {
                        self.fail_and_recover(&mut in_flight, &mut requests, &stop).await;
                        claim_at = self.next_claim();
                    }
                }
                count = requests.recv_many(&mut batch, self.options.batch_requests_max), if may_take => {
                    if count == 0 {
                        break;
                    }
                    self.take(std::mem::take(&mut batch), &mut in_flight).await;
                }
            }
        }
        while let Some(landed) = in_flight.next().await {
            self.landed(landed, &mut in_flight);
        }
    }

    /// Decides on some requests and sends what comes of them to the log.
    async fn take(&mut self, batch: Vec<Queued>, in_flight: &mut InFlight) {
        metrics::histogram!("parley_writer_batch_requests")
            .record(u32::try_from(batch.len()).unwrap_or(u32::MAX));
        let flight = self.decide_all(batch).await;
        self.launch(flight, in_flight);
    }

    fn launch(&mut self, mut flight: Flight, in_flight: &mut InFlight) {
        if flight.is_empty() {
            return;
        }
        let records = std::mem::take(&mut flight.records);
        let appending = (!records.is_empty()).then(|| self.engines.log.append(records));
        in_flight.push_back(Box::pin(flight.land(appending)));
    }

    /// Confirms a flight; `false` if the shard's state can't be trusted any more.
    fn landed(&mut self, landed: Landed, in_flight: &mut InFlight) -> bool {
        let Landed { flight, outcome } = landed;
        match outcome {
            Ok(offsets) if offsets == flight.expected => {
                self.confirm(flight);
                let deferred = std::mem::take(&mut self.deferred);
                if !deferred.is_empty() {
                    let flight = self.decide_cursors_again(deferred);
                    self.launch(flight, in_flight);
                }
                true
            }
            Ok(_) => {
                tracing::error!("somebody else wrote to this writer's partitions: claiming them anew");
                refuse(flight.answers, &outcome_unknown());
                false
            }
            Err(error) => {
                refuse(flight.answers, &append_rejection(&error));
                tracing::error!(error = %error, "append failed: claiming the partitions anew");
                false
            }
        }
    }

    fn confirm(&mut self, flight: Flight) {
        for (group, head) in flight.heads {
            if let Some(slot) = self.state.groups.get_mut(&group) {
                slot.durable_head = slot.durable_head.max(head);
            }
        }
        for group in flight.created {
            let at = Instant::now() + Duration::from_millis(self.options.notify_after_ms);
            self.to_notify.insert((at, group), ());
        }
        for notice in flight.notices {
            let notices = self.engines.notices.clone();
            self.tracker.spawn(async move { drop(notices.notify(notice).await) });
        }
        for answer in flight.answers {
            match answer {
                Answer::Plain(reply_to, result) => reply_to.answer(result),
                Answer::AfterNotice(reply_to, notice) => self.notify_then_answer(notice, reply_to),
            }
        }
    }

    fn notify_then_answer(&mut self, notice: Notice, reply_to: ReplyTo) {
        self.to_notify.retain(|(_, group), ()| *group != notice.group.group_id);
        let notices = self.engines.notices.clone();
        self.tracker.spawn(async move {
            let all = notice.users.len();
            let online = notices.notify(notice).await.len();
            let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
            let reply = Reply::Notified { online: count(online), pending: count(all.saturating_sub(online)) };
            reply_to.answer(Ok(reply));
        });
    }

    fn notify_overdue(&mut self) {
        let now = Instant::now();
        while let Some(entry) = self.to_notify.first_entry().filter(|entry| entry.key().0 <= now) {
            let ((_, group), ()) = entry.remove_entry();
            // Who acknowledged it at connecting isn't told again.
            if let Some(notice) = self.creation_notice(group, |membership| !membership.notified) {
                let notices = self.engines.notices.clone();
                self.tracker.spawn(async move { drop(notices.notify(notice).await) });
            }
        }
    }

    /// The notice to `those` who are members since the creation, the creator not among them.
    fn creation_notice(&self, group: GroupId, those: impl Fn(&Membership) -> bool) -> Option<Notice> {
        let group =
            self.state.groups.get(&group)?.group.as_ref().filter(|group| group.dissolved.is_none())?;
        let told = group.members.iter().filter(|(user, membership)| {
            membership.is_current()
                && membership.stay.joined == 1
                && **user != group.creator
                && those(membership)
        });
        Some(Notice {
            group: summary(group),
            kind: NotificationKind::Created,
            added_by: group.creator.clone(),
            seq: 1,
            at: group.created_at,
            users: told.map(|(user, _)| user.clone()).collect(),
        })
    }

    /// Answers everything that can't be kept, then takes the partitions over again, however long that takes; meanwhile
    /// requests are refused as `unavailable`.
    async fn fail_and_recover(
        &mut self,
        in_flight: &mut InFlight,
        requests: &mut mpsc::Receiver<Queued>,
        stop: &CancellationToken,
    ) {
        // What was decided on top of the failed append is void, whatever the log says of it.
        while let Some(Landed { flight, outcome }) = in_flight.next().await {
            let rejection = outcome.err().map_or_else(outcome_unknown, |error| append_rejection(&error));
            refuse(flight.answers, &rejection);
        }
        for (_, _, reply_to) in self.deferred.drain(..) {
            reply_to.answer(Err(unavailable()));
        }
        let mut logged = false;
        loop {
            let fresh = Self::fold(&self.options, &self.engines, &self.owned);
            match fresh.await {
                Ok(state) => {
                    self.state = state;
                    tracing::info!("the partitions are claimed and folded again");
                    return;
                }
                Err(error) if !logged => {
                    logged = true;
                    tracing::error!(
                        error = &error as &dyn std::error::Error,
                        "the partitions can't be claimed; trying on"
                    );
                }
                Err(_) => {}
            }
            let wait = Duration::from_millis(rand::random_range(RETRY_MS));
            let until = Instant::now() + wait;
            loop {
                tokio::select! {
                    () = tokio::time::sleep_until(until) => break,
                    queued = requests.recv() => match queued {
                        Some(queued) => queued.into_reply_to().answer(Err(unavailable())),
                        None => return,
                    },
                    () = stop.cancelled(), if !requests.is_closed() => requests.close(),
                }
            }
        }
    }
}

fn unavailable() -> Rejection {
    Rejection::new(Code::Unavailable, "the log takes no writes now: nothing was stored, try again")
        .retry_after(1_000)
}

fn append_rejection(error: &AppendError) -> Rejection {
    match error {
        AppendError::NotAppended(_) => unavailable(),
        AppendError::Unknown(_) => outcome_unknown(),
    }
}

fn refuse(answers: Vec<Answer>, rejection: &Rejection) {
    for answer in answers {
        let (Answer::Plain(reply_to, _) | Answer::AfterNotice(reply_to, _)) = answer;
        reply_to.answer(Err(rejection.clone()));
    }
}

fn summary(group: &Group) -> GroupSummary {
    GroupSummary {
        group_id: group.id,
        name: group.name.clone(),
        description: group.description.clone(),
        owner: group.owner.clone(),
        created_by: group.creator.clone(),
        created_at: group.created_at,
        updated_at: group.updated_at,
        member_count: group.member_count,
        head: group.head,
    }
}

//! Bringing sessions on that are behind: from the channel's tail if that reaches back far enough, else first from the read
//! models, until they are live.
//!
//! One task a session while anything is behind, paced by what its socket takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use hashbrown::{HashMap, HashSet};
use parley_domain::{GroupId, Seq};
use parley_readstore::{EventRow, ReadModel};
use parley_wire::event;

use crate::edge::Shared;
use crate::hub::{Channel, Step, SubscriptionId, Taken};
use crate::session::Session;
use log_tier::Beyond;

mod log_tier;

pub(crate) use log_tier::LogTier;

/// How long a replay waits for the read models before it goes on from the log.
const LAG_WAIT: Duration = Duration::from_secs(1);
/// Events read in one go.
const PAGE_EVENTS: usize = 256;
/// Wait before a replay that a store holds up is tried again.
const RETRY: Duration = Duration::from_millis(250);

/// Something that a session has yet to get.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Behind {
    /// A subscription that isn't live.
    Subscription(GroupId, SubscriptionId, Phase),
    /// What somebody may still see who is no member any more.
    Range(GroupId, Range),
}

/// A part of a group's past; another one of the same group, or a subscription, takes its place.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Range {
    number: u64,
    from: Seq,
    to: Seq,
}

/// Events that the read models lack and, for all that is known, will lack: a subscription waits before them.
#[derive(Debug, thiserror::Error)]
#[error("the read models lack events {seq} to {} of group {group}: see what the projector logged of them", .first - 1)]
struct Missing {
    group: GroupId,
    seq: Seq,
    /// The next one that they have.
    first: Seq,
}

/// Where rows begin, if that is beyond the event from which on they were asked for.
fn first_beyond(rows: &[EventRow], next: Seq) -> Option<Seq> {
    rows.first().map(|row| row.seq).filter(|first| *first > next)
}

/// How far a subscription has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Phase {
    /// The read models may not show yet what was delivered before it began.
    Fresh,
    /// They do: it reads on until they have no more.
    Reading,
    /// They are behind: it reads on from them, and then from the log.
    Lagging,
    /// All of that was read, so that the channel knows what is missing.
    Known,
}

/// What a session has yet to get, and whether a task is at it.
#[derive(Default)]
pub(crate) struct Queue {
    waiting: VecDeque<Behind>,
    /// The same, to be found at once: somebody in thousands of groups has as many waiting.
    queued: HashSet<Behind>,
    running: bool,
    /// The ranges that count, by group: their numbers.
    ranges: HashMap<GroupId, u64>,
    numbers: u64,
}

impl Queue {
    /// Adds something; `true`: the caller must start the task.
    pub(crate) fn add(&mut self, behind: Behind) -> bool {
        self.put(behind);
        !std::mem::replace(&mut self.running, true)
    }

    fn put(&mut self, behind: Behind) {
        if self.queued.insert(behind.clone()) {
            self.waiting.push_back(behind);
        }
    }

    /// A range in the place of any other of its group.
    fn range(&mut self, group: GroupId, from: Seq, to: Seq) -> Behind {
        self.end_range(group);
        self.numbers += 1;
        self.ranges.insert(group, self.numbers);
        Behind::Range(group, Range { number: self.numbers, from, to })
    }

    /// Ends a group's range: from now on none of its frames is queued.
    pub(crate) fn end_range(&mut self, group: GroupId) {
        if self.ranges.remove(&group).is_some() {
            let is_of = |behind: &Behind| matches!(behind, Behind::Range(of, _) if *of == group);
            self.waiting.retain(|behind| !is_of(behind));
            self.queued.retain(|behind| !is_of(behind));
        }
    }

    fn counts(&self, group: GroupId, range: Range) -> bool {
        self.ranges.get(&group) == Some(&range.number)
    }

    /// The subscriptions that wait for the read models, but one.
    fn fresh(&self) -> impl Iterator<Item = (GroupId, SubscriptionId)> {
        self.waiting.iter().filter_map(|behind| match behind {
            Behind::Subscription(group, id, Phase::Fresh) => Some((*group, *id)),
            Behind::Subscription(..) | Behind::Range(..) => None,
        })
    }

    fn next(&mut self) -> Option<Behind> {
        let next = self.waiting.pop_front();
        match &next {
            Some(behind) => {
                self.queued.remove(behind);
            }
            // Sessions live on for hours, and need neither again as large as after the welcome.
            None => (self.waiting, self.queued) = Default::default(),
        }
        self.running = next.is_some();
        next
    }
}

/// Replays something to a session.
pub(crate) fn start(shared: &Arc<Shared>, session: &Arc<Session>, what: Behind) {
    if session.replay.lock().add(what) {
        shared.tracker.spawn(run(shared.clone(), session.clone()));
    }
}

/// Replays a part of a group's past to a session.
pub(crate) fn start_range(shared: &Arc<Shared>, session: &Arc<Session>, group: GroupId, from: Seq, to: Seq) {
    let range = session.replay.lock().range(group, from, to);
    start(shared, session, range);
}

/// Subscriptions for which a wait for the read models counts that another one did, and what came of it.
type Waited = HashMap<SubscriptionId, bool>;

async fn run(shared: Arc<Shared>, session: Arc<Session>) {
    let mut waited = Waited::new();
    loop {
        let Some(next) = session.replay.lock().next() else { return };
        if !session.outbox.wait_for_space().await {
            return;
        }
        // What it reads and writes may all be at hand: others get their turn all the same.
        tokio::task::consume_budget().await;
        let rest = match next {
            Behind::Subscription(group, id, phase) => {
                subscription(&shared, &session, group, id, phase, &mut waited).await
            }
            Behind::Range(group, some) => range(&shared, &session, group, some).await,
        };
        if let Some(rest) = rest {
            session.replay.lock().put(rest);
        }
    }
}

/// One step of a subscription; what is left of it, if anything.
async fn subscription(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    group: GroupId,
    id: SubscriptionId,
    phase: Phase,
    waited: &mut Waited,
) -> Option<Behind> {
    let left = |phase| Some(Behind::Subscription(group, id, phase));
    let over = || {
        shared.hub.end_subscription(group, session, id);
        None
    };
    let channel = shared.hub.channel(group)?;
    let next = match phase {
        Phase::Fresh => {
            channel.next_of(session, id)?;
            if let Some(keys) = channel.reaches_back(session, id)
                && shared.opener.has(&keys).await
            {
                metrics::counter!("parley_replays_from_memory_total").increment(1);
                return left(Phase::Known);
            }
            let caught_up = match waited.remove(&id) {
                Some(caught_up) => caught_up,
                None if followed(shared, group).await => wait(shared, session, group, waited).await,
                None => return Some(retry(session, Behind::Subscription(group, id, phase)).await),
            };
            return left(if caught_up { Phase::Reading } else { Phase::Lagging });
        }
        Phase::Reading | Phase::Lagging => channel.next_of(session, id)?,
        Phase::Known => match channel.catch_up(session, id) {
            Step::Gone | Step::Live => return None,
            Step::Over => return over(),
            Step::Full => return left(phase),
            Step::Read(next) => next,
        },
    };
    let rows = match shared.engines.reads.live().events(group, next, Seq::MAX, PAGE_EVENTS).await {
        Ok(rows) => rows,
        Err(error) => {
            held_up(shared, session, &error);
            return Some(retry(session, Behind::Subscription(group, id, phase)).await);
        }
    };
    metrics::counter!("parley_replay_rows_total").increment(rows.len() as u64);
    if let Some(first) = first_beyond(&rows, next) {
        // Of what the read models show nothing is missing but for good: an event that couldn't be projected.
        held_up(shared, session, &Missing { group, seq: next, first });
        return Some(retry(session, Behind::Subscription(group, id, phase)).await);
    }
    if rows.is_empty() {
        return match phase {
            Phase::Fresh | Phase::Reading => left(Phase::Known),
            // Delivered, but neither in the tail any more nor in the rows yet. They may stay away, so not at once.
            Phase::Known => Some(retry(session, Behind::Subscription(group, id, Phase::Fresh)).await),
            Phase::Lagging => from_log(shared, session, &channel, id, next).await,
        };
    }
    for row in rows {
        let Some((fact, frame)) = open(shared, session, &row).await else {
            return Some(retry(session, Behind::Subscription(group, id, phase)).await);
        };
        match channel.replayed(session, id, &fact, &frame) {
            Taken::On => {}
            Taken::Over => return over(),
            Taken::Full | Taken::Stale => break,
        }
    }
    left(phase)
}

/// The read models have no more, but the log has: a step of it; what is left then, if anything.
async fn from_log(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    channel: &Arc<Channel>,
    id: SubscriptionId,
    next: Seq,
) -> Option<Behind> {
    let left = |phase| Behind::Subscription(channel.group, id, phase);
    let beyond = match shared.log_tier.events(shared, channel.group, next, PAGE_EVENTS).await {
        Ok(beyond) => beyond,
        Err(error) => {
            held_up(shared, session, &error);
            return Some(retry(session, left(Phase::Fresh)).await);
        }
    };
    if beyond.is_empty() {
        // Everything that the log had is on its way, or the read models have it by now: they are asked once more.
        return Some(left(Phase::Reading));
    }
    if beyond.first().is_some_and(|first| first.fact.seq > next) {
        // The read models have what is before it by now; or nobody has, and they are asked again and again.
        return Some(retry(session, left(Phase::Lagging)).await);
    }
    for Beyond { fact, position, rolled_back } in beyond {
        let frame = match shared.opener.frame(&fact, position, rolled_back).await {
            Ok(frame) => frame,
            Err(error) => {
                held_up(shared, session, &error);
                return Some(retry(session, left(Phase::Lagging)).await);
            }
        };
        match channel.replayed(session, id, &fact, &frame) {
            Taken::On => {}
            Taken::Over => {
                shared.hub.end_subscription(channel.group, session, id);
                return None;
            }
            Taken::Full | Taken::Stale => break,
        }
    }
    Some(left(Phase::Lagging))
}

/// Waits until the read models show what was delivered before now; whether they do. Once for all subscriptions that wait for it: where
/// they lag, a user of many groups would wait for each of them in turn.
async fn wait(shared: &Shared, session: &Session, group: GroupId, waited: &mut Waited) -> bool {
    let needs = shared.hub.needs();
    let fresh: Vec<_> = session.replay.lock().fresh().collect();
    let others = || fresh.iter().filter(|(group, _)| needs.is_followed(*group));
    let whose = others().next().map_or(Some(group), |_| None);
    let those: Vec<SubscriptionId> = others().map(|(_, id)| *id).collect();
    let caught_up = shared.engines.progress.caught_up(whose, LAG_WAIT).await;
    waited.extend(those.into_iter().map(|id| (id, caught_up)));
    caught_up
}

/// Waits until what comes for a group is delivered here, so that nothing falls between the replay and that.
async fn followed(shared: &Shared, group: GroupId) -> bool {
    let needs = shared.hub.needs();
    let mut changed = needs.watch();
    let follow = async {
        while !needs.is_followed(group) {
            if changed.changed().await.is_err() {
                return false;
            }
        }
        true
    };
    tokio::time::timeout(shared.options.read_wait, follow).await.unwrap_or(false)
}

async fn range(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    group: GroupId,
    mut range: Range,
) -> Option<Behind> {
    if !session.replay.lock().counts(group, range) {
        return None;
    }
    let Range { from, to, .. } = range;
    let rows = match rest_of(shared.engines.reads.live().as_ref(), group, from, to).await {
        Ok(Rest::Rows(rows)) => rows,
        Ok(Rest::Nothing) => {
            if from <= to {
                held_up(shared, session, &Missing { group, seq: from, first: to + 1 });
            }
            return range_is_over(session, group, range);
        }
        Ok(Rest::NotYet) => return Some(retry(session, Behind::Range(group, range)).await),
        Err(error) => {
            held_up(shared, session, &error);
            return Some(retry(session, Behind::Range(group, range)).await);
        }
    };
    metrics::counter!("parley_replay_rows_total").increment(rows.len() as u64);
    for row in rows {
        let Some((_, frame)) = open(shared, session, &row).await else {
            return Some(retry(session, Behind::Range(group, range)).await);
        };
        // Under the lock, so that nothing of it comes behind the answer that announces what takes its place.
        let queue = session.replay.lock();
        if !queue.counts(group, range) {
            return None;
        }
        if !session.outbox.offer(frame) {
            break;
        }
        range.from = row.seq + 1;
    }
    if range.from > to {
        return range_is_over(session, group, range);
    }
    session.replay.lock().counts(group, range).then_some(Behind::Range(group, range))
}

/// What the read models have of the rest of a range.
#[derive(Debug, PartialEq, Eq)]
enum Rest {
    /// The next events.
    Rows(Vec<EventRow>),
    /// None any more.
    Nothing,
    /// They don't show all of it at this moment, as after an older version of them became live.
    NotYet,
}

async fn rest_of(
    reads: &dyn ReadModel,
    group: GroupId,
    from: Seq,
    to: Seq,
) -> Result<Rest, parley_readstore::Error> {
    if from > to {
        return Ok(Rest::Nothing);
    }
    let rows = reads.events(group, from, to, PAGE_EVENTS).await?;
    if !rows.is_empty() {
        return Ok(Rest::Rows(rows));
    }
    if reads.group(group).await?.is_none_or(|shown| shown.head < to) {
        return Ok(Rest::NotYet);
    }
    // Once more: they may have come just before the head did.
    let rows = reads.events(group, from, to, PAGE_EVENTS).await?;
    Ok(if rows.is_empty() { Rest::Nothing } else { Rest::Rows(rows) })
}

/// Nothing is left of a range.
fn range_is_over(session: &Session, group: GroupId, range: Range) -> Option<Behind> {
    let mut queue = session.replay.lock();
    if queue.counts(group, range) {
        queue.ranges.remove(&group); // it doesn't wait any more, so there is nothing to look for
    }
    None
}

async fn open(
    shared: &Shared,
    session: &Session,
    row: &EventRow,
) -> Option<(parley_domain::Fact, bytes::Bytes)> {
    let opened = async {
        let fact = event::untagged(row.value.clone())?;
        let frame = shared.opener.frame(&fact, row.position, row.rolled_back).await?;
        Ok::<_, crate::opener::OpenError>((fact, frame))
    };
    match opened.await {
        Ok(opened) => Some(opened),
        Err(error) => {
            held_up(shared, session, &error);
            None
        }
    }
}

/// A replay that can't go on is tried again until it can, so only now and then is it worth a line.
fn held_up(shared: &Shared, session: &Session, error: &(dyn std::error::Error + 'static)) {
    metrics::counter!("parley_replays_held_up_total").increment(1);
    if shared.replay_trouble.lock().is_due() {
        tracing::error!(error, session = %session.id, "an event can't be replayed; trying on");
    }
}

async fn retry(session: &Session, behind: Behind) -> Behind {
    if !session.outbox.is_closing() {
        tokio::time::sleep(RETRY).await;
    }
    behind
}

#[cfg(test)]
mod tests;

//! Bringing sessions on that are behind: from the channel's tail if that reaches back far enough, else first from the read
//! models, until they are live.
//!
//! One task a session while anything is behind, paced by what its socket takes.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use parley_domain::{GroupId, Seq};
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Behind {
    /// A subscription that isn't live.
    Subscription(GroupId, SubscriptionId, Phase),
    /// What somebody may still see who is no member any more: from, to.
    Range(GroupId, Seq, Seq),
}

/// How far a subscription has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
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
    running: bool,
}

impl Queue {
    /// Adds something; `true`: the caller must start the task.
    pub(crate) fn add(&mut self, behind: Behind) -> bool {
        if !self.waiting.contains(&behind) {
            self.waiting.push_back(behind);
        }
        !std::mem::replace(&mut self.running, true)
    }

    fn next(&mut self) -> Option<Behind> {
        let next = self.waiting.pop_front();
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

async fn run(shared: Arc<Shared>, session: Arc<Session>) {
    loop {
        let Some(next) = session.replay.lock().next() else { return };
        if !session.outbox.wait_for_space().await {
            return;
        }
        let rest = match next {
            Behind::Subscription(group, id, phase) => subscription(&shared, &session, group, id, phase).await,
            Behind::Range(group, from, to) => range(&shared, &session, group, from, to).await,
        };
        if let Some(rest) = rest {
            session.replay.lock().waiting.push_back(rest);
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
) -> Option<Behind> {
    let left = |phase| Some(Behind::Subscription(group, id, phase));
    let over = || {
        shared.hub.end_subscription(group, session, id);
        None
    };
    let channel = shared.hub.channel(group)?;
    let next = match phase {
        Phase::Fresh => {
            if let Some(keys) = channel.reaches_back(session, id)
                && shared.opener.has(&keys).await
            {
                metrics::counter!("parley_replays_from_memory_total").increment(1);
                return left(Phase::Known);
            }
            if !followed(shared, group).await {
                return Some(retry(session, Behind::Subscription(group, id, phase)).await);
            }
            let caught_up = shared.engines.progress.caught_up(Some(group), LAG_WAIT).await;
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
    if rows.is_empty() {
        return match phase {
            Phase::Fresh | Phase::Reading => left(Phase::Known),
            // Delivered, but neither in the tail any more nor in the rows yet.
            Phase::Known => left(Phase::Fresh),
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
        // Everything that the log had is on its way, and what came since is delivered.
        return Some(left(Phase::Known));
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
            // Also when the rows have it by now, and more.
            Taken::Full | Taken::Stale => break,
        }
    }
    Some(left(Phase::Lagging))
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
    mut from: Seq,
    to: Seq,
) -> Option<Behind> {
    let rows = match shared.engines.reads.live().events(group, from, to, PAGE_EVENTS).await {
        Ok(rows) => rows,
        Err(error) => {
            held_up(shared, session, &error);
            return Some(retry(session, Behind::Range(group, from, to)).await);
        }
    };
    metrics::counter!("parley_replay_rows_total").increment(rows.len() as u64);
    if rows.is_empty() {
        return None;
    }
    for row in rows {
        let Some((_, frame)) = open(shared, session, &row).await else {
            return Some(retry(session, Behind::Range(group, from, to)).await);
        };
        if !session.outbox.offer(frame) {
            break;
        }
        from = row.seq + 1;
    }
    (from <= to).then_some(Behind::Range(group, from, to))
}

async fn open(
    shared: &Shared,
    session: &Session,
    row: &parley_readstore::EventRow,
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

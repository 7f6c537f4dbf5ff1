//! Telling senders who has their messages. Live only: from the acknowledgements in the log, gathered, counted by the owner.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::{DefaultHashBuilder, HashMap};
use indexmap::IndexMap;
use parley_domain::{
    Code, CursorAdvance, Event, GroupId, MessageId, ReceiptCounts, Rejection, RollbackReason, Seq, UserId,
};
use parley_wire::event::{self, CursorsAdvanced};
use parley_wire::frame::{ErrorBody, MessageStatus, names};
use parley_wire::service::{Reply, Wish};
use tokio::sync::mpsc;
use tokio::time::Instant;

use crate::edge::Shared;
use crate::hub::{Crossed, newest_of_each};
use crate::ws;

/// Where members of a group have come, in the order in which they moved.
type Advances = IndexMap<UserId, CursorAdvance, DefaultHashBuilder>;

/// Events of acknowledgements that may wait to be counted. Beyond that statuses are dropped: they are live only.
const WAITING_MAX: usize = 8_192;
/// How long acknowledgements of a group are gathered.
const GATHER: Duration = Duration::from_millis(50);
/// How often a large group's senders are told.
const LARGE_GROUP_EVERY: Duration = Duration::from_secs(1);
/// Members, the sender counted, up to which each one's cursors are told.
const SMALL_GROUP_MEMBERS_MAX: u32 = 200;
/// Messages that one question to the owner may name.
const MESSAGES_PER_COUNT_MAX: usize = 100;
/// Messages looked through in the read model if a cursor comes from far back.
const LOOKED_THROUGH_MAX: usize = 200;

/// The way in.
pub(crate) struct Statuses {
    queue: mpsc::Sender<Arc<CursorsAdvanced>>,
}

/// The counting task.
pub(crate) struct Count {
    queue: mpsc::Receiver<Arc<CursorsAdvanced>>,
    /// Large groups, and when their senders may be told again.
    not_before: HashMap<GroupId, Instant>,
    pending: HashMap<GroupId, Advances>,
}

impl Statuses {
    pub(crate) fn new() -> (Self, Count) {
        let (tx, rx) = mpsc::channel(WAITING_MAX);
        (Self { queue: tx }, Count { queue: rx, not_before: HashMap::new(), pending: HashMap::new() })
    }

    /// Cursors of a group that somebody here listens to have moved.
    pub(crate) fn cursors(&self, cursors: Arc<CursorsAdvanced>) {
        if self.queue.try_send(cursors).is_err() {
            metrics::counter!("parley_statuses_dropped_total").increment(1);
        }
    }
}

impl Count {
    pub(crate) async fn run(mut self, shared: Arc<Shared>) {
        loop {
            let soonest = self.pending.keys().filter_map(|group| self.not_before.get(group)).min().copied();
            tokio::select! {
                () = shared.stop.cancelled() => return,
                some = self.queue.recv() => match some {
                    Some(cursors) => self.gather(&cursors),
                    None => return,
                },
                () = tokio::time::sleep_until(soonest.unwrap_or_else(Instant::now)), if soonest.is_some() => {}
            }
            tokio::time::sleep(GATHER).await;
            while let Ok(cursors) = self.queue.try_recv() {
                self.gather(&cursors);
            }
            let now = Instant::now();
            self.not_before.retain(|_, at| *at > now);
            let due: Vec<GroupId> =
                self.pending.keys().filter(|group| !self.not_before.contains_key(*group)).copied().collect();
            for group in due {
                let Some(advances) = self.pending.remove(&group) else { continue };
                if tell(&shared, group, &advances).await == Some(true) {
                    self.not_before.insert(group, Instant::now() + LARGE_GROUP_EVERY);
                }
            }
        }
    }

    fn gather(&mut self, cursors: &CursorsAdvanced) {
        let pending = self.pending.entry(cursors.group_id).or_default();
        for advance in cursors.advances.iter().filter(|advance| advance.delivered.max(advance.read) > 0) {
            match pending.get_mut(&advance.user) {
                Some(known) => {
                    known.delivered = known.delivered.max(advance.delivered);
                    known.read = known.read.max(advance.read);
                    known.delivered_before = known.delivered_before.min(advance.delivered_before);
                    known.read_before = known.read_before.min(advance.read_before);
                }
                None => drop(pending.insert(advance.user.clone(), advance.clone())),
            }
        }
    }
}

/// Tells the senders of a group; whether the group is large. `None` if there was nobody to tell.
async fn tell(shared: &Shared, group: GroupId, advances: &Advances) -> Option<bool> {
    let mut by_message: HashMap<(Seq, UserId), (MessageId, Vec<&CursorAdvance>)> = HashMap::new();
    let mut further_back = FurtherBack::of(advances);
    for advance in advances.values() {
        for crossed in crossed(shared, group, advance, &mut further_back).await? {
            if crossed.sender == advance.user || !shared.hub.is_online(&crossed.sender) {
                continue;
            }
            let entry = by_message.entry((crossed.seq, crossed.sender));
            entry.or_insert_with(|| (crossed.message_id, Vec::new())).1.push(advance);
        }
    }
    let mut messages: Vec<_> = by_message.into_iter().collect();
    messages.sort_unstable_by_key(|((seq, _), _)| *seq);
    let mut large = None;
    for some in messages.chunks(MESSAGES_PER_COUNT_MAX) {
        let asked: Vec<(Seq, UserId)> = some.iter().map(|(key, _)| key.clone()).collect();
        let (_, actor) = asked.first().cloned()?;
        let Ok(Reply::Receipts(counts)) = shared.call(group, &actor, Wish::CountReceipts(asked)).await else {
            continue;
        };
        let told = some.iter().zip(counts).filter(|(_, counts)| counts.members > 0);
        for (((seq, sender), (message_id, by)), counts) in told {
            let is_large = counts.members >= SMALL_GROUP_MEMBERS_MAX;
            large = Some(is_large);
            let message = Crossed { seq: *seq, message_id: *message_id, sender: sender.clone() };
            let one = [None];
            let each: Vec<Option<&CursorAdvance>> = by.iter().map(|advance| Some(*advance)).collect();
            for advance in if is_large { one.as_slice() } else { &each } {
                send(shared, group, &message, counts, *advance);
            }
        }
    }
    large
}

fn send(
    shared: &Shared,
    group: GroupId,
    message: &Crossed,
    counts: ReceiptCounts,
    by: Option<&CursorAdvance>,
) {
    let body = MessageStatus {
        group_id: group.0,
        seq: message.seq,
        message_id: message.message_id.0,
        delivered_count: counts.delivered,
        read_count: counts.read,
        member_count: counts.members,
        user_id: by.map(|advance| advance.user.as_str()),
        delivered_seq: by.map(|advance| advance.after().delivered),
        read_seq: by.map(|advance| advance.after().read),
    };
    let frame = ws::quick_text(names::GROUP_MESSAGE_STATUS, None, &body);
    for session in shared.hub.sessions_of(&message.sender) {
        session.outbox.offer(frame.clone());
    }
}

/// The newest messages, one a sender, that a cursor newly covers.
async fn crossed(
    shared: &Shared,
    group: GroupId,
    advance: &CursorAdvance,
    further_back: &mut FurtherBack,
) -> Option<Vec<Crossed>> {
    let after = advance.delivered.max(advance.read);
    let channel = shared.hub.channel(group)?;
    let (remembered, is_all) = channel.crossed(advance.before(), after);
    if is_all {
        return Some(remembered);
    }
    // The newest may not be in the read models yet: those are what the channel remembers.
    let messages = further_back.up_to(shared, group, after).await?;
    let further = messages.iter().filter(|message| message.seq > advance.before()).cloned();
    Some(newest_of_each(remembered.into_iter().chain(further)))
}

/// Messages that the channel doesn't remember any more, read once for all members who came to the same event: where a
/// thousand fall behind together, a thousand reads would keep them there.
struct FurtherBack {
    after: Seq,
    /// By where a cursor stands now, newest first.
    read: HashMap<Seq, Vec<Crossed>>,
}

impl FurtherBack {
    fn of(advances: &Advances) -> Self {
        let after = advances.values().map(CursorAdvance::before).min().unwrap_or(0);
        Self { after, read: HashMap::new() }
    }

    async fn up_to(&mut self, shared: &Shared, group: GroupId, last: Seq) -> Option<&[Crossed]> {
        if let hashbrown::hash_map::Entry::Vacant(entry) = self.read.entry(last) {
            let model = shared.engines.reads.live();
            let (rows, _) =
                model.messages(group, self.after, last + 1, true, LOOKED_THROUGH_MAX).await.ok()?;
            let messages = rows.into_iter().rev().filter_map(|row| {
                let Event::MessageSent(message) = event::untagged(row.value).ok()?.event else { return None };
                Some(Crossed { seq: row.seq, message_id: message.message_id, sender: message.sender })
            });
            entry.insert(messages.collect());
        }
        self.read.get(&last).map(Vec::as_slice)
    }
}

/// The sender of a message that was rolled back gets an `error` beside the event that everybody gets.
pub(crate) fn tell_rolled_back(
    shared: &Shared,
    group: GroupId,
    message_id: MessageId,
    sender: &UserId,
    reason: RollbackReason,
) {
    let rejection = match reason {
        RollbackReason::MediaMissing => Rejection::new(
            Code::MediaNotFound,
            "the media of your message is gone from the media store, so the message was rolled back: upload and send again",
        ),
        RollbackReason::Unprojectable => Rejection::new(
            Code::Internal,
            "your message could not be stored for reading and was rolled back: send it again",
        ),
    };
    let body =
        ErrorBody { group_id: Some(group.0), message_id: Some(message_id.0), ..ErrorBody::new(&rejection) };
    let frame = ws::text(names::ERROR, None, &body);
    for session in shared.hub.sessions_of(sender) {
        session.outbox.push(frame.clone());
    }
}

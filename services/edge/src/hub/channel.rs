//! One group's subscriptions on this edge.

use std::collections::VecDeque;
use std::sync::Arc;

use bytes::Bytes;
use hashbrown::{DefaultHashBuilder, HashSet};
use indexmap::IndexMap;
use parking_lot::Mutex;
use parley_domain::{Event, Fact, GroupId, KeyId, MessageId, Seq, UserId};

use parley_wire::frame::{GroupRef, names};
use uuid::Uuid;

use super::frames::{TailFrame, Together};
use crate::session::Session;
use crate::ws;

/// Messages whose senders are remembered, to tell them who has read: those of some seconds in a busy group.
const RECENT_MESSAGES_MAX: usize = 1_024;

/// Tells the subscriptions of a hub apart: what is still under way for one that was replaced must not touch its
/// successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct SubscriptionId(pub(super) u64);

struct Subscription {
    id: SubscriptionId,
    session: Arc<Session>,
    /// The next event that the session must get.
    next: Seq,
    /// It gets events as they come; else it is behind, and replay brings it on.
    live: bool,
}

#[derive(Default)]
struct State {
    /// The last event that delivery brought; `None`: none since the channel was made.
    head: Option<Seq>,
    tail: VecDeque<TailFrame>,
    /// The newest messages, in rising order of `seq`.
    recent: VecDeque<Crossed>,
    subscriptions: IndexMap<Uuid, Subscription, DefaultHashBuilder>,
    /// Sessions that sent something without being subscribed, and are to be told who has it.
    senders: HashSet<Uuid>,
}

/// A group that somebody listens to.
pub(crate) struct Channel {
    pub(crate) group: GroupId,
    state: Mutex<State>,
}

/// What came of a delivery.
#[derive(Default)]
pub(crate) struct Delivered {
    /// Sockets that got it at once.
    pub(crate) count: u64,
    /// Sessions that fell behind with it.
    pub(crate) behind: Vec<(Arc<Session>, SubscriptionId)>,
    /// Subscriptions that ended with it.
    pub(crate) ended: Vec<(Arc<Session>, SubscriptionId)>,
}

/// How a session that is behind can go on.
pub(crate) enum Step {
    /// That subscription is over.
    Gone,
    /// It is live now.
    Live,
    /// It got the last event that its user sees: it must be ended.
    Over,
    /// The tail doesn't reach back that far: read from this event on.
    Read(Seq),
    /// Its outbox is full.
    Full,
}

/// A message that an acknowledgement may newly cover.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Crossed {
    pub(crate) seq: Seq,
    pub(crate) message_id: MessageId,
    pub(crate) sender: UserId,
}

/// What a subscription made of an event.
pub(crate) enum Taken {
    /// Queued; more may follow.
    On,
    /// Queued, and it is the last one that this user sees: the subscription must be ended.
    Over,
    /// The outbox is full.
    Full,
    /// It isn't what the subscription must get next.
    Stale,
}

impl Subscription {
    /// [`Self::take`] of several events: all at once if they fit, else one after another. How many were taken.
    fn take_all(&mut self, events: &[TailFrame], together: Option<&Together>) -> (u64, Taken) {
        if let Some(together) = together
            && together.first == self.next
            && self.session.outbox.offer_together(together.frames.clone())
        {
            self.next = together.last + 1;
            return (events.len() as u64, Taken::On);
        }
        let mut count = 0;
        for event in events {
            match self.take(event) {
                Taken::On => count += 1,
                Taken::Over => return (count + 1, Taken::Over),
                taken @ (Taken::Full | Taken::Stale) => return (count, taken),
            }
        }
        (count, Taken::On)
    }

    /// The one way by which an event gets to a session, live, from the tail or replayed.
    fn take(&mut self, event: &TailFrame) -> Taken {
        if self.next != event.seq {
            return Taken::Stale;
        }
        if !self.session.outbox.offer(event.frame.clone()) {
            return Taken::Full;
        }
        self.next = event.seq + 1;
        if event.ending.is_for(&self.session.user) { Taken::Over } else { Taken::On }
    }
}

impl Channel {
    pub(super) fn new(group: GroupId) -> Self {
        Self { group, state: Mutex::new(State::default()) }
    }

    pub(super) fn subscribe(&self, id: SubscriptionId, session: &Arc<Session>, next: Seq) {
        let subscription = Subscription { id, session: session.clone(), next, live: false };
        self.state.lock().subscriptions.insert(session.id, subscription);
    }

    /// Ends a session's subscription, or only that very one; whether it did, and whether nobody is left.
    pub(super) fn unsubscribe(&self, session: Uuid, only: Option<SubscriptionId>) -> (bool, bool) {
        let mut state = self.state.lock();
        let present = state.subscriptions.get(&session);
        let ends = present.is_some_and(|present| only.is_none_or(|only| only == present.id));
        if ends {
            state.subscriptions.swap_remove(&session);
        }
        (ends, state.is_unused())
    }

    pub(super) fn add_sender(&self, session: Uuid) {
        self.state.lock().senders.insert(session);
    }

    /// Whether nobody is left.
    pub(super) fn remove_sender(&self, session: Uuid) -> bool {
        let mut state = self.state.lock();
        state.senders.remove(&session);
        state.is_unused()
    }

    /// The next events of the group, as frames, for all who are live. Called by delivery only, in order of `seq`.
    pub(crate) fn deliver(&self, events: &[(Arc<Fact>, Bytes)]) -> Delivered {
        let mut delivered = Delivered::default();
        let frames: Vec<TailFrame> = events.iter().map(|(fact, frame)| TailFrame::new(fact, frame)).collect();
        let Some(last) = frames.last() else { return delivered };
        let together = Together::of(&frames);
        let mut state = self.state.lock();
        let state = &mut *state;
        state.head = Some(last.seq);
        for subscription in state.subscriptions.values_mut().filter(|subscription| subscription.live) {
            let whose = |subscription: &Subscription| (subscription.session.clone(), subscription.id);
            let (count, taken) = subscription.take_all(&frames, together.as_ref());
            delivered.count += count;
            match taken {
                Taken::On => {}
                Taken::Over => delivered.ended.push(whose(subscription)),
                Taken::Full | Taken::Stale => {
                    subscription.live = false;
                    delivered.behind.push(whose(subscription));
                }
            }
        }
        for ((fact, _), frame) in events.iter().zip(frames) {
            state.remember(fact, frame);
        }
        delivered
    }

    /// The next event of the group, which can't be opened now: who was live is behind from here on. Called by delivery only.
    pub(crate) fn miss(&self, fact: &Fact) -> Vec<(Arc<Session>, SubscriptionId)> {
        let mut state = self.state.lock();
        state.head = Some(fact.seq);
        state.remember_message(fact);
        // It would have a hole.
        state.tail.clear();
        let mut behind = Vec::new();
        for subscription in state.subscriptions.values_mut().filter(|subscription| subscription.live) {
            subscription.live = false;
            behind.push((subscription.session.clone(), subscription.id));
        }
        behind
    }

    /// Brings a session on from the tail, and makes it live if nothing is missing any more.
    pub(crate) fn catch_up(&self, session: &Session, id: SubscriptionId) -> Step {
        let mut state = self.state.lock();
        let state = &mut *state;
        let subscription =
            state.subscriptions.get_mut(&session.id).filter(|subscription| subscription.id == id);
        let Some(subscription) = subscription else { return Step::Gone };
        if subscription.live {
            return Step::Live;
        }
        if state.head.is_none_or(|head| head < subscription.next) {
            // Delivery will bring the next one.
            subscription.live = true;
            return Step::Live;
        }
        let reaches_back = state.tail.front().is_some_and(|oldest| oldest.seq <= subscription.next);
        if !reaches_back {
            return Step::Read(subscription.next);
        }
        let skip = state.tail.front().map_or(0, |oldest| subscription.next - oldest.seq);
        for tail in state.tail.iter().skip(usize::try_from(skip).unwrap_or(usize::MAX)) {
            match subscription.take(tail) {
                Taken::On => {}
                Taken::Over => return Step::Over,
                Taken::Full => return Step::Full,
                Taken::Stale => return Step::Read(subscription.next),
            }
        }
        subscription.live = true;
        Step::Live
    }

    /// If everything that a session has yet to get lies in the tail or is yet to be delivered: the data keys that its content
    /// was sealed with.
    pub(crate) fn reaches_back(&self, session: &Session, id: SubscriptionId) -> Option<Vec<KeyId>> {
        let state = self.state.lock();
        let subscription = state.subscriptions.get(&session.id).filter(|present| present.id == id)?;
        let (oldest, head) = (state.tail.front()?, state.head?);
        if !(oldest.seq..=head + 1).contains(&subscription.next) {
            return None;
        }
        let skip = usize::try_from(subscription.next - oldest.seq).unwrap_or(usize::MAX);
        // A group has one key in 30 days, so this list stays short whatever the tail holds.
        let mut keys = Vec::new();
        for key in state.tail.iter().skip(skip).filter_map(|event| event.key) {
            if !keys.contains(&key) {
                keys.push(key);
            }
        }
        Some(keys)
    }

    /// What the session must get next, if that subscription holds and is behind.
    pub(crate) fn next_of(&self, session: &Session, id: SubscriptionId) -> Option<Seq> {
        let state = self.state.lock();
        let subscription = state.subscriptions.get(&session.id);
        subscription.filter(|subscription| subscription.id == id && !subscription.live).map(|s| s.next)
    }

    /// A replayed frame, for a subscription that is behind.
    pub(crate) fn replayed(
        &self,
        session: &Session,
        id: SubscriptionId,
        fact: &Fact,
        frame: &Bytes,
    ) -> Taken {
        let mut state = self.state.lock();
        let subscription = state.subscriptions.get_mut(&session.id);
        let behind = subscription.filter(|subscription| subscription.id == id && !subscription.live);
        behind.map_or(Taken::Stale, |subscription| subscription.take(&TailFrame::new(fact, frame)))
    }

    /// Drops what the tail has up to an event.
    pub(crate) fn forget(&self, upto: Seq) {
        self.state.lock().forget(upto);
    }

    /// Messages that a cursor covers which moved from `before` to `after`, the newest of each sender, as far as they are
    /// remembered; and whether there can be none further back.
    pub(crate) fn crossed(&self, before: Seq, after: Seq) -> (Vec<Crossed>, bool) {
        let state = self.state.lock();
        let recent = &state.recent;
        let is_all = recent.front().is_some_and(|oldest| oldest.seq <= before + 1);
        // They lie in their order, and a cursor mostly moves over a few of many.
        let first = recent.partition_point(|message| message.seq <= before);
        let end = recent.partition_point(|message| message.seq <= after);
        (newest_of_each(recent.range(first..end.max(first)).rev().cloned()), is_all)
    }

    /// Tells those who are subscribed that somebody types.
    pub(crate) fn tell_typing(&self, user: &UserId) {
        let body = GroupRef { group_id: self.group.0, user_id: Some(user.as_str()) };
        let frame = ws::text(names::TYPING, None, &body);
        for other in self.sessions().iter().filter(|other| other.user != *user) {
            other.outbox.offer(frame.clone());
        }
    }

    /// Sessions that are subscribed.
    fn sessions(&self) -> Vec<Arc<Session>> {
        self.state.lock().subscriptions.values().map(|subscription| subscription.session.clone()).collect()
    }
}

impl State {
    fn is_unused(&self) -> bool {
        self.subscriptions.is_empty() && self.senders.is_empty()
    }

    fn remember_message(&mut self, fact: &Fact) {
        if let Event::MessageSent(message) = &fact.event {
            // Delivery began again further back: what comes is what there was.
            if self.recent.back().is_some_and(|newest| newest.seq >= fact.seq) {
                self.recent.clear();
            }
            if self.recent.len() == RECENT_MESSAGES_MAX {
                self.recent.pop_front();
            }
            let (message_id, sender) = (message.message_id, message.sender.clone());
            self.recent.push_back(Crossed { seq: fact.seq, message_id, sender });
        }
    }

    fn remember(&mut self, fact: &Fact, event: TailFrame) {
        self.remember_message(fact);
        if let Event::MessageRolledBack { message_seq, .. } = fact.event {
            // From now on a replay must withhold its content.
            self.forget(message_seq);
        }
        if self.tail.back().is_some_and(|newest| newest.seq + 1 != fact.seq) {
            self.tail.clear();
        }
        self.tail.push_back(event);
    }

    fn forget(&mut self, upto: Seq) {
        while self.tail.front().is_some_and(|oldest| oldest.seq <= upto) {
            self.tail.pop_front();
        }
    }
}

/// The first one of each sender.
pub(crate) fn newest_of_each(newest_first: impl Iterator<Item = Crossed>) -> Vec<Crossed> {
    /// Senders that are compared one by one: mostly there are few.
    const FEW: usize = 16;
    let mut newest: Vec<Crossed> = Vec::new();
    let mut many = HashSet::new();
    for message in newest_first {
        if newest.len() == FEW && many.is_empty() {
            many.extend(newest.iter().map(|known| known.sender.clone()));
        }
        let is_new = match newest.len() {
            ..FEW => newest.iter().all(|known| known.sender != message.sender),
            FEW.. => many.insert(message.sender.clone()),
        };
        if is_new {
            newest.push(message);
        }
    }
    newest
}

#[cfg(test)]
mod tests;

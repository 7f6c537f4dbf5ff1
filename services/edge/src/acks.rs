//! Acknowledgements are gathered for some tens of milliseconds and sent to the owners together, so that a thousand
//! members who read a message cost one event and one write.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parking_lot::Mutex;
use parley_domain::{Code, CursorWish, Cursors, GroupId, Limits, Rejection, Seq, UserId};
use parley_wire::event::CursorsAdvanced;
use parley_wire::frame::{Acknowledged, ErrorBody, names};
use parley_wire::service::{Reply, ReplyTo, Request, Wish};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use crate::edge::Shared;
use crate::hub::Hub;
use crate::session::{Session, Underway};
use crate::ws;

/// Acknowledgements that may wait to be gathered; beyond that `busy`.
const WAITING_MAX: usize = 65_536;
/// Users and groups whose acknowledgements are remembered as this edge's own, twice. One that is forgotten too early is told once more to
/// the sessions of the user that made it.
const OURS_MAX: usize = 131_072;
/// How long an acknowledgement is remembered as this edge's own, unless there are too many: the log brings it within that.
const OURS_FOR: Duration = Duration::from_secs(60);

/// What somebody acknowledges.
pub(crate) struct Acknowledgement {
    pub(crate) group: GroupId,
    pub(crate) wish: CursorWish,
    pub(crate) answer: Answer,
}

/// Who waits for it.
pub(crate) enum Answer {
    /// A client, under the id of its request.
    Client(Underway, Option<String>, What),
    /// Something here; it is told whether it was taken.
    Here(oneshot::Sender<bool>),
}

/// What the answer is.
pub(crate) enum What {
    /// `group_message_acknowledged`.
    Cursors,
    /// `notification_acknowledged`.
    Notification(uuid::Uuid),
}

/// The way in.
pub(crate) struct Acks {
    queue: mpsc::Sender<Acknowledgement>,
    /// What was acknowledged through this edge lately, if there are others: their acknowledgements come from the log.
    ours: Option<Mutex<Lately>>,
}

/// What was acknowledged here in the present minute or so, and in the one before it: forgotten together, not looked through.
#[derive(Default)]
struct Lately {
    now: HashMap<(GroupId, UserId), Ours>,
    before: HashMap<(GroupId, UserId), Ours>,
    since: Option<Instant>,
}

impl Lately {
    fn remember(&mut self, key: (GroupId, UserId), wish: &CursorWish, at: Instant) {
        let is_old = at.duration_since(*self.since.get_or_insert(at)) >= OURS_FOR;
        if is_old || self.now.len() >= OURS_MAX {
            self.before = std::mem::take(&mut self.now);
            self.since = Some(at);
        }
        let known = self.get(&key).unwrap_or_default();
        let one = self.now.entry(key).or_insert(known);
        one.delivered = one.delivered.max(wish.delivered).max(wish.read);
        one.read = one.read.max(wish.read);
    }

    fn get(&self, key: &(GroupId, UserId)) -> Option<Ours> {
        self.now.get(key).or_else(|| self.before.get(key)).copied()
    }
}

/// The cursors that somebody wished for here.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Ours {
    delivered: Seq,
    read: Seq,
}

/// The gathering task.
pub(crate) struct Gather {
    queue: mpsc::Receiver<Acknowledgement>,
    wait: Duration,
}

impl Acks {
    pub(crate) fn new(wait: Duration, among_several: bool) -> (Self, Gather) {
        let (tx, rx) = mpsc::channel(WAITING_MAX);
        (Self { queue: tx, ours: among_several.then(Mutex::default) }, Gather { queue: rx, wait })
    }

    /// Remembers that somebody wished for cursors here.
    fn remember(&self, group: GroupId, wish: &CursorWish) {
        let Some(ours) = &self.ours else { return };
        ours.lock().remember((group, wish.user.clone()), wish, Instant::now());
    }

    /// Acknowledgements from the log: those that came through another edge are told to the user's sessions here.
    pub(crate) fn came_from_elsewhere(&self, hub: &Hub, advanced: &CursorsAdvanced) {
        let Some(ours) = &self.ours else { return };
        for advance in advanced.advances.iter().filter(|advance| advance.delivered.max(advance.read) > 0) {
            let sessions = hub.sessions_of(&advance.user);
            let known = ours.lock().get(&(advanced.group_id, advance.user.clone()));
            let is_ours =
                known.is_some_and(|known| advance.delivered <= known.delivered && advance.read <= known.read);
            if !sessions.is_empty() && !is_ours {
                tell_others(&sessions, None, advanced.group_id, advance.after());
            }
        }
    }

    pub(crate) fn add(&self, acknowledgement: Acknowledgement) {
        if let Err(error) = self.queue.try_send(acknowledgement) {
            let acknowledgement = error.into_inner();
            let why = "too many acknowledgements wait: nothing was stored, try again";
            let rejection = Rejection::new(Code::Busy, why).retry_after(500);
            answer(acknowledgement.answer, acknowledgement.group, &Err(rejection));
        }
    }
}

impl Gather {
    pub(crate) async fn run(mut self, shared: Arc<Shared>) {
        let mut batch = Vec::new();
        loop {
            let some = tokio::select! {
                () = shared.stop.cancelled() => return,
                some = self.queue.recv_many(&mut batch, WAITING_MAX) => some,
            };
            if some == 0 {
                return;
            }
            tokio::time::sleep(self.wait).await;
            while let Ok(more) = self.queue.try_recv() {
                batch.push(more);
            }
            let mut groups: HashMap<GroupId, Vec<Acknowledgement>> = HashMap::new();
            for acknowledgement in batch.drain(..) {
                groups.entry(acknowledgement.group).or_default().push(acknowledgement);
            }
            for (group, mut waiting) in groups {
                while !waiting.is_empty() {
                    let rest = waiting.split_off(waiting.len().min(Limits::CURSORS_PER_EVENT_MAX));
                    submit(&shared, group, std::mem::replace(&mut waiting, rest));
                }
            }
        }
    }
}

fn submit(shared: &Arc<Shared>, group: GroupId, some: Vec<Acknowledgement>) {
    let Some(first) = some.first() else { return };
    some.iter().for_each(|acknowledgement| shared.acks.remember(group, &acknowledgement.wish));
    let actor = first.wish.user.clone();
    let wishes = some.iter().map(|acknowledgement| acknowledgement.wish.clone()).collect();
    let request = Request { group_id: group, actor, wish: Wish::AdvanceCursors(wishes) };
    let hub = shared.hub.clone();
    let reply_to = ReplyTo::new(move |result| {
        let mut answers = match result {
            Ok(Reply::Cursors(answers)) => answers.into_iter(),
            Ok(_) => Vec::new().into_iter(),
            Err(rejection) => vec![Err(rejection); some.len()].into_iter(),
        };
        for Acknowledgement { group, wish, answer: to } in some {
            let Some(result) = answers.next() else { return };
            let origin = match &to {
                Answer::Client(session, ..) => Some(session.id),
                Answer::Here(_) => None,
            };
            if let Ok(cursors) = &result
                && moved(&wish, *cursors)
            {
                tell_others(&hub.sessions_of(&wish.user), origin, group, *cursors);
            }
            answer(to, group, &result);
        }
    });
    shared.engines.commands.submit(request, reply_to);
}

/// Whether the cursors stand where the wish wanted them; a lower one than before has changed nothing.
fn moved(wish: &CursorWish, cursors: Cursors) -> bool {
    (wish.read > 0 && cursors.read == wish.read)
        || (wish.delivered > 0 && cursors.delivered == wish.delivered)
}

fn body(group: GroupId, cursors: Cursors) -> Acknowledged {
    Acknowledged { group_id: group.0, delivered_seq: cursors.delivered, read_seq: cursors.read }
}

fn tell_others(sessions: &[Arc<Session>], origin: Option<uuid::Uuid>, group: GroupId, cursors: Cursors) {
    // Who acknowledged may be gone by now: then the one that is left is another.
    if sessions.iter().all(|session| Some(session.id) == origin) {
        return;
    }
    let frame = ws::quick_text(names::GROUP_MESSAGE_ACKNOWLEDGED, None, &body(group, cursors));
    for session in sessions.iter().filter(|session| Some(session.id) != origin) {
        session.outbox.insist(frame.clone());
    }
}

fn answer(to: Answer, group: GroupId, result: &Result<Cursors, Rejection>) {
    let (session, id, what) = match to {
        Answer::Client(session, id, what) => (session, id, what),
        Answer::Here(waiting) => {
            // Whoever asked may be gone.
            let _: Result<(), bool> = waiting.send(result.is_ok());
            return;
        }
    };
    let id = id.as_deref();
    session.outbox.push(match (result, what) {
        (Ok(cursors), What::Cursors) => {
            ws::quick_text(names::GROUP_MESSAGE_ACKNOWLEDGED, id, &body(group, *cursors))
        }
        (Ok(_), What::Notification(notification_id)) => {
            let body = parley_wire::frame::NotificationAcknowledged { notification_id };
            ws::text(names::NOTIFICATION_ACKNOWLEDGED, id, &body)
        }
        (Err(rejection), _) => {
            let body = ErrorBody { group_id: Some(group.0), ..ErrorBody::new(rejection) };
            ws::text(names::ERROR, id, &body)
        }
    });
}

/// A notification counts as acknowledged once the member subscribes. Waits until that is durable, so that no later session
/// gets it again; whether it is.
pub(crate) async fn acknowledge_notification(shared: &Shared, group: GroupId, user: &UserId) -> bool {
    let wish = CursorWish { user: user.clone(), delivered: 0, read: 0, notified: true };
    let (tx, rx) = oneshot::channel();
    shared.acks.add(Acknowledgement { group, wish, answer: Answer::Here(tx) });
    rx.await.unwrap_or(false)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_remembered_as_ones_own_is_bounded_in_time_and_number() {
        let mut lately = Lately::default();
        let user = UserId::parse("ann").unwrap();
        let wish = |seq| CursorWish { user: user.clone(), delivered: 0, read: seq, notified: false };
        let of = |number: usize| (GroupId(uuid::Uuid::from_u128(number as u128)), user.clone());
        let begun = Instant::now();
        lately.remember(of(0), &wish(3), begun);
        lately.remember(of(0), &wish(2), begun + OURS_FOR);
        assert_eq!(
            lately.get(&of(0)),
            Some(Ours { delivered: 3, read: 3 }),
            "also over the turn of a minute"
        );
        for number in 1..=3 * OURS_MAX {
            lately.remember(of(number), &wish(1), begun + OURS_FOR);
        }
        assert!(lately.now.len() + lately.before.len() <= 2 * OURS_MAX);
        assert_eq!(lately.get(&of(0)), None);
        assert!(lately.get(&of(3 * OURS_MAX)).is_some());
    }
}

//! Who is here, and who wants which group's events.
//!
//! ```text
//!  users:    user  ─▶ sessions
//!  channels: group ─▶ head, tail (newest frames, encoded), recent messages, subscriptions
//! ```
//!
//! A lock is held only for moves in memory, never across a wait. Order: shard of channels, then channel, then outbox.

mod away;
mod channel;
mod frames;
mod needs;
mod notice;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use hashbrown::HashMap;
use parking_lot::Mutex;
use parley_domain::{Epoch, GroupId, PartitionCount, Seq, UserId};
use parley_wire::code::Close;
use parley_wire::frame::{GoAway, names};
use uuid::Uuid;

use crate::session::Session;
use crate::ws;

pub(crate) use channel::{Channel, Crossed, Step, SubscriptionId, Taken, newest_of_each};
pub(crate) use needs::Needs;
pub(crate) use notice::notification_name;

/// Locks that share the channels, so that deliveries and subscriptions rarely meet.
const CHANNEL_SHARDS: usize = 64;
/// How often a user's typing is passed on to a group.
const TYPING_EVERY: Duration = Duration::from_secs(3);
/// How long sessions get for replies that are under way, before they are closed.
const AWAY_WAIT: Duration = Duration::from_millis(500);

/// The sessions of an edge and their subscriptions.
pub struct Hub {
    epoch: Epoch,
    users: Mutex<HashMap<UserId, Vec<Arc<Session>>>>,
    sockets: AtomicUsize,
    subscriptions: AtomicU64,
    channels: Vec<Mutex<HashMap<GroupId, Arc<Channel>>>>,
    typing: Mutex<HashMap<(GroupId, UserId), Instant>>,
    needs: Needs,
}

impl Hub {
    /// A hub that nobody is connected to.
    #[must_use]
    pub fn new(epoch: Epoch) -> Arc<Self> {
        Self::with(epoch, Needs::of_all())
    }

    /// A hub of an edge among several, which follows only the partitions that its sessions need.
    #[must_use]
    pub fn among_several(epoch: Epoch, partitions: PartitionCount) -> Arc<Self> {
        Self::with(epoch, Needs::counted(partitions))
    }

    fn with(epoch: Epoch, needs: Needs) -> Arc<Self> {
        Arc::new(Self {
            epoch,
            needs,
            users: Mutex::new(HashMap::new()),
            sockets: AtomicUsize::new(0),
            subscriptions: AtomicU64::new(0),
            channels: (0..CHANNEL_SHARDS).map(|_| Mutex::new(HashMap::new())).collect(),
            typing: Mutex::new(HashMap::new()),
        })
    }

    /// Which partitions are needed and followed.
    pub(crate) fn needs(&self) -> &Needs {
        &self.needs
    }

    pub(crate) fn epoch(&self) -> Uuid {
        self.epoch.0
    }

    /// Open sockets.
    #[must_use]
    pub fn sockets(&self) -> usize {
        self.sockets.load(Ordering::Relaxed)
    }

    /// Bytes waiting in all outboxes.
    #[must_use]
    pub fn outbox_bytes(&self) -> usize {
        self.users.lock().values().flatten().map(|session| session.outbox.bytes()).sum()
    }

    /// A socket was opened; the guard counts it until it is dropped.
    pub(crate) fn count_socket(self: &Arc<Self>) -> SocketGuard {
        self.sockets.fetch_add(1, Ordering::Relaxed);
        SocketGuard(self.clone())
    }

    /// Adds a session of its user; the oldest ones beyond the limit are closed.
    pub(crate) fn enter(&self, session: &Arc<Session>, user_sockets_max: usize) {
        let mut users = self.users.lock();
        let sessions = users.entry(session.user.clone()).or_default();
        sessions.push(session.clone());
        let excess = sessions.len().saturating_sub(user_sockets_max);
        for oldest in sessions.drain(..excess) {
            oldest.outbox.close(Some(Close::TooManyConnections));
        }
    }

    /// Takes a session and all its subscriptions out.
    pub(crate) fn leave(&self, session: &Session) {
        {
            let mut users = self.users.lock();
            if let Some(sessions) = users.get_mut(&session.user) {
                sessions.retain(|other| other.id != session.id);
                if sessions.is_empty() {
                    users.remove(&session.user);
                }
            }
        }
        for group in session.take_subscribed() {
            self.release(group, |channel| channel.unsubscribe(session.id, None).1);
        }
        for group in session.take_sent_to() {
            self.release(group, |channel| channel.remove_sender(session.id));
        }
    }

    /// A session that isn't subscribed has sent a message: acknowledgements of the group are looked at from now on.
    pub(crate) fn has_sent(&self, group: GroupId, session: &Session) {
        if session.outbox.is_closing() || !session.add_sent_to(group) {
            return;
        }
        self.hold(group, |channel| channel.add_sender(session.id));
        // It may have left meanwhile, and not have found itself here.
        if session.outbox.is_closing() {
            self.release(group, |channel| channel.remove_sender(session.id));
        }
    }

    /// Adds somebody to a channel, which is made if need be, before anybody else can find it unused.
    fn hold(&self, group: GroupId, add: impl FnOnce(&Channel)) {
        if let Some(shard) = self.shard(group) {
            add(shard.lock().entry(group).or_insert_with(|| {
                self.needs.add(group);
                Arc::new(Channel::new(group))
            }));
        }
    }

    /// Takes somebody out of a channel, which goes if nobody is left (then `take_out` says so).
    fn release(&self, group: GroupId, take_out: impl FnOnce(&Channel) -> bool) {
        let Some(shard) = self.shard(group) else { return };
        let mut channels = shard.lock();
        if channels.get(&group).is_some_and(|channel| take_out(channel)) {
            channels.remove(&group);
            self.needs.remove(group);
        }
    }

    pub(crate) fn sessions_of(&self, user: &UserId) -> Vec<Arc<Session>> {
        self.users.lock().get(user).cloned().unwrap_or_default()
    }

    pub(crate) fn is_online(&self, user: &UserId) -> bool {
        self.users.lock().contains_key(user)
    }

    fn shard(&self, group: GroupId) -> Option<&Mutex<HashMap<GroupId, Arc<Channel>>>> {
        let index = usize::from(group.as_bytes().last().copied().unwrap_or(0)) % CHANNEL_SHARDS;
        self.channels.get(index)
    }

    pub(crate) fn channel(&self, group: GroupId) -> Option<Arc<Channel>> {
        self.shard(group)?.lock().get(&group).cloned()
    }

    /// Subscribes a session from an event on, behind at first; an earlier subscription of it is replaced.
    pub(crate) fn subscribe(&self, group: GroupId, session: &Arc<Session>, next: Seq) -> SubscriptionId {
        let id = SubscriptionId(self.subscriptions.fetch_add(1, Ordering::Relaxed));
        self.hold(group, |channel| {
            channel.subscribe(id, session, next);
            session.add_subscribed(group);
        });
        id
    }

    /// Ends a session's subscription of a group, whichever it is.
    pub(crate) fn unsubscribe(&self, group: GroupId, session: &Session) {
        self.end(group, session, None);
    }

    /// Ends a subscription, unless another one has taken its place.
    pub(crate) fn end_subscription(&self, group: GroupId, session: &Session, id: SubscriptionId) {
        self.end(group, session, Some(id));
    }

    fn end(&self, group: GroupId, session: &Session, only: Option<SubscriptionId>) {
        self.release(group, |channel| {
            let (ended, is_unused) = channel.unsubscribe(session.id, only);
            if ended {
                session.remove_subscribed(group);
            }
            is_unused
        });
    }

    /// Whether a user's typing may be passed on now.
    pub(crate) fn may_type(&self, group: GroupId, user: &UserId) -> bool {
        let now = Instant::now();
        let mut typing = self.typing.lock();
        let last = typing.get(&(group, user.clone()));
        if last.is_some_and(|last| now.duration_since(*last) < TYPING_EVERY) {
            return false;
        }
        typing.insert((group, user.clone()), now);
        true
    }

    pub(crate) fn forget_typing(&self) {
        let now = Instant::now();
        self.typing.lock().retain(|_, last| now.duration_since(*last) < TYPING_EVERY);
    }

    fn everybody(&self) -> Vec<Arc<Session>> {
        self.users.lock().values().flatten().cloned().collect()
    }

    /// `go_away` to every session, each to come back at another time.
    fn tell_away(&self) {
        let sessions = self.everybody();
        let delays_ms = away::reconnect_delays_ms(sessions.len());
        for (session, reconnect_after_ms) in sessions.iter().zip(delays_ms) {
            let body = GoAway { reason: "the server is stopping", reconnect_after_ms };
            session.outbox.push(ws::text(names::GO_AWAY, None, &body));
        }
    }

    /// `go_away` to every session, a moment for what is under way, then close code 3001.
    pub(crate) async fn send_away(&self) {
        self.tell_away();
        tokio::time::sleep(AWAY_WAIT).await;
        for session in self.everybody() {
            session.outbox.close(Some(Close::GoingAway));
        }
        for _ in 0..30 {
            if self.sockets() == 0 {
                return;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }
}

/// Counts a socket while it lives.
pub(crate) struct SocketGuard(Arc<Hub>);

impl Drop for SocketGuard {
    fn drop(&mut self) {
        self.0.sockets.fetch_sub(1, Ordering::Relaxed);
    }
}

//! One socket: a task that reads what the client asks and writes what it gets.

mod ahead;
mod messages;
mod pulse;
mod requests;
mod subscriptions;
mod underway;
mod welcome;

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt as _, StreamExt as _};
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use parley_domain::{Code, GroupId, Rejection, Timestamp, UserId};
use parley_wire::clock;
use parley_wire::code::Close;
use parley_wire::frame::{Authenticated, ErrorBody, Incoming, names, parse};
use parley_wire::{frame::ClientEvent, time};
use tokio::io::AsyncReadExt as _;
use tokio::sync::Semaphore;
use tokio::time::Instant;
use uuid::Uuid;

use crate::auth::Identity;
use crate::edge::Shared;
use crate::outbox::{Ended, Outbox};
use crate::replay::Queue;
use crate::ws::{self, Inbound, Reader};
use ahead::Ahead;
use pulse::Pulse;
use underway::UNDERWAY_BYTES_MAX;

pub(crate) use pulse::Expiry;
pub(crate) use underway::Underway;

/// Notifications of which a session knows the group without asking.
const NOTIFICATIONS_MAX: usize = 8_192;
/// Frames in a row that are no JSON object; then the connection is closed.
const MALFORMED_MAX: u32 = 10;
/// How long, and how much, is read on after a close frame was sent, so that the client can read it.
const LINGER: Duration = Duration::from_secs(1);
const LINGER_BYTES_MAX: u64 = 4 * 1024 * 1024;
/// How long a client that was too slow may take to begin reading again, to learn that it was.
const SLOW_GOODBYE_WAIT: Duration = Duration::from_secs(30);

/// A client's connection.
pub(crate) struct Session {
    pub(crate) id: Uuid,
    pub(crate) user: UserId,
    pub(crate) outbox: Arc<Outbox>,
    pub(crate) replay: Mutex<Queue>,
    subscribed: Mutex<HashSet<GroupId>>,
    /// Groups that it has sent to without being subscribed.
    sent_to: Mutex<HashSet<GroupId>>,
    /// Groups that it has named in `resume`, whose frames add up; of those that its user is or was in.
    resumed: Mutex<HashSet<GroupId>>,
    /// Which group a notification is of, and whether this session was told of it, as far as it was told of some or has asked: they are
    /// derived, and to derive them again takes all groups of the user.
    notifications: Mutex<HashMap<Uuid, (GroupId, bool)>>,
    /// When it may look for one again that isn't among them.
    looks_again_at: Mutex<Option<Instant>>,
    /// For [requests under way](underway), in bytes.
    room: Semaphore,
    /// End of the token.
    expires_at: Expiry,
}

impl Session {
    pub(crate) fn new(user: UserId, outbox: Arc<Outbox>, expires_at: Expiry) -> Self {
        Self {
            id: Uuid::now_v7(),
            user,
            outbox,
            replay: Mutex::default(),
            subscribed: Mutex::default(),
            sent_to: Mutex::default(),
            resumed: Mutex::default(),
            notifications: Mutex::default(),
            looks_again_at: Mutex::default(),
            room: Semaphore::new(UNDERWAY_BYTES_MAX),
            expires_at,
        }
    }

    pub(crate) fn add_subscribed(&self, group: GroupId) {
        self.subscribed.lock().insert(group);
    }

    pub(crate) fn remove_subscribed(&self, group: GroupId) {
        self.subscribed.lock().remove(&group);
    }

    /// Whether that is new.
    pub(crate) fn add_sent_to(&self, group: GroupId) -> bool {
        self.sent_to.lock().insert(group)
    }

    pub(crate) fn take_sent_to(&self) -> HashSet<GroupId> {
        std::mem::take(&mut *self.sent_to.lock())
    }

    pub(crate) fn take_subscribed(&self) -> HashSet<GroupId> {
        std::mem::take(&mut *self.subscribed.lock())
    }

    pub(crate) fn is_subscribed(&self, group: GroupId) -> bool {
        self.subscribed.lock().contains(&group)
    }

    /// Remembers of which group a notification is.
    fn add_notification(&self, notification: Uuid, group: GroupId) {
        self.tell_once(notification, group, || false);
    }

    /// Tells of something, which gives whether that was queued, unless it was told on this connection before.
    pub(crate) fn tell_once(&self, notification: Uuid, group: GroupId, tell: impl FnOnce() -> bool) {
        let mut notifications = self.notifications.lock();
        if notifications.len() >= NOTIFICATIONS_MAX {
            notifications.clear(); // what is asked for then is looked for
        }
        let (_, is_told) = notifications.entry(notification).or_insert((group, false));
        *is_told = *is_told || tell();
    }

    /// The group of a notification that it knows.
    fn notified_of(&self, notification: Uuid) -> Option<GroupId> {
        self.notifications.lock().get(&notification).map(|(group, _)| *group)
    }

    /// Sends an `error`.
    pub(crate) fn refuse(&self, id: Option<&str>, body: &ErrorBody) {
        self.outbox.push(ws::text(names::ERROR, id, body));
    }
}

/// Serves a connection to its end.
pub(crate) async fn run(shared: Arc<Shared>, halves: ws::Halves, identity: Option<Identity>, replay: bool) {
    let (mut read, write) = halves;
    let _counted = shared.hub.count_socket();
    let outbox = Outbox::new(write, shared.flusher.lane(), shared.options.limits.outbox_bytes);
    let pulse = Pulse::new();
    let session = Mutex::new(None);
    let ended = {
        let reader = Connection { shared: &shared, outbox: &outbox, pulse: &pulse, session: &session };
        let stall_wait = shared.options.stall_wait;
        let reading = async {
            let close = reader.read(&mut read, identity, replay).await;
            outbox.close(close);
            std::future::pending::<()>().await;
        };
        let keeping_time = async {
            reader.keep_time().await;
            Ended::silently()
        };
        // These are looked at only when they themselves are woken, not with each frame that is read: every look at what they
        // wait for takes a lock, some of them one that all connections share.
        let mut rarely_woken: FuturesUnordered<BoxFuture<'_, Ended>> =
            [outbox.write_all(stall_wait).boxed(), keeping_time.boxed()].into_iter().collect();
        tokio::select! {
            biased; // a client that never stops sending must not keep them from their turn
            Some(ended) = rarely_woken.next() => ended,
            () = reading => Ended::silently(),
        }
    };
    let session: Option<Arc<Session>> = session.into_inner();
    if let Some(session) = &session {
        shared.hub.leave(session);
    }
    let code = ended.close.map_or(0, Close::code);
    metrics::counter!("parley_disconnects_total", "code" => code.to_string()).increment(1);
    tracing::debug!(session = ?session.map(|session| session.id), code, "disconnected");
    if ended.close == Some(Close::TooSlow) {
        // It costs nothing but the socket to let a client that reads on learn why.
        tokio::select! {
            () = outbox.say_goodbye(ended, SLOW_GOODBYE_WAIT) => {}
            () = shared.draining.cancelled() => return,
        }
    }
    // Unread bytes at a close would reset the connection and take the close frame with them.
    let linger = async {
        let mut rest = read.take(LINGER_BYTES_MAX);
        drop(tokio::io::copy(&mut rest, &mut tokio::io::sink()).await);
    };
    drop(tokio::time::timeout(LINGER, linger).await);
}

struct Connection<'a> {
    shared: &'a Arc<Shared>,
    outbox: &'a Arc<Outbox>,
    pulse: &'a Pulse,
    session: &'a Mutex<Option<Arc<Session>>>,
}

impl Connection<'_> {
    /// Reads and answers until the connection must be closed, and says how.
    async fn read(&self, read: &mut ws::ReadHalf, identity: Option<Identity>, replay: bool) -> Option<Close> {
        let mut reader = Reader::new(read, self.shared.options.limits.frame_bytes);
        let session = match identity {
            Some(identity) => self.enter(identity),
            None => match self.first_frame(&mut reader).await {
                Ok(session) => session,
                Err(close) => return close,
            },
        };
        if let Err(rejection) = welcome::welcome(self.shared, &session, replay).await {
            self.outbox.lift(ws::text(names::ERROR, None, &ErrorBody::new(&rejection)));
            return Some(Close::GoingAway);
        }
        let mut malformed = 0;
        let mut ahead = Ahead::default();
        loop {
            let text = match (ahead.take(), ahead.ended()) {
                (Some(text), _) => text,
                (None, Some(close)) => return close,
                (None, None) => match self.next(&mut reader).await {
                    Ok(text) => text,
                    Err(close) => return close,
                },
            };
            let incoming = text.as_deref().and_then(|text| std::str::from_utf8(text).ok()).map(parse);
            if let Some(Ok(incoming)) = incoming {
                malformed = 0;
                if let Err(close) = self.handle(&session, incoming, &mut reader, &mut ahead).await {
                    return close;
                }
            } else {
                malformed += 1;
                let why = "a frame must be a text with one JSON object: {\"event\",\"id\"?,\"data\"}";
                session.refuse(None, &ErrorBody::of(Code::BadRequest, why));
                if malformed >= MALFORMED_MAX {
                    return Some(Close::ProtocolViolation);
                }
            }
        }
    }

    /// Answers a frame; `Err`: the connection must be closed. Where the answer takes time, because a store is away, it reads
    /// on: pings are answered and pongs are heard all the same.
    async fn handle(
        &self,
        session: &Arc<Session>,
        incoming: Incoming,
        reader: &mut Reader<&mut ws::ReadHalf>,
        ahead: &mut Ahead,
    ) -> Result<(), Option<Close>> {
        let handling = requests::handle(self.shared, session, incoming);
        tokio::pin!(handling);
        let close = loop {
            if !ahead.has_space() {
                self.pulse.stops_listening();
                let close = handling.await;
                self.pulse.listens_again();
                break close;
            }
            tokio::select! {
                biased;
                close = &mut handling => break close,
                text = self.next(reader) => match text {
                    Ok(text) => ahead.add(text),
                    // What was asked before that is done all the same.
                    Err(ended) => ahead.end(ended),
                },
            }
        };
        close.map_or(Ok(()), |close| Err(Some(close)))
    }

    /// The next text; `None` for a binary message.
    async fn next(&self, reader: &mut Reader<&mut ws::ReadHalf>) -> Result<Option<Bytes>, Option<Close>> {
        loop {
            // Replies may pass the outbox's limit, so no request is read while it is far from empty.
            if !self.outbox.wait_for_space().await {
                return Err(None);
            }
            let inbound = reader.next().await?;
            self.pulse.heard();
            match inbound {
                Inbound::Text(text) => return Ok(Some(text)),
                Inbound::Binary(_) => return Ok(None),
                Inbound::Ping(payload) => self.outbox.push(ws::pong_frame(&payload)),
                Inbound::Pong => {}
                Inbound::Closed(_) => return Err(Some(Close::Normal)),
            }
        }
    }

    fn enter(&self, identity: Identity) -> Arc<Session> {
        let (outbox, expires_at) = (self.outbox.clone(), self.pulse.expires_at.clone());
        let session = Arc::new(Session::new(identity.user_id, outbox, expires_at));
        // From here on others find the session, but `welcome` comes first.
        self.outbox.hold();
        self.shared.hub.enter(&session, self.shared.options.limits.user_sockets);
        *self.session.lock() = Some(session.clone());
        session.renew(identity.expires_at);
        session
    }

    /// A browser's first frame must be `authenticate`.
    async fn first_frame(
        &self,
        reader: &mut Reader<&mut ws::ReadHalf>,
    ) -> Result<Arc<Session>, Option<Close>> {
        let text = self.next(reader).await?;
        let incoming =
            text.as_deref().and_then(|text| std::str::from_utf8(text).ok()).and_then(|text| parse(text).ok());
        let id = incoming.as_ref().and_then(|incoming| incoming.id.clone());
        let refused = |rejection: &Rejection| {
            self.outbox.push(ws::text(names::ERROR, id.as_deref(), &ErrorBody::new(rejection)));
            Err(Some(Close::BadToken))
        };
        let Some(Ok(ClientEvent::Authenticate(token))) = incoming.map(|incoming| incoming.event) else {
            let why = "the first frame must be authenticate with a token, if the handshake had no Authorization header";
            return refused(&Rejection::new(Code::Unauthenticated, why));
        };
        match self.shared.engines.auth.verify_for_socket(&token, clock::now()).await {
            Ok(identity) => {
                let body = Authenticated { expires_at: time::format(identity.expires_at) };
                self.outbox.push(ws::text(names::AUTHENTICATED, id.as_deref(), &body));
                Ok(self.enter(identity))
            }
            Err(error) => refused(&error.of_frame()),
        }
    }

    /// Pings, and closes when a pong, a token or a first frame is late.
    async fn keep_time(&self) {
        let options = &self.shared.options;
        let mut expires_at = self.pulse.expires_at.subscribe();
        let shown = async { drop(expires_at.wait_for(Option::is_some).await) };
        tokio::select! {
            () = shown => {}
            () = tokio::time::sleep(options.first_frame_wait) => return self.close_late(Close::TokenExpired).await,
            // Nobody knows it yet, so nobody else sends it away.
            () = self.shared.draining.cancelled() => return self.close_late(Close::GoingAway).await,
        }
        let every = Duration::from_secs(options.limits.ping_seconds.max(1));
        let mut next_ping = Instant::now() + every;
        let mut pinged: Option<Instant> = None;
        loop {
            let left = left_until(*expires_at.borrow_and_update());
            if left.is_zero() {
                return self.close_late(Close::TokenExpired).await;
            }
            // Whose pong has come by then is pinged again when it is time, also where that is more often than a pong may take.
            let wake = match pinged {
                Some(at) if next_ping <= Instant::now() => at + options.pong_wait,
                Some(at) => next_ping.min(at + options.pong_wait),
                None => next_ping,
            };
            let wake = wake.min(Instant::now() + left);
            tokio::select! {
                () = tokio::time::sleep_until(wake) => {}
                Ok(()) = expires_at.changed() => continue,
                () = self.shared.stop.cancelled() => return self.close_late(Close::GoingAway).await,
            }
            let now = Instant::now();
            match pinged {
                Some(at) if self.pulse.heard_since(at) => {
                    pinged = None;
                    next_ping = next_ping.max(now);
                }
                Some(at) if now >= at + options.pong_wait => {
                    match self.outbox.held_up_until().max(self.pulse.unheard_until()) {
                        // The ping lay behind a replay that the client's link takes its time for; and what the client says isn't
                        // read while much is left, or much was read ahead. One that takes nothing at all is closed for that.
                        Some(until) if until > at => pinged = Some(until),
                        Some(_) | None => return self.close_late(Close::NoPong).await,
                    }
                }
                None if now >= next_ping => {
                    self.outbox.push(ws::ping_frame());
                    pinged = Some(now);
                    next_ping = now + every;
                }
                Some(_) | None => {}
            }
        }
    }

    /// Closes; the writer ends the connection once it has said so.
    async fn close_late(&self, close: Close) {
        self.outbox.close(Some(close));
        std::future::pending().await
    }
}

/// How long a token lives yet; not at all if there is none.
fn left_until(expires_at: Option<Timestamp>) -> Duration {
    let left = expires_at.map_or(0, |at| at.as_millis() - clock::now().as_millis());
    Duration::from_millis(u64::try_from(left).unwrap_or(0))
}

impl Session {
    /// A token of this user: the session lives as long as it.
    pub(super) fn renew(&self, expires_at: Timestamp) {
        self.expires_at.send_replace(Some(expires_at));
    }
}

//! From the log to the sockets: one task that tails the log, opens and encodes each event once, and hands the same bytes
//! to everybody who listens.

use std::collections::{BTreeSet, VecDeque};
use std::sync::{Arc, Weak};
use std::time::Duration;

use bytes::Bytes;
use futures::FutureExt as _;
use futures::future::{BoxFuture, OptionFuture};
use hashbrown::HashMap;
use parley_domain::{Event, Fact, GroupId, Position, Seq, Timestamp, Verdict};
use parley_eventlog::{EventLog, Offsets as _, ReadError, StoredRecord, Tail, Topic, TopicPartition};
use parley_keys::Breaker;
use parley_readstore::{Checkpoint, CheckpointKey};
use parley_wire::clock;
use parley_wire::seldom::Seldom;
use parley_wire::trace::{self, SpanKind};

use crate::edge::Shared;
use crate::hub::Channel;
use crate::replay::{self, Behind, Phase};

/// Records taken from the log in one go.
const RECORDS_MAX: usize = 512;
/// Encoded frames kept in memory for those who are a little behind, over all groups.
const TAIL_BYTES_MAX: usize = 64 * 1024 * 1024;
/// How often it is looked whether partitions are followed that nobody needs any more.
const FORGET_EVERY: Duration = Duration::from_secs(30);
/// How long it waits after the log couldn't be read.
const RETRY_AFTER: Duration = Duration::from_secs(1);

/// Events of a group that are handed over together, at most; and the bytes of their frames from which on they wait for no more.
const TOGETHER_MAX: usize = 64;
const TOGETHER_BYTES: usize = 64 * 1024;

/// Events of one group that follow on each other in the log, with their frames: gathered, since to queue and to write them together
/// costs hardly more than to do so with one.
struct Gathered {
    channel: Arc<Channel>,
    events: Vec<(Arc<Fact>, Bytes)>,
    bytes: usize,
}

/// The delivering task.
pub(crate) struct Delivery {
    shared: Arc<Shared>,
    tail: Box<dyn Tail>,
    /// Where it stands, and so where it goes on if the tail breaks.
    at: HashMap<TopicPartition, Checkpoint>,
    gathered: Option<Gathered>,
    /// The memory of the last ones.
    spare: Vec<(Arc<Fact>, Bytes)>,
    kept: VecDeque<(Weak<Channel>, Seq, usize)>,
    kept_bytes: usize,
    /// One message that needs a key mustn't hold up all the others.
    keys_breaker: Breaker,
    /// When it was last said that an event can't be delivered live.
    trouble: Seldom,
    /// Records read from the log, whether or not anybody here wants them.
    read: metrics::Counter,
    delivered: metrics::Counter,
    latency: metrics::Histogram,
}

impl Delivery {
    /// Begins where the read models stand, since there the state of the claims is known; nobody is connected yet, so
    /// what was delivered before is passed over. An edge among several begins with nothing.
    pub(crate) async fn start(shared: Arc<Shared>) -> Result<Self, ReadError> {
        let log = shared.engines.log.clone();
        let mut at = HashMap::new();
        if !shared.hub.needs().are_counted() {
            let all: BTreeSet<u32> = (0..log.partitions().get()).collect();
            let checkpoints = match shared.engines.reads.live().checkpoints().await {
                Ok(checkpoints) => checkpoints,
                Err(error) => {
                    tracing::warn!(
                        error = &error as &dyn std::error::Error,
                        "the read models can't be asked: tailing the log from its beginning"
                    );
                    Vec::new()
                }
            };
            at = begin_at(log.as_ref(), &checkpoints, &all).await?;
        }
        let tail = tail_from(log.as_ref(), &at).await?;
        Ok(Self {
            shared,
            tail,
            at,
            gathered: None,
            spare: Vec::new(),
            kept: VecDeque::new(),
            kept_bytes: 0,
            keys_breaker: Breaker::default(),
            trouble: Seldom::default(),
            read: metrics::counter!("parley_delivery_records_read_total"),
            delivered: metrics::counter!("parley_deliveries_total"),
            latency: metrics::histogram!("parley_delivery_seconds"),
        })
    }

    /// Delivers until the log is closed or the edge stops. If the log can't be read, it tries on from where it stood.
    pub(crate) async fn run(mut self) {
        let shared = self.shared.clone();
        let mut needs = shared.hub.needs().watch();
        needs.mark_changed(); // a channel may have been made before
        let mut looking = None;
        let mut forget = tokio::time::interval(FORGET_EVERY);
        let mut logged = false;
        loop {
            let error = tokio::select! {
                () = shared.stop.cancelled() => return,
                Ok(()) = needs.changed(), if looking.is_none() => {
                    looking = where_to_begin(&shared);
                    continue;
                }
                Some(from) = OptionFuture::from(looking.as_mut()) => {
                    looking = None;
                    match self.follow(from).await {
                        Ok(()) => continue,
                        Err(error) => error,
                    }
                }
                _ = forget.tick() => {
                    self.forget();
                    continue;
                }
                records = self.tail.next(RECORDS_MAX) => match records {
                    Ok(records) => {
                        logged = false;
                        self.read.increment(records.len() as u64);
                        for stored in records {
                            self.record(&stored).await;
                        }
                        self.hand_over();
                        continue;
                    }
                    Err(ReadError::Closed) => return,
                    Err(error) => error,
                },
            };
            if !std::mem::replace(&mut logged, true) {
                tracing::error!(
                    error = &error as &dyn std::error::Error,
                    "the log can't be tailed: no live delivery; trying on"
                );
            }
            tokio::select! {
                () = shared.stop.cancelled() => return,
                () = tokio::time::sleep(RETRY_AFTER) => {}
            }
            if let Ok(tail) = tail_from(shared.engines.log.as_ref(), &self.at).await {
                self.tail = tail;
            }
            needs.mark_changed(); // what was wanted is wanted still
        }
    }

    /// Follows partitions that are newly needed.
    async fn follow(&mut self, from: HashMap<TopicPartition, Checkpoint>) -> Result<(), ReadError> {
        self.tail.add(from.iter().map(|(place, checkpoint)| (*place, checkpoint.offset)).collect()).await?;
        self.shared.hub.needs().follow(&from.keys().map(|place| place.partition).collect());
        self.at.extend(from);
        metrics::gauge!("parley_partitions_followed").set(followed_count(self.at.len()));
        Ok(())
    }

    /// Lets the partitions go that nobody needs any more.
    fn forget(&mut self) {
        let unneeded = self.shared.hub.needs().forget();
        if unneeded.is_empty() {
            return;
        }
        let places: Vec<_> = unneeded.iter().flat_map(|partition| places_of(*partition)).collect();
        self.tail.remove(&places);
        self.at.retain(|place, _| !places.contains(place));
        metrics::gauge!("parley_partitions_followed").set(followed_count(self.at.len()));
    }

    async fn record(&mut self, stored: &StoredRecord) {
        let place = self.at.entry(stored.at).or_default();
        place.offset = stored.offset + 1;
        if parley_eventlog::admit(&mut place.validity, stored) != Verdict::Valid {
            return;
        }
        let Some(group) = stored.record.key.as_deref().and_then(|key| std::str::from_utf8(key).ok()) else {
            return;
        };
        let Ok(group) = GroupId::parse(group) else { return };
        let gathered = self.gathered.as_ref().filter(|gathered| gathered.channel.group == group);
        let channel = gathered.map(|gathered| gathered.channel.clone());
        let Some(channel) = channel.or_else(|| self.shared.hub.channel(group)) else { return };
        if stored.at.topic == Topic::Acks {
            // Whom it is told to got first what came first.
            self.hand_over();
        }
        let outcome = match stored.at.topic {
            Topic::Events => self.deliver(&channel, stored).await,
            Topic::Acks => stored
                .record
                .cursors()
                .map(|cursors| {
                    self.shared.acks.came_from_elsewhere(&self.shared.hub, &cursors);
                    self.shared.statuses.cursors(cursors);
                })
                .map_err(Into::into),
            Topic::Users => Ok(()),
        };
        // Who should have got it is behind now, and replay tries on; so only now and then is it worth a line.
        if let Err(error) = outcome
            && self.trouble.is_due()
        {
            tracing::error!(
                error = &error as &dyn std::error::Error,
                %group,
                partition = stored.at.partition,
                offset = stored.offset,
                "an event can't be delivered live"
            );
        }
    }

    async fn deliver(
        &mut self,
        channel: &Arc<Channel>,
        stored: &StoredRecord,
    ) -> Result<(), crate::opener::OpenError> {
        let span = trace::below(stored.record.trace.as_deref().copied(), "deliver", SpanKind::Consumer);
        let fact = stored.record.fact()?;
        let position = Position { partition: stored.at.partition, offset: stored.offset };
        if let Some(key) = self.shared.opener.wanted(&fact) {
            // Nobody else's messages wait for it.
            self.hand_over();
            if self.keys_breaker.ask("data keys", self.shared.opener.fetch(key)).await.is_none() {
                self.miss(channel, &fact);
                return Ok(());
            }
        }
        let frame = match self.shared.opener.frame(&fact, position, false).await {
            Ok(frame) => frame,
            Err(error) => {
                self.hand_over();
                self.miss(channel, &fact);
                return Err(error);
            }
        };
        match span {
            None => drop(self.gather(channel, fact, frame)),
            Some(span) => {
                // Alone, so that its deliveries are counted.
                self.hand_over();
                let count = self.gather(channel, fact, frame) + self.hand_over();
                span.end(vec![("parley.deliveries", i64::try_from(count).unwrap_or(i64::MAX))], None);
            }
        }
        Ok(())
    }

    /// Puts an event to those of its group that came just before it; those of another group are handed over first. What isn't
    /// a message is seldom, and waits for no others. To how many sockets its group's events were handed over with it, if they were.
    fn gather(&mut self, channel: &Arc<Channel>, fact: Arc<Fact>, frame: Bytes) -> u64 {
        if self.gathered.as_ref().is_some_and(|gathered| !Arc::ptr_eq(&gathered.channel, channel)) {
            self.hand_over();
        }
        let gathered = self.gathered.get_or_insert_with(|| {
            let events = std::mem::take(&mut self.spare);
            Gathered { channel: channel.clone(), events, bytes: 0 }
        });
        let is_message = matches!(fact.event, Event::MessageSent(_));
        gathered.bytes += frame.len();
        gathered.events.push((fact, frame));
        let is_enough = gathered.events.len() == TOGETHER_MAX || gathered.bytes >= TOGETHER_BYTES;
        if is_enough || !is_message { self.hand_over() } else { 0 }
    }

    /// Gives what was gathered to those who listen; to how many sockets.
    fn hand_over(&mut self) -> u64 {
        let Some(Gathered { channel, mut events, .. }) = self.gathered.take() else { return 0 };
        let delivered = channel.deliver(&events);
        for (session, subscription) in delivered.ended {
            self.shared.hub.end_subscription(channel.group, &session, subscription);
        }
        for (session, subscription) in delivered.behind {
            let behind = Behind::Subscription(channel.group, subscription, Phase::Known);
            replay::start(&self.shared, &session, behind);
        }
        self.delivered.increment(delivered.count);
        for (fact, frame) in events.drain(..) {
            self.keep(&channel, fact.seq, frame.len());
            self.latency.record(seconds_since(fact.at));
            if let Event::MessageRolledBack { message_id, sender, reason, .. } = &fact.event {
                crate::status::tell_rolled_back(&self.shared, channel.group, *message_id, sender, *reason);
            }
            self.look_again(&channel, &fact);
        }
        self.spare = events;
        delivered.count
    }

    /// Whether the object of a message is still there.
    fn look_again(&self, channel: &Channel, fact: &Fact) {
        if let Event::MessageSent(message) = &fact.event
            && message.media.is_some()
        {
            crate::media::look_again(&self.shared, channel.group, fact.seq, message);
        }
    }

    /// An event that can't be opened now: replay brings it to those who should get it. Perhaps nothing comes after it that
    /// would show them the hole; and the read models may not show it yet.
    fn miss(&self, channel: &Channel, fact: &Fact) {
        for (session, subscription) in channel.miss(fact) {
            let behind = Behind::Subscription(channel.group, subscription, Phase::Fresh);
            replay::start(&self.shared, &session, behind);
        }
        self.look_again(channel, fact);
    }

    /// Counts a frame that the tail of a channel keeps, and lets the oldest ones go.
    fn keep(&mut self, channel: &Arc<Channel>, seq: Seq, bytes: usize) {
        self.kept.push_back((Arc::downgrade(channel), seq, bytes));
        self.kept_bytes += bytes;
        while self.kept_bytes > TAIL_BYTES_MAX {
            let Some((channel, seq, bytes)) = self.kept.pop_front() else { return };
            self.kept_bytes -= bytes;
            if let Some(channel) = channel.upgrade() {
                channel.forget(seq);
            }
        }
    }
}

/// What a partition is followed in: events to deliver, and acknowledgements of which senders are told.
fn places_of(partition: u32) -> impl Iterator<Item = TopicPartition> {
    [Topic::Events, Topic::Acks].into_iter().map(move |topic| TopicPartition { topic, partition })
}

/// Finds out where to begin with the partitions that are newly needed: where the read models stand, so that what they show a
/// subscription afterwards, and what is delivered, leave nothing out between them. Tries until it can be told: a read store that is
/// away holds up those who wait for these partitions, and nobody else. `None`: there are no such partitions.
fn where_to_begin(shared: &Arc<Shared>) -> Option<BoxFuture<'static, HashMap<TopicPartition, Checkpoint>>> {
    let wanted: BTreeSet<u32> = shared.hub.needs().wanted().into_iter().collect();
    if wanted.is_empty() {
        return None;
    }
    let shared = shared.clone();
    let looking = async move {
        let mut trouble = Seldom::default();
        loop {
            match begin_with(&shared, &wanted).await {
                Ok(from) => return from,
                Err(error) if trouble.is_due() => tracing::error!(
                    error = &*error as &dyn std::error::Error,
                    partitions = wanted.len(),
                    "it can't be told where to begin with partitions that are needed now: no live delivery from them; trying on"
                ),
                Err(_) => {}
            }
            tokio::time::sleep(RETRY_AFTER).await;
        }
    };
    Some(looking.boxed())
}

async fn begin_with(
    shared: &Shared,
    wanted: &BTreeSet<u32>,
) -> Result<HashMap<TopicPartition, Checkpoint>, Box<dyn std::error::Error + Send + Sync>> {
    let checkpoints = shared.engines.reads.live().checkpoints().await?;
    Ok(begin_at(shared.engines.log.as_ref(), &checkpoints, wanted).await?)
}

/// Where the read models stand in some partitions; where they have nothing, the beginning.
async fn begin_at(
    log: &dyn EventLog,
    checkpoints: &[(CheckpointKey, Checkpoint)],
    partitions: &BTreeSet<u32>,
) -> Result<HashMap<TopicPartition, Checkpoint>, ReadError> {
    let mut at = HashMap::new();
    for place in partitions.iter().flat_map(|partition| places_of(*partition)) {
        let known = checkpoints.iter().find(|(key, _)| *key == (place.topic as u8, place.partition));
        let checkpoint = match known {
            Some((_, checkpoint)) => *checkpoint,
            None => Checkpoint { offset: log.start_offset(place).await?, ..Checkpoint::default() },
        };
        at.insert(place, checkpoint);
    }
    Ok(at)
}

#[allow(clippy::cast_precision_loss, reason = "a gauge is a float; a few thousand")]
fn followed_count(places: usize) -> f64 {
    (places / 2) as f64
}

async fn tail_from(
    log: &dyn EventLog,
    at: &HashMap<TopicPartition, Checkpoint>,
) -> Result<Box<dyn Tail>, ReadError> {
    log.tail(at.iter().map(|(place, checkpoint)| (*place, checkpoint.offset)).collect()).await
}

#[allow(clippy::cast_precision_loss, reason = "milliseconds of a latency are far below 2^52")]
fn seconds_since(at: Timestamp) -> f64 {
    (clock::now().as_millis() - at.as_millis()).max(0) as f64 / 1_000.0
}

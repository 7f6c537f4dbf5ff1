//! The task that routes: one for all partitions, so that nothing needs a lock.

use std::sync::Arc;
use std::time::Duration;

use hashbrown::HashMap;
use parley_domain::{Code, PartitionCount, Rejection, partition_of};
use parley_wire::rpc::{Answers, CallError, Channels, Link, Replied};
use parley_wire::service::{ReplyTo, Request};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::directory::Owners;
use super::lane::{Lane, SentTo, Step};

/// Requests taken in one go.
const BATCH_REQUESTS_MAX: usize = 1_024;
/// Requests that may be open at all; beyond that `busy`.
const OPEN_REQUESTS_MAX: usize = 65_536;
/// Events of links that may wait; then the links wait.
const EVENTS_MAX: usize = 65_536;
/// How often lanes without an owner are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(50);
/// How long to wait before a link that couldn't be opened is tried again.
const LINK_RETRY: Duration = Duration::from_millis(100);
/// Low bits of a request's number: its partition. A log has at most 4,096.
const PARTITION_BITS: u32 = 12;

/// What the tasks of links tell.
enum Event {
    Opened(String, u64, Result<Link, CallError>),
    Answered(u64, Replied),
    Ended(String, u64),
}

/// A link to a writer, as far as it has come.
enum State {
    Opening,
    Open(u64, Link),
    Failed(Instant),
}

pub(super) struct Task {
    owners: watch::Receiver<Arc<Owners>>,
    channels: Arc<Channels>,
    partitions: PartitionCount,
    wait: Duration,
    lanes: HashMap<u32, Lane>,
    links: HashMap<String, State>,
    next: u64,
    events: mpsc::Sender<Event>,
    incoming: mpsc::Receiver<Event>,
    tasks: JoinSet<()>,
}

impl Task {
    pub(super) fn new(
        owners: watch::Receiver<Arc<Owners>>,
        channels: Arc<Channels>,
        partitions: PartitionCount,
        wait: Duration,
    ) -> Self {
        let (events, incoming) = mpsc::channel(EVENTS_MAX);
        let (lanes, links, tasks) = (HashMap::new(), HashMap::new(), JoinSet::new());
        Self { owners, channels, partitions, wait, lanes, links, next: 0, events, incoming, tasks }
    }

    pub(super) async fn run(
        mut self,
        mut requests: mpsc::Receiver<(Request, ReplyTo)>,
        stop: CancellationToken,
    ) {
        let mut look = tokio::time::interval(LOOK_EVERY);
        look.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        let mut batch = Vec::new();
        loop {
            tokio::select! {
                biased; // answers make room, and what moves partitions comes before what is sent to them
                () = stop.cancelled() => return, // what is open is answered as it is dropped: outcome_unknown
                Some(event) = self.incoming.recv() => self.event(event),
                Ok(()) = self.owners.changed() => self.moved(),
                _ = look.tick() => self.look(),
                count = requests.recv_many(&mut batch, BATCH_REQUESTS_MAX) => {
                    if count == 0 {
                        return;
                    }
                    for (request, reply_to) in batch.drain(..) {
                        self.add(request, reply_to);
                    }
                }
            }
            while self.tasks.try_join_next().is_some() {}
        }
    }

    fn number(next: &mut u64, partition: u32) -> u64 {
        *next += 1;
        (*next << PARTITION_BITS) | u64::from(partition)
    }

    /// The link with this number, if it is open.
    fn link(links: &HashMap<String, State>, number: u64) -> Option<&Link> {
        links.values().find_map(|state| match state {
            State::Open(id, link) if *id == number => Some(link),
            State::Open(..) | State::Opening | State::Failed(_) => None,
        })
    }

    fn partition_of(number: u64) -> u32 {
        u32::try_from(number & ((1 << PARTITION_BITS) - 1)).unwrap_or_default()
    }

    fn add(&mut self, request: Request, reply_to: ReplyTo) {
        let open: usize = if self.lanes.len() < 2 { 0 } else { self.lanes.values().map(Lane::len).sum() };
        if open >= OPEN_REQUESTS_MAX {
            return reply_to.answer(Err(busy()));
        }
        let mut text = [0; 36];
        let key: &str = request.group_id.0.hyphenated().encode_lower(&mut text);
        let partition = partition_of(key.as_bytes(), self.partitions);
        let number = Self::number(&mut self.next, partition);
        let lane = self.lanes.entry(partition).or_default();
        lane.add(number, request, reply_to, Instant::now() + self.wait);
        let Some(to) = lane.sent_to else { return self.flush(partition) };
        if lane.waits_for_room() {
            return; // behind what came before it
        }
        let sent = Self::link(&self.links, to.link)
            .and_then(|link| lane.sent(number).map(|request| link.send(number, to.term, request)));
        if sent == Some(false) {
            lane.refuse(number, busy());
        }
    }

    /// Sends everything that is open in a lane to the owner of its partition, if one is known that hasn't refused. What the link has
    /// no room for follows at the next look: beginning anew would only fill it with what nobody waits for any more.
    fn flush(&mut self, partition: u32) {
        let Some(lane) = self.lanes.get_mut(&partition).filter(|lane| lane.len() > 0) else { return };
        if let Some(to) = lane.sent_to {
            if let Some(link) = Self::link(&self.links, to.link).filter(|_| lane.waits_for_room()) {
                lane.send_rest(|number, request| link.send(number, to.term, request));
            }
            return;
        }
        let owners = self.owners.borrow().clone();
        let owner = owners.owner(partition).filter(|owner| lane.refused_term != Some(owner.term));
        let Some(owner) = owner else { return };
        match self.links.get(&owner.address) {
            Some(State::Open(id, link)) => {
                lane.sent_to = Some(SentTo { link: *id, term: owner.term });
                lane.send_rest(|number, request| link.send(number, owner.term, request));
            }
            Some(State::Opening) => {}
            Some(State::Failed(at)) if at.elapsed() < LINK_RETRY => {}
            Some(State::Failed(_)) | None => self.open(&owner.address),
        }
    }

    fn flush_all(&mut self) {
        let partitions: Vec<u32> = self.lanes.keys().copied().collect();
        partitions.into_iter().for_each(|partition| self.flush(partition));
    }

    /// Owners are others now: what was sent to a former one goes to its successor. The former one may be frozen, and then it
    /// would be long before it is known to be gone.
    fn moved(&mut self) {
        let owners = self.owners.borrow().clone();
        let is_later = |(partition, lane): &(&u32, &Lane)| {
            let owner = owners.owner(**partition);
            owner.is_some_and(|owner| lane.sent_to.is_some_and(|to| to.term < owner.term))
        };
        let moved: Vec<u32> = self.lanes.iter().filter(is_later).map(|(partition, _)| *partition).collect();
        moved.into_iter().for_each(|partition| self.take_back(partition));
        self.flush_all();
    }

    fn open(&mut self, address: &str) {
        self.next += 1;
        let (id, address) = (self.next, address.to_owned());
        self.links.insert(address.clone(), State::Opening);
        let (channels, events) = (self.channels.clone(), self.events.clone());
        self.tasks.spawn(async move {
            match channels.link(&address).await {
                Ok((link, answers)) => {
                    if events.send(Event::Opened(address.clone(), id, Ok(link))).await.is_ok() {
                        pump(answers, id, &events).await;
                        drop(events.send(Event::Ended(address, id)).await);
                    }
                }
                Err(error) => drop(events.send(Event::Opened(address, id, Err(error))).await),
            }
        });
    }

    fn event(&mut self, event: Event) {
        match event {
            Event::Opened(address, id, Ok(link)) => {
                self.links.insert(address, State::Open(id, link));
                self.flush_all();
            }
            Event::Opened(address, _, Err(error)) => {
                tracing::debug!(
                    error = &error as &dyn std::error::Error,
                    address,
                    "a writer can't be reached"
                );
                self.links.insert(address, State::Failed(Instant::now()));
            }
            Event::Ended(address, id) => {
                tracing::info!(address, "the connection to a writer ended");
                self.links.remove(&address);
                let on_it = |lane: &Lane| lane.sent_to.is_some_and(|to| to.link == id);
                let partitions: Vec<u32> =
                    self.lanes.iter().filter(|(_, lane)| on_it(lane)).map(|(at, _)| *at).collect();
                for partition in partitions {
                    self.take_back(partition);
                    self.flush(partition);
                }
            }
            Event::Answered(link, (number, result)) => {
                let partition = Self::partition_of(number);
                let Some(lane) = self.lanes.get_mut(&partition) else { return };
                let Some(to) = lane.sent_to.filter(|to| to.link == link) else { return };
                if lane.answered(number, result) == Step::SendAgain {
                    metrics::counter!("parley_requests_sent_again_total").increment(lane.len() as u64);
                    lane.refused_term = Some(to.term);
                    self.take_back(partition);
                    self.flush(partition);
                }
            }
        }
    }

    fn take_back(&mut self, partition: u32) {
        let next = &mut self.next;
        if let Some(lane) = self.lanes.get_mut(&partition) {
            lane.take_back(|| Self::number(next, partition));
        }
    }

    /// Answers what is late, and tries on with what waits.
    fn look(&mut self) {
        let now = Instant::now();
        self.lanes.values_mut().for_each(|lane| lane.expire(now));
        self.flush_all();
    }
}

/// Passes on the answers of a link until it ends.
async fn pump(mut answers: Answers, id: u64, events: &mpsc::Sender<Event>) {
    while let Some(replied) = answers.next().await {
        if events.send(Event::Answered(id, replied)).await.is_err() {
            return;
        }
    }
}

fn busy() -> Rejection {
    let why = "too many requests wait: nothing was stored, try again";
    Rejection::new(Code::Busy, why).retry_after(250)
}

impl Drop for Task {
    fn drop(&mut self) {
        // Nothing may hang: what was never sent is certainly not stored.
        let late = Instant::now() + self.wait;
        self.lanes.values_mut().for_each(|lane| lane.expire(late));
    }
}

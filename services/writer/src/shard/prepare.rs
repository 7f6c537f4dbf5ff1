//! What has to be fetched before some requests can be decided on: data keys, and messages that may be repeats.
//!
//! Everything that waits happens here, so that the decisions themselves are made in one go.

use std::sync::Arc;

use futures::future::join_all;
use hashbrown::{HashMap, HashSet};
use parking_lot::Mutex;
use parley_domain::{Code, Event, GroupId, KeyId, MessageKind, Rejection, Timestamp, UserId};
use parley_keys::DataKey;
use parley_readstore::{MessageKey, ReadStore};
use parley_wire::event;
use parley_wire::service::{Send, Wish};

use super::{Queued, Shard};
use crate::dedupe::{Hashed, Sent, SentKey};

/// Messages that are looked up at once.
const LOOK_UPS_AT_ONCE_MAX: usize = 64;

/// What was fetched.
#[derive(Default)]
pub(super) struct Fetched {
    /// For sealing, by group.
    pub(super) sealing: HashMap<GroupId, Arc<DataKey>>,
    /// For comparing with earlier messages; `None`: destroyed.
    pub(super) comparing: HashMap<KeyId, Option<Arc<DataKey>>>,
    /// Earlier messages, whether or not they are still remembered.
    pub(super) earlier: HashMap<SentKey, Sent>,
    /// Messages of which it couldn't be found out whether they are repeats.
    pub(super) undecidable: HashSet<SentKey>,
    /// Keys of earlier messages that couldn't be read.
    pub(super) unread: HashSet<KeyId>,
}

/// A request of a batch; a message with its name in its sender's view.
pub(super) type Named = (Queued, Option<Hashed>);

/// The code by which repeats are compared: of type and content.
pub(super) fn mac(key: &DataKey, kind: MessageKind, content: &[u8]) -> [u8; 32] {
    let kind = match kind {
        MessageKind::Text => 1,
        MessageKind::Image => 2,
        MessageKind::Video => 3,
        MessageKind::Audio => 4,
    };
    key.mac(&[&[kind], content])
}

impl Shard {
    /// A request, and the name of its message.
    pub(super) fn named(&self, queued: Queued) -> Named {
        let name = if let Queued::Group(request, _) = &queued
            && let Wish::Send(send) = &request.wish
        {
            Some(self.name(request.group_id, &request.actor, send))
        } else {
            None
        };
        (queued, name)
    }

    /// The name of a message in its sender's view.
    pub(super) fn name(&self, group: GroupId, actor: &UserId, send: &Send) -> Hashed {
        self.state.dedupe.hashed((group, actor.clone(), send.client_message_id.clone()))
    }

    pub(super) async fn fetch(&mut self, batch: &[Named], now: Timestamp) -> Fetched {
        let mut fetched = Fetched::default();
        let known = |group: &GroupId| self.state.groups.get(group).is_some_and(|slot| slot.group.is_some());
        let sends = || batch.iter().filter_map(|(_, name)| name.as_ref());
        let groups: HashSet<GroupId> = sends().map(|hashed| hashed.key.0).filter(known).collect();
        let mut unsure = Vec::new();
        for hashed in sends() {
            if let Some(sent) = self.state.dedupe.recent(hashed).copied() {
                // What comes before it in the batch may push it out of what is remembered.
                fetched.earlier.insert(hashed.key.clone(), sent);
            } else if self.state.dedupe.maybe(hashed) {
                unsure.push(hashed.key.clone());
            }
        }
        self.look_up(unsure, &mut fetched).await;
        let keys_of_earlier = fetched.earlier.values().map(|sent| sent.key_id).collect();
        self.fetch_keys(groups, keys_of_earlier, now, &mut fetched).await;
        fetched
    }

    /// Looks messages up that may be repeats, some at a time. What came counts, also if the store fails for others.
    async fn look_up(&mut self, unsure: Vec<SentKey>, fetched: &mut Fetched) {
        for some in unsure.chunks(LOOK_UPS_AT_ONCE_MAX) {
            let came = Arc::new(Mutex::new(Vec::new()));
            let (reads, keys, coming) = (self.engines.reads.clone(), some.to_vec(), came.clone());
            let looking = async move {
                let each = keys.into_iter().map(async |key| {
                    let found = find(reads.as_ref(), &key).await?;
                    coming.lock().push((key, found));
                    Ok(())
                });
                join_all(each).await.into_iter().collect::<Result<(), parley_readstore::Error>>()
            };
            self.reads_breaker.ask("earlier messages", looking).await;
            let mut unanswered: HashSet<SentKey> = some.iter().cloned().collect();
            for (key, found) in std::mem::take(&mut *came.lock()) {
                unanswered.remove(&key);
                match found {
                    Ok(Some(sent)) => drop(fetched.earlier.insert(key, sent)),
                    Ok(None) => {}
                    Err(error) => {
                        self.log_unusable(&error);
                        fetched.undecidable.insert(key);
                    }
                }
            }
            fetched.undecidable.extend(unanswered);
        }
    }

    /// What is at hand costs nothing; for the rest the store is asked, and who needs it alone is refused if it is away.
    async fn fetch_keys(
        &mut self,
        groups: HashSet<GroupId>,
        earlier: HashSet<KeyId>,
        now: Timestamp,
        fetched: &mut Fetched,
    ) {
        let keys = self.engines.keys.clone();
        let seen = keys.destructions();
        let mut wanted = Vec::new();
        for group in groups {
            match keys.known_for_sealing(group, now) {
                Some(key) => drop(fetched.sealing.insert(group, key)),
                None => wanted.push(group),
            }
        }
        if !wanted.is_empty() {
            let (asked, groups) = (keys.clone(), wanted.clone());
            let asking = async move { asked.for_sealing(groups, now).await };
            if let Some(found) = self.keys_breaker.ask("data keys", asking).await {
                fetched.sealing.extend(found.keys);
                if let Some(error) = found.unusable {
                    self.log_unusable(&error);
                }
            } else {
                // Some may have come before it gave up.
                let came =
                    wanted.into_iter().filter_map(|group| Some((group, keys.known_for_sealing(group, now)?)));
                fetched.sealing.extend(came);
            }
        }
        for id in earlier {
            let found = match keys.known(id) {
                Some(key) => Some(Ok(Some(key))),
                None if keys.is_gone(id) => Some(Ok(None)),
                None => {
                    let asked = keys.clone();
                    self.keys_breaker.ask("data keys", async move { asked.try_find(id).await }).await
                }
            };
            match found {
                Some(Ok(key)) => drop(fetched.comparing.insert(id, key)),
                Some(Err(error)) => {
                    self.log_unusable(&error);
                    fetched.unread.insert(id);
                }
                None => drop(fetched.unread.insert(id)),
            }
        }
        if keys.destructions() != seen {
            // Keys were destroyed while others were waited for. Who is refused for that asks again.
            let is_good = |group: &GroupId, key: &DataKey| {
                keys.known_for_sealing(*group, now).is_some_and(|known| known.id() == key.id())
            };
            fetched.sealing.retain(|group, key| is_good(group, key));
        }
    }

    /// A key that the ring can't unwrap, or a damaged row: somebody's messages are refused until an operator mends it.
    fn log_unusable(&mut self, error: &(dyn std::error::Error + 'static)) {
        if self.unusable.is_due() {
            tracing::error!(error, "a message can't be decided on");
        }
    }
}

/// Looks a message up in the read model. Ids are forgotten only once they are there, so a miss is a miss.
/// A row that is damaged is an answer; the store is well.
async fn find(
    reads: &dyn ReadStore,
    key: &SentKey,
) -> Result<Result<Option<Sent>, parley_readstore::Error>, parley_readstore::Error> {
    match find_sent(reads, key).await {
        Err(error @ parley_readstore::Error::Engine(_)) => Err(error),
        found => Ok(found),
    }
}

async fn find_sent(reads: &dyn ReadStore, key: &SentKey) -> Result<Option<Sent>, parley_readstore::Error> {
    let (group, sender, client_message_id) = key;
    let model = reads.live();
    let by = MessageKey::Client { sender: sender.clone(), client_message_id: client_message_id.clone() };
    let Some(seq) = model.find(*group, &by).await? else { return Ok(None) };
    let rows = model.events(*group, seq, seq, 1).await?;
    let Some(row) = rows.into_iter().next() else { return Ok(None) };
    let fact = event::untagged(row.value).map_err(|_| parley_readstore::Error::Damaged("timeline"))?;
    let Event::MessageSent(message) = &fact.event else { return Ok(None) };
    Ok(Some(Sent::of(message, seq, fact.at, row.position)))
}

/// Why a message can't be decided on now.
pub(super) fn cannot_decide() -> Rejection {
    Rejection::new(
        Code::Unavailable,
        "a store that is needed for this can't be reached: nothing was stored, try again",
    )
    .retry_after(1_000)
}

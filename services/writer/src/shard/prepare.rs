//! What has to be fetched before some requests can be decided on: data keys, and messages that may be repeats.
//!
//! Everything that waits happens here, so that the decisions themselves are made in one go.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use parley_domain::{Code, Event, GroupId, KeyId, Rejection, Timestamp};
use parley_keys::DataKey;
use parley_readstore::MessageKey;
use parley_wire::event;
use parley_wire::service::{Send, Wish};

use super::{Queued, Shard};
use crate::dedupe::{Sent, SentKey};

/// What was fetched.
#[derive(Default)]
pub(super) struct Fetched {
    /// For sealing, by group.
    pub(super) sealing: HashMap<GroupId, Arc<DataKey>>,
    /// For comparing with earlier messages; `None`: destroyed.
    pub(super) comparing: HashMap<KeyId, Option<Arc<DataKey>>>,
    /// Earlier messages that are no longer remembered.
    pub(super) earlier: HashMap<SentKey, Sent>,
    /// Messages of which it couldn't be found out whether they are repeats, or all of them if there are no keys.
    pub(super) undecidable: HashSet<SentKey>,
    pub(super) no_keys: bool,
}

/// The key of a message in its sender's view.
pub(super) fn sent_key(group: GroupId, actor: &parley_domain::UserId, send: &Send) -> SentKey {
    (group, actor.clone(), send.client_message_id.clone())
}

/// What repeats are compared by: type and content.
pub(super) fn comparable(send: &Send, content: &[u8]) -> Vec<u8> {
    let kind = match send.kind {
        parley_domain::MessageKind::Text => 1,
        parley_domain::MessageKind::Image => 2,
        parley_domain::MessageKind::Video => 3,
        parley_domain::MessageKind::Audio => 4,
    };
    let mut bytes = Vec::with_capacity(1 + content.len());
    bytes.push(kind);
    bytes.extend_from_slice(content);
    bytes
}

impl Shard {
    /// The messages of a batch, as their senders name them.
    pub(super) fn sends(batch: &[Queued]) -> Vec<SentKey> {
        let keys = batch.iter().filter_map(|queued| {
            let Queued::Group(request, _) = queued else { return None };
            let Wish::Send(send) = &request.wish else { return None };
            Some(sent_key(request.group_id, &request.actor, send))
        });
        keys.collect()
    }

    pub(super) async fn fetch(&self, sends: Vec<SentKey>, now: Timestamp) -> Fetched {
        let mut fetched = Fetched::default();
        let mut keys_of_earlier = HashSet::new();
        let known = |group: &GroupId| self.state.groups.get(group).is_some_and(|slot| slot.group.is_some());
        let groups = sends.iter().map(|(group, _, _)| *group).filter(known).collect();
        for key in sends {
            if let Some(sent) = self.state.dedupe.recent(&key) {
                keys_of_earlier.insert(sent.key_id);
            } else if self.state.dedupe.maybe(&key) {
                match self.look_up(&key).await {
                    Ok(Some(sent)) => {
                        keys_of_earlier.insert(sent.key_id);
                        fetched.earlier.insert(key, sent);
                    }
                    Ok(None) => {}
                    Err(error) => {
                        tracing::warn!(
                            error = &error as &dyn std::error::Error,
                            "a possible repeat can't be looked up"
                        );
                        fetched.undecidable.insert(key);
                    }
                }
            }
        }
        self.fetch_keys(groups, keys_of_earlier, now, &mut fetched).await;
        fetched
    }

    async fn fetch_keys(
        &self,
        groups: HashSet<GroupId>,
        earlier: HashSet<KeyId>,
        now: Timestamp,
        fetched: &mut Fetched,
    ) {
        let keys = &self.engines.keys;
        let mut failed = None;
        match keys.for_sealing(groups, now).await {
            Ok(sealing) => fetched.sealing = sealing,
            Err(error) => failed = Some(error),
        }
        for id in earlier {
            match keys.find(id).await {
                Ok(key) => drop(fetched.comparing.insert(id, key)),
                Err(error) => failed = Some(error),
            }
        }
        if let Some(error) = failed {
            tracing::error!(error = &error as &dyn std::error::Error, "no data keys: sends are refused");
            fetched.no_keys = true;
        }
    }

    /// Looks a message up in the read model. Ids are forgotten only once they are there, so a miss is a miss.
    async fn look_up(&self, key: &SentKey) -> Result<Option<Sent>, parley_readstore::Error> {
        let (group, sender, client_message_id) = key;
        let model = self.engines.reads.live();
        let by = MessageKey::Client { sender: sender.clone(), client_message_id: client_message_id.clone() };
        let Some(seq) = model.find(*group, &by).await? else { return Ok(None) };
        let rows = model.events(*group, seq, seq, 1).await?;
        let Some(row) = rows.into_iter().next() else { return Ok(None) };
        let fact = event::untagged(row.value).map_err(|_| parley_readstore::Error::Damaged("timeline"))?;
        let Event::MessageSent(message) = &fact.event else { return Ok(None) };
        Ok(Some(Sent::of(message, seq, fact.at, row.position)))
    }
}

/// Why a message can't be decided on now.
pub(super) fn cannot_decide() -> Rejection {
    Rejection::new(
        Code::Unavailable,
        "a store that is needed for this can't be reached: nothing was stored, try again",
    )
    .retry_after(1_000)
}

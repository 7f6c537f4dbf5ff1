//! From events as they lie in the log to what clients get: content opened, or withheld.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{Event, Fact, KeyId, Position, Withheld};
use parley_keys::{Keys, Place};
use parley_readstore::EventRow;
use parley_wire::event::{self, Content};
use parley_wire::frame::{GroupEventBody, MessageBody, names};
use uuid::Uuid;

use crate::ws;

/// Opens events for one incarnation of the log.
#[derive(Clone)]
pub(crate) struct Opener {
    keys: Arc<Keys>,
    epoch: Uuid,
}

/// An event can't be read now, though it is there.
#[derive(Debug, thiserror::Error)]
pub(crate) enum OpenError {
    /// The key store doesn't answer, or the key ring lacks a key.
    #[error("no data key")]
    Keys(#[from] parley_keys::KeysError),
    /// The row holds no event.
    #[error("a row is no event")]
    Decode(#[from] event::DecodeError),
    /// The content doesn't open under its key: changed bytes, or bytes from another place.
    #[error("sealed content doesn't open")]
    Seal(#[from] parley_keys::SealError),
}

impl Opener {
    pub(crate) fn new(keys: Arc<Keys>, epoch: Uuid) -> Self {
        Self { keys, epoch }
    }

    pub(crate) fn epoch(&self) -> Uuid {
        self.epoch
    }

    /// The key that must be read from the store before an event can be opened; `None`: none, or it is at hand or destroyed.
    pub(crate) fn wanted(&self, fact: &Fact) -> Option<KeyId> {
        let Event::MessageSent(message) = &fact.event else { return None };
        let key = message.key_id;
        (self.keys.known(key).is_none() && !self.keys.is_gone(key)).then_some(key)
    }

    /// Reads a key, so that it is at hand if it can be used.
    pub(crate) fn fetch(
        &self,
        key: KeyId,
    ) -> impl Future<Output = Result<(), parley_keys::StoreError>> + Send + use<> {
        let keys = self.keys.clone();
        async move { keys.try_find(key).await.map(drop) }
    }

    /// Whether all of these keys are there: none was destroyed since. `false` also where that can't be known now.
    pub(crate) async fn has(&self, keys: &[KeyId]) -> bool {
        for key in keys {
            if !matches!(self.keys.find(*key).await, Ok(Some(_))) {
                return false;
            }
        }
        true
    }

    /// The opened content of a message.
    async fn content(&self, fact: &Fact, rolled_back: bool) -> Result<Result<Content, Withheld>, OpenError> {
        let Event::MessageSent(message) = &fact.event else { return Ok(Ok(Content::default())) };
        let Some(key) = self.keys.find(message.key_id).await? else { return Ok(Err(Withheld::Erased)) };
        if rolled_back {
            return Ok(Err(Withheld::RolledBack));
        }
        let place =
            Place { group_id: fact.group_id, message_id: message.message_id, sender: &message.sender };
        Ok(Ok(event::decode_content(&key.open(place, &message.sealed)?)?))
    }

    /// A message as clients see it; `None` if the fact is a group event.
    pub(crate) async fn message(
        &self,
        fact: &Fact,
        position: Position,
        rolled_back: bool,
    ) -> Result<Option<MessageBody>, OpenError> {
        let content = self.content(fact, rolled_back).await?;
        Ok(MessageBody::new(fact, self.epoch, position, content))
    }

    /// A row's message; `None` if it is a group event.
    pub(crate) async fn row_message(&self, row: &EventRow) -> Result<Option<MessageBody>, OpenError> {
        let fact = event::untagged(row.value.clone())?;
        self.message(&fact, row.position, row.rolled_back).await
    }

    /// The WebSocket frame of an event: `group_message` or `group_event`.
    pub(crate) async fn frame(
        &self,
        fact: &Fact,
        position: Position,
        rolled_back: bool,
    ) -> Result<Bytes, OpenError> {
        if let Some(body) = self.message(fact, position, rolled_back).await? {
            return Ok(ws::quick_text(names::GROUP_MESSAGE, None, &body));
        }
        Ok(GroupEventBody::new(fact, self.epoch, position)
            .map(|body| ws::text(names::GROUP_EVENT, None, &body))
            .unwrap_or_default())
    }
}

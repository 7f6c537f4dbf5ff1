//! Media of messages: looked at before a send is handed over, and again when a message is delivered or asked for, since
//! the object store is not ours to lock.

use std::sync::Arc;
use std::time::Duration;

use parley_domain::{
    GroupId, MediaClaims, MediaDescription, MediaFault, MediaId, MessageId, MessageSent, RollbackReason, Seq,
    UserId,
};
use parley_keys::open_media_url;
use parley_media::{MediaStore, StoredObject};
use parley_wire::service::Wish;
use tokio::sync::Semaphore;

use crate::edge::{Shared, broken};

/// How many second looks run at once; what comes beyond that is left to whoever asks for the object.
static SECOND_LOOKS: Semaphore = Semaphore::const_new(64);

/// What a message may say of its media, or why it can't be taken.
pub(crate) async fn check(
    shared: &Shared,
    actor: &UserId,
    group_id: GroupId,
    media_url: &str,
) -> Result<MediaDescription, MediaFault> {
    let claims = open_media_url(shared.engines.keys.ring(), media_url).map_err(|_| MediaFault::Forbidden)?;
    if claims.group_id != group_id || claims.uploader != *actor {
        return Err(MediaFault::Forbidden);
    }
    let object = shared.engines.media.look(claims.media_id).await.map_err(|error| {
        broken("an upload can't be looked at", &error);
        MediaFault::Unavailable
    })?;
    if !is_as_announced(&object.ok_or(MediaFault::NotUploaded)?, &claims) {
        return Err(MediaFault::Mismatch);
    }
    let MediaClaims { media_id, content_type, content_length, .. } = claims;
    Ok(MediaDescription { media_id, content_type, content_length })
}

/// What a store doesn't tell was bound by the signature of the upload.
fn is_as_announced(object: &StoredObject, claims: &MediaClaims) -> bool {
    object.content_type == claims.content_type
        && object.content_length == claims.content_length
        && object.sha256.is_none_or(|sha256| sha256 == claims.sha256)
        && object.group_id.is_none_or(|group| group == claims.group_id)
        && object.uploader.as_ref().is_none_or(|uploader| *uploader == claims.uploader)
}

/// Between the looks after which a message without its object is rolled back.
const SECOND_LOOK_AFTER: Duration = Duration::from_secs(1);

/// A message that carries an object.
#[derive(Debug, Clone)]
pub(crate) struct Carrier {
    pub(crate) group_id: GroupId,
    pub(crate) message_id: MessageId,
    pub(crate) seq: Seq,
    pub(crate) sender: UserId,
    pub(crate) media_id: MediaId,
}

impl Carrier {
    /// `None` if the message carries none.
    pub(crate) fn of(group_id: GroupId, seq: Seq, message: &MessageSent) -> Option<Self> {
        let media_id = message.media.as_ref()?.media_id;
        Some(Self { group_id, message_id: message.message_id, seq, sender: message.sender.clone(), media_id })
    }
}

/// Looks whether the object of a delivered message is still there, beside everything else.
pub(crate) fn look_again(shared: &Arc<Shared>, group_id: GroupId, seq: Seq, message: &MessageSent) {
    let Some(carrier) = Carrier::of(group_id, seq, message) else { return };
    let Ok(permit) = SECOND_LOOKS.try_acquire() else { return };
    let shared_then = shared.clone();
    shared.tracker.spawn(async move {
        roll_back_if_gone(&shared_then, &carrier).await;
        drop(permit);
    });
}

/// Compensates a message whose object is certainly gone: twice not found, in a store that is there. One that lost its bucket or its
/// directory for a while has no object either, and what was rolled back stays so. Several edges may do so at once: the owner of the group
/// appends one event.
pub(crate) async fn roll_back_if_gone(shared: &Shared, carrier: &Carrier) {
    if !is_gone(shared.engines.media.as_ref(), carrier.media_id).await {
        return;
    }
    tokio::time::sleep(SECOND_LOOK_AFTER).await;
    if !is_gone(shared.engines.media.as_ref(), carrier.media_id).await {
        return;
    }
    let wish = Wish::RollBack {
        message_id: carrier.message_id,
        message_seq: carrier.seq,
        sender: carrier.sender.clone(),
        reason: RollbackReason::MediaMissing,
    };
    if let Err(rejection) = shared.call(carrier.group_id, &carrier.sender, wish).await {
        // Whoever asks for the object next tries again.
        tracing::warn!(%rejection, group_id = %carrier.group_id, seq = carrier.seq, "a message can't be rolled back");
    }
}

/// Whether a store that can be used has no such object.
async fn is_gone(media: &dyn MediaStore, media_id: MediaId) -> bool {
    let looked = async {
        if media.look(media_id).await?.is_some() {
            return Ok(false);
        }
        media.ready().await.map(|()| true)
    };
    looked.await.unwrap_or_else(|error: parley_media::Error| {
        broken("the object of a message can't be looked at", &error);
        false
    })
}

#[cfg(test)]
mod tests {
    use parley_domain::Timestamp;
    use parley_media::providers::embedded::{EmbeddedMedia, EmbeddedOptions};

    use super::*;

    #[tokio::test]
    async fn a_store_that_is_gone_itself_has_lost_no_object() {
        let dir = tempfile::tempdir().unwrap();
        let (public_url, clock) = ("http://127.0.0.1:1".to_owned(), Arc::new(parley_wire::clock::now));
        let media =
            EmbeddedMedia::open(dir.path(), EmbeddedOptions { public_url, bytes_max: 1, clock }).unwrap();
        let id = MediaId::from_bytes([7; 16]);
        assert!(is_gone(&media, id).await);
        std::fs::rename(dir.path().join("objects"), dir.path().join("elsewhere")).unwrap();
        assert!(!is_gone(&media, id).await, "a directory that isn't there says nothing of what lay in it");
    }

    #[test]
    fn an_object_must_be_what_was_announced() {
        let claims = MediaClaims {
            media_id: MediaId::from_bytes([1; 16]),
            group_id: GroupId::from_bytes([2; 16]),
            uploader: UserId::parse("ann").unwrap(),
            content_type: "image/png".into(),
            content_length: 7,
            sha256: [3; 32],
            expires_at: Timestamp(0),
        };
        let same = StoredObject {
            content_type: "image/png".into(),
            content_length: 7,
            sha256: Some([3; 32]),
            group_id: Some(claims.group_id),
            uploader: Some(claims.uploader.clone()),
        };
        assert!(is_as_announced(&same, &claims));
        let silent = StoredObject { sha256: None, group_id: None, uploader: None, ..same.clone() };
        assert!(is_as_announced(&silent, &claims));
        for other in [
            StoredObject { content_type: "image/gif".into(), ..same.clone() },
            StoredObject { content_length: 8, ..same.clone() },
            StoredObject { sha256: Some([4; 32]), ..same.clone() },
            StoredObject { group_id: Some(GroupId::from_bytes([5; 16])), ..same.clone() },
            StoredObject { uploader: Some(UserId::parse("bob").unwrap()), ..same.clone() },
        ] {
            assert!(!is_as_announced(&other, &claims), "{other:?}");
        }
    }
}

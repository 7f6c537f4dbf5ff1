//! `GET /media/{media_id}`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use parley_domain::{Code, Event, GroupId, MediaId, Seq, UserId};
use parley_readstore::{EventRow, ReadModel};
use parley_wire::event::untagged;
use parley_wire::rest::Download;
use parley_wire::time;

use super::access::{may_see, media_id, media_not_found};
use super::extract::{Caller, Path};
use super::fault::Fault;
use crate::edge::{Shared, broken};
use crate::media::{Carrier, roll_back_if_gone};
use crate::opener::OpenError;

/// Messages with the same object that are looked at.
const CARRIERS_MAX: usize = 1_000;

pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path(media): Path<String>,
) -> Result<Json<Download>, Fault> {
    let media_id = media_id(&media)?;
    shared.caught_up(None).await?;
    let object = shared.engines.media.look(media_id).await;
    let object = object.map_err(|error| broken("an object can't be looked at", &error))?;
    let is_uploader = object.as_ref().is_some_and(|object| object.uploader.as_ref() == Some(&caller));
    if let Some(group_id) = object.as_ref().filter(|_| is_uploader).and_then(|object| object.group_id) {
        joined(shared.engines.reads.live().as_ref(), group_id, &caller).await?;
    }
    let carrier = if is_uploader { None } else { Some(visible_carrier(&shared, media_id, &caller).await?) };
    let Some(object) = object else {
        if let Some(Sight::Visible(carrier)) = carrier {
            let shared_then = shared.clone();
            shared.tracker.spawn(async move { roll_back_if_gone(&shared_then, &carrier).await });
        }
        return Err(media_not_found());
    };
    if matches!(carrier, Some(Sight::Hidden)) {
        return Err(Fault::new(Code::MediaForbidden, "no message that you may see carries this media"));
    }
    let valid_for = Duration::from_secs(shared.options.limits.download_url_seconds);
    let signed = shared.engines.media.presign_download(media_id, &object.content_type, valid_for).await;
    let signed = signed.map_err(|error| broken("a download can't be signed", &error))?;
    Ok(Json(Download {
        url: signed.url,
        content_type: object.content_type,
        content_length: object.content_length,
        expires_at: time::format(signed.expires_at),
    }))
}

/// What a user sees of the messages that carry an object.
enum Sight {
    /// This one.
    Visible(Carrier),
    /// None, whether there is one or not.
    Hidden,
}

async fn visible_carrier(shared: &Shared, media: MediaId, user: &UserId) -> Result<Sight, Fault> {
    let reads = shared.engines.reads.live();
    let places = reads.media(media, CARRIERS_MAX).await?;
    // An upload is for one group, so all of them are in the same one.
    let Some((group_id, _)) = places.first().copied() else { return Ok(Sight::Hidden) };
    let Some(joined) = joined(reads.as_ref(), group_id, user).await? else { return Ok(Sight::Hidden) };
    let newest_first = places.iter().rev().filter(|(group, seq)| *group == group_id && *seq >= joined);
    for (_, seq) in newest_first {
        for row in reads.events(group_id, *seq, *seq, 1).await? {
            if let Some(carrier) = shown(shared, &row, group_id).await? {
                return Ok(Sight::Visible(carrier));
            }
        }
    }
    Ok(Sight::Hidden)
}

/// From where on a member sees the group; `None` for who sees nothing of it. That it was dissolved is an error for those
/// who were in it.
async fn joined(reads: &dyn ReadModel, group_id: GroupId, user: &UserId) -> Result<Option<Seq>, Fault> {
    let Some(group) = reads.group(group_id).await? else { return Ok(None) };
    let Some(membership) = reads.membership(group_id, user).await? else { return Ok(None) };
    match may_see(&group, &membership) {
        Ok(()) => Ok(Some(membership.joined)),
        Err(rejection) if rejection.code == Code::GroupDissolved => Err(rejection.into()),
        Err(_) => Ok(None),
    }
}

/// What was rolled back or erased is shown without its media.
async fn shown(shared: &Shared, row: &EventRow, group_id: GroupId) -> Result<Option<Carrier>, Fault> {
    let body = shared.opener.row_message(row).await?;
    if body.is_none_or(|body| body.media.is_none()) {
        return Ok(None);
    }
    let fact = untagged(row.value.clone()).map_err(OpenError::Decode)?;
    let Event::MessageSent(message) = &fact.event else { return Ok(None) };
    Ok(Carrier::of(group_id, row.seq, message))
}

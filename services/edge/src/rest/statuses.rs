//! `GET /groups/{id}/messages/{message_id}/status`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use parley_domain::{Event, Fact, UserId};
use parley_readstore::{MessageKey, StatusRow};
use parley_wire::event::untagged;
use parley_wire::rest::{StatusBody, Statuses};
use parley_wire::time;
use uuid::Uuid;

use super::access::{Seen, group_id, message_id, message_not_found, seen};
use super::extract::{Caller, Path, Query};
use super::fault::Fault;
use super::page::{self, Page};
use crate::edge::Shared;
use crate::opener::OpenError;

pub(super) async fn statuses(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path((group, message)): Path<(String, String)>,
    Query(page): Query<Page>,
) -> Result<Json<Statuses>, Fault> {
    let (limit, after) = (page.limit()?, page.after::<UserId>()?);
    let seen = seen(&shared, group_id(&group)?, &caller).await?;
    let fact = message_fact(&seen, MessageKey::Id(message_id(&message)?)).await?;
    let Event::MessageSent(sent) = &fact.event else { return Err(message_not_found()) };
    let (group_id, sender) = (fact.group_id, &sent.sender);
    let mut rows = seen.reads.statuses(group_id, fact.seq, sender, after.as_ref(), limit + 1).await?;
    let next_cursor = page::cut(&mut rows, limit, |row| &row.user);
    let counts = seen.reads.receipts(group_id, fact.seq, sender).await?;
    let sent_at = time::format(fact.at);
    Ok(Json(Statuses {
        statuses: rows.iter().map(|row| body(row, sent.message_id.0, &sent_at)).collect(),
        delivered_count: counts.delivered,
        read_count: counts.read,
        member_count: counts.members,
        next_cursor,
    }))
}

/// The message, if it was sent after the caller had joined.
async fn message_fact(seen: &Seen, key: MessageKey) -> Result<Fact, Fault> {
    let group_id = seen.group.group_id;
    let seq = seen.reads.find(group_id, &key).await?;
    let seq = seq.filter(|seq| *seq >= seen.membership.joined).ok_or_else(message_not_found)?;
    let rows = seen.reads.events(group_id, seq, seq, 1).await?;
    let row = rows.into_iter().next().ok_or_else(message_not_found)?;
    Ok(untagged(row.value).map_err(OpenError::Decode)?)
}

fn body(row: &StatusRow, message_id: Uuid, sent_at: &str) -> StatusBody {
    StatusBody {
        message_id,
        user_id: row.user.to_string(),
        delivered: row.delivered,
        read: row.read,
        updated_at: row.updated_at.map_or_else(|| sent_at.to_owned(), time::format),
    }
}

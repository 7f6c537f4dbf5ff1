//! Groups: listed, shown, changed, ended. How one is made is in [`super::create`].

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use futures::{StreamExt as _, TryStreamExt as _};
use http::StatusCode;
use parley_domain::{GroupId, Seq, UserId};
use parley_readstore::{GroupRow, ReadModel, UserGroupRow};
use parley_wire::frame::MessageBody;
use parley_wire::rest::{GroupBody, Groups, ListedGroup, UpdateGroup};
use parley_wire::service::Wish;

use super::access::{group_id, seen};
use super::answer::{changed, group_with_members};
use super::extract::{Body, Caller, Path, Query};
use super::fault::Fault;
use super::page::{self, Page};
use crate::body;
use crate::edge::Shared;

/// Groups of a page that are read at once.
const CONCURRENT_QUERIES: usize = 8;

/// Rows that are read at once in search of groups that the user is still in, and how often in one call: whoever left
/// thousands gets a shorter page, with a cursor.
const ROWS_PER_QUERY: usize = 200;
const QUERIES_MAX: usize = 50;

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Query(page): Query<Page>,
) -> Result<Json<Groups>, Fault> {
    let (limit, after) = (page.limit()?, page.after::<GroupId>()?);
    shared.caught_up(None).await?;
    let reads = &shared.engines.reads.live();
    let (rows, next_cursor) = present_groups(reads.as_ref(), &caller, after, limit).await?;
    let shared = shared.as_ref();
    let groups = futures::stream::iter(rows)
        .map(|row| async move { listed(shared, reads.as_ref(), row).await })
        .buffered(CONCURRENT_QUERIES)
        .try_collect::<Vec<_>>()
        .await?;
    Ok(Json(Groups { groups: groups.into_iter().flatten().collect(), next_cursor }))
}

/// A page of the groups that a user is in, passing over those that it was in.
async fn present_groups(
    reads: &dyn ReadModel,
    user: &UserId,
    mut after: Option<GroupId>,
    limit: usize,
) -> Result<(Vec<UserGroupRow>, Option<String>), Fault> {
    let mut present = Vec::new();
    for _ in 0..QUERIES_MAX {
        let rows = reads.user_groups(user, after, ROWS_PER_QUERY).await?;
        let is_last = rows.len() < ROWS_PER_QUERY;
        after = rows.last().map(|row| row.group_id).or(after);
        present
            .extend(rows.into_iter().filter(|row| row.membership.left.is_none() && row.dissolved.is_none()));
        if is_last || present.len() > limit {
            let next_cursor = page::cut(&mut present, limit, |row| &row.group_id);
            return Ok((present, next_cursor));
        }
    }
    Ok((present, after.as_ref().map(page::cursor)))
}

/// `None` if the read model doesn't have the group's own row.
async fn listed(
    shared: &Shared,
    reads: &dyn ReadModel,
    row: UserGroupRow,
) -> Result<Option<ListedGroup>, Fault> {
    let Some(group) = reads.group(row.group_id).await? else { return Ok(None) };
    let last_message = last_message(shared, reads, &group, row.membership.joined).await?;
    Ok(Some(ListedGroup {
        group: GroupBody { head_seq: row.head, ..body::of_row(&group, shared.opener.epoch()) },
        delivered_seq: row.membership.delivered,
        read_seq: row.membership.read,
        unread: row.unread,
        last_message,
    }))
}

/// The last message, if it was sent after the user had joined.
async fn last_message(
    shared: &Shared,
    reads: &dyn ReadModel,
    group: &GroupRow,
    joined: Seq,
) -> Result<Option<MessageBody>, Fault> {
    let Some(seq) = group.last_message.filter(|seq| *seq > joined) else { return Ok(None) };
    let rows = reads.events(group.group_id, seq, seq, 1).await?;
    let Some(row) = rows.first() else { return Ok(None) };
    Ok(shared.opener.row_message(row).await?)
}

pub(super) async fn show(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path(group): Path<String>,
) -> Result<Json<GroupBody>, Fault> {
    let seen = seen(&shared, group_id(&group)?, &caller).await?;
    group_with_members(seen.reads.as_ref(), &seen.group, shared.opener.epoch()).await.map(Json)
}

pub(super) async fn update(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path(group): Path<String>,
    Body(wish): Body<UpdateGroup>,
) -> Result<Json<GroupBody>, Fault> {
    let wish = Wish::Update { name: wish.name, description: wish.description };
    let reply = shared.call(group_id(&group)?, &caller, wish).await?;
    changed(&shared, reply, &caller).await
}

pub(super) async fn dissolve(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path(group): Path<String>,
) -> Result<StatusCode, Fault> {
    shared.call(group_id(&group)?, &caller, Wish::Dissolve).await?;
    Ok(StatusCode::NO_CONTENT)
}

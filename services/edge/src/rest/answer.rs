//! Groups and members as clients see them.

use axum::Json;
use parley_domain::UserId;
use parley_readstore::{GroupRow, MembershipRow, ReadModel};
use parley_wire::rest::{GroupBody, MemberBody, role_name};
use parley_wire::service::{GroupSummary, Reply};
use parley_wire::time;
use uuid::Uuid;

use super::access::may_see;
use super::fault::Fault;
use crate::body;
use crate::edge::Shared;

/// Members that a group is shown with.
pub(super) const SHOWN_MEMBERS_MAX: usize = 100;

/// A member without its cursors.
pub(super) fn member_body(member: &MembershipRow) -> MemberBody {
    MemberBody {
        user_id: member.user.to_string(),
        role: role_name(member.role),
        joined_at: time::format(member.joined_at),
        delivered_seq: None,
        read_seq: None,
    }
}

/// A group with its first members.
pub(super) async fn group_with_members(
    reads: &dyn ReadModel,
    group: &GroupRow,
    epoch: Uuid,
) -> Result<GroupBody, Fault> {
    let members = reads.members(group.group_id, None, SHOWN_MEMBERS_MAX, false).await?;
    let members = Some(members.iter().map(member_body).collect());
    Ok(GroupBody { members, ..body::of_row(group, epoch) })
}

/// The answer to a write, and whether it made the group. Waiting for the read models here means that whatever the client
/// reads next, with or without waiting, shows it. `unseen` makes the answer for who can't see the group (any more).
pub(super) async fn written(
    shared: &Shared,
    reply: Reply,
    caller: &UserId,
    unseen: impl FnOnce(GroupSummary) -> GroupBody,
) -> Result<(GroupBody, bool), Fault> {
    let (summary, created) = match reply {
        Reply::Group { group, created } => (group, created),
        Reply::Accepted { .. }
        | Reply::Cursors(_)
        | Reply::Notified { .. }
        | Reply::Receipts(_)
        | Reply::Done
        | Reply::NotOwner => return Err(Fault::internal("the owner of a group answered something else")),
    };
    let body = match read_back(shared, &summary, caller).await {
        Ok(Some(body)) => body,
        // It happened: a read model that can't be read must not make the client believe otherwise.
        Ok(None) | Err(_) => unseen(summary),
    };
    Ok((body, created))
}

/// The answer to a change of a group.
pub(super) async fn changed(
    shared: &Shared,
    reply: Reply,
    caller: &UserId,
) -> Result<Json<GroupBody>, Fault> {
    let unseen = |summary| summary_body(shared, summary);
    written(shared, reply, caller, unseen).await.map(|(body, _)| Json(body))
}

/// What the owner of its partition says of a group.
fn summary_body(shared: &Shared, summary: GroupSummary) -> GroupBody {
    GroupBody { members: Some(Vec::new()), ..body::of_summary(summary, shared.opener.epoch()) }
}

/// `None` for who may not see the group any more: its creator, say, who repeats the call that made it.
async fn read_back(
    shared: &Shared,
    summary: &GroupSummary,
    caller: &UserId,
) -> Result<Option<GroupBody>, Fault> {
    shared.caught_up(Some(summary.group_id)).await?;
    let reads = shared.engines.reads.live();
    let Some(group) = reads.group(summary.group_id).await? else { return Ok(None) };
    let membership = reads.membership(summary.group_id, caller).await?;
    if membership.is_none_or(|membership| may_see(&group, &membership).is_err()) {
        return Ok(None);
    }
    group_with_members(reads.as_ref(), &group, shared.opener.epoch()).await.map(Some)
}

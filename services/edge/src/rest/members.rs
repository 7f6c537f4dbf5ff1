//! Members: listed, added, removed, and what they may do.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use http::StatusCode;
use parley_domain::{Code, GroupId, Limits, Role, UserId};
use parley_readstore::MembershipRow;
use parley_wire::rest::{AddMembers, GroupBody, MemberBody, Members, SetRole, TransferOwnership};
use parley_wire::service::Wish;

use super::access::{full_users, group_id, seen, too_many_groups, user_ids};
use super::answer::{changed, member_body};
use super::extract::{Body, Caller, Path, Query};
use super::fault::Fault;
use super::page::{self, Page};
use crate::edge::Shared;
use crate::joins::Joining;

/// Members of the largest group whose members' cursors are shown.
const CURSORS_SHOWN_MAX: u32 = 200;

pub(super) async fn list(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path(group): Path<String>,
    Query(page): Query<Page>,
) -> Result<Json<Members>, Fault> {
    let (limit, after) = (page.limit()?, page.after::<UserId>()?);
    let seen = seen(&shared, group_id(&group)?, &caller).await?;
    let with_cursors = seen.group.member_count <= CURSORS_SHOWN_MAX;
    let mut rows = seen.reads.members(seen.group.group_id, after.as_ref(), limit + 1, with_cursors).await?;
    let next_cursor = page::cut(&mut rows, limit, |row| &row.user);
    let members = rows.iter().map(|row| if with_cursors { with_cursors_of(row) } else { member_body(row) });
    Ok(Json(Members { members: members.collect(), next_cursor }))
}

fn with_cursors_of(row: &MembershipRow) -> MemberBody {
    MemberBody { delivered_seq: Some(row.delivered), read_seq: Some(row.read), ..member_body(row) }
}

pub(super) async fn add(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path(group): Path<String>,
    Body(wish): Body<AddMembers>,
) -> Result<Json<GroupBody>, Fault> {
    if wish.user_ids.is_empty() || wish.user_ids.len() > Limits::MEMBERS_PER_CALL_MAX {
        let why = format!("user_ids must name 1 to {} users", Limits::MEMBERS_PER_CALL_MAX);
        return Err(Fault::bad_request(why));
    }
    let users = user_ids("user_ids", &wish.user_ids)?;
    let group_id = group_id(&group)?;
    let joining = shared.joins.begin(&users);
    refuse_full(&shared, &joining, &caller, group_id, &users).await?;
    change(&shared, &caller, group_id, Wish::AddMembers(users)).await
}

/// Refuses users who are in too many groups, unless they are in this one already, or the caller may not add anybody,
/// which is then what the owner of the group says.
async fn refuse_full(
    shared: &Shared,
    joining: &Joining<'_>,
    caller: &UserId,
    group_id: GroupId,
    users: &[UserId],
) -> Result<(), Fault> {
    let full = full_users(shared, joining, users).await?;
    if full.is_empty() {
        return Ok(());
    }
    let seen = seen(shared, group_id, caller).await?;
    if seen.membership.role == Role::Member {
        return Ok(());
    }
    for user in &full {
        let membership = seen.reads.membership(group_id, user).await?;
        if membership.is_none_or(|membership| membership.left.is_some()) {
            return Err(too_many_groups(user, shared.options.limits.user_groups));
        }
    }
    Ok(())
}

pub(super) async fn remove(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path((group, user)): Path<(String, String)>,
) -> Result<StatusCode, Fault> {
    let (group_id, user) = (group_id(&group)?, member(&user)?);
    shared.call(group_id, &caller, Wish::RemoveMember(user)).await?;
    Ok(StatusCode::NO_CONTENT)
}

pub(super) async fn transfer_ownership(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path(group): Path<String>,
    Body(wish): Body<TransferOwnership>,
) -> Result<Json<GroupBody>, Fault> {
    let user = UserId::parse(&wish.user_id);
    let user = user.map_err(|error| Fault::bad_request(format!("user_id: {error}")))?;
    change(&shared, &caller, group_id(&group)?, Wish::TransferOwnership(user)).await
}

pub(super) async fn set_role(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path((group, user)): Path<(String, String)>,
    Body(wish): Body<SetRole>,
) -> Result<Json<GroupBody>, Fault> {
    let role = match wish.role.as_str() {
        "admin" => Role::Admin,
        "member" => Role::Member,
        _ => {
            return Err(Fault::bad_request(
                "role must be admin or member: ownership is transferred (PUT …/owner)",
            ));
        }
    };
    change(&shared, &caller, group_id(&group)?, Wish::SetRole(member(&user)?, role)).await
}

async fn change(
    shared: &Shared,
    caller: &UserId,
    group_id: GroupId,
    wish: Wish,
) -> Result<Json<GroupBody>, Fault> {
    let reply = shared.call(group_id, caller, wish).await?;
    changed(shared, reply, caller).await
}

/// A user in a path.
fn member(text: &str) -> Result<UserId, Fault> {
    UserId::parse(text)
        .map_err(|_| Fault::new(Code::MemberNotFound, "the user that you name is not a member of this group"))
}

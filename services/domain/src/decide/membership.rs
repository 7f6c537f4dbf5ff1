//! Who is in a group, and as what.

use super::Access;
use super::lifecycle::{distinct, group_full};
use crate::event::Event;
use crate::group::Role;
use crate::ids::UserId;
use crate::limits::Limits;
use crate::rejection::{Code, Rejection};

pub(super) fn add(access: &Access<'_>, users: &[UserId]) -> Result<Option<Event>, Rejection> {
    access.need_admin("add members")?;
    if users.is_empty() || users.len() > Limits::MEMBERS_PER_CALL_MAX {
        return Err(Rejection::bad_request(format!(
            "user_ids must name 1 to {} users",
            Limits::MEMBERS_PER_CALL_MAX
        )));
    }
    let fresh = distinct(users.iter().filter(|user| access.group.member(user).is_none()));
    if fresh.is_empty() {
        return Ok(None);
    }
    let added = u32::try_from(fresh.len()).unwrap_or(u32::MAX);
    let member_count = access.group.member_count.saturating_add(added);
    if member_count > access.context.limits.group_members_max {
        return Err(group_full(access.context.limits.group_members_max));
    }
    Ok(Some(Event::MembersAdded { actor: access.context.actor.clone(), users: fresh, member_count }))
}

pub(super) fn remove(access: &Access<'_>, user: &UserId) -> Result<Option<Event>, Rejection> {
    let actor = &access.context.actor;
    if user == actor {
        if access.role() == Role::Owner {
            return Err(Rejection::new(
                Code::OwnerMustTransfer,
                "the owner can't leave: transfer the ownership first (PUT /v1/groups/{id}/owner), or dissolve the group",
            ));
        }
    } else {
        access.need_admin("remove members")?;
        let target = access.need_member(user)?;
        if access.role() == Role::Admin && target.role != Role::Member {
            return Err(Rejection::new(Code::Forbidden, "an admin can't remove the owner or another admin"));
        }
    }
    Ok(Some(Event::MembersRemoved {
        actor: actor.clone(),
        users: vec![user.clone()],
        member_count: access.group.member_count.saturating_sub(1),
    }))
}

pub(super) fn transfer(access: &Access<'_>, user: &UserId) -> Result<Option<Event>, Rejection> {
    access.need_owner("transfer the ownership")?;
    access.need_member(user)?;
    if *user == access.group.owner {
        return Ok(None);
    }
    Ok(Some(Event::OwnerTransferred { actor: access.context.actor.clone(), owner: user.clone() }))
}

pub(super) fn set_role(access: &Access<'_>, user: &UserId, role: Role) -> Result<Option<Event>, Rejection> {
    access.need_owner("change roles")?;
    let target = access.need_member(user)?;
    if role == Role::Owner || target.role == Role::Owner {
        return Err(Rejection::bad_request(
            "the owner's role changes only by a transfer of the ownership (PUT /v1/groups/{id}/owner)",
        ));
    }
    if target.role == role {
        return Ok(None);
    }
    Ok(Some(Event::RoleChanged { actor: access.context.actor.clone(), user: user.clone(), role }))
}

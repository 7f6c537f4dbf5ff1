//! A group begins, changes its name, ends.

use super::{Access, Context};
use crate::command::CreateGroup;
use crate::event::Event;
use crate::group::Group;
use crate::ids::UserId;
use crate::limits::Limits;
use crate::rejection::{Code, Rejection};

pub(super) fn create(
    group: Option<&Group>,
    wish: &CreateGroup,
    context: &Context,
) -> Result<Option<Event>, Rejection> {
    if let Some(group) = group {
        return repeat(group, wish, context).map(|()| None);
    }
    check_name(&wish.name)?;
    check_description(&wish.description)?;
    let members = distinct(std::iter::once(&context.actor).chain(&wish.members));
    if wish.members.len() > Limits::MEMBERS_PER_CALL_MAX {
        return Err(Rejection::bad_request(format!(
            "at most {} members can be named in one call: add the others with POST /v1/groups/{{id}}/members",
            Limits::MEMBERS_PER_CALL_MAX
        )));
    }
    if members.len() > context.limits.group_members_max as usize {
        return Err(group_full(context.limits.group_members_max));
    }
    Ok(Some(Event::GroupCreated {
        name: wish.name.clone(),
        description: wish.description.clone(),
        creator: context.actor.clone(),
        members,
        recipe: wish.recipe,
    }))
}

fn repeat(group: &Group, wish: &CreateGroup, context: &Context) -> Result<(), Rejection> {
    if group.creator != context.actor || group.recipe != wish.recipe {
        return Err(Rejection::new(
            Code::IdempotencyConflict,
            "a group with this id was created by another caller or with another body: use a fresh group_id or \
             Idempotency-Key",
        ));
    }
    if group.dissolved.is_some() {
        return Err(Rejection::group_dissolved());
    }
    Ok(())
}

pub(super) fn group_full(members_max: u32) -> Rejection {
    Rejection::new(Code::GroupFull, format!("a group holds at most {members_max} members"))
}

/// The users in order of first mention.
pub(super) fn distinct<'a>(users: impl Iterator<Item = &'a UserId>) -> Vec<UserId> {
    let mut seen = std::collections::HashSet::new();
    users.filter(|user| seen.insert(*user)).cloned().collect()
}

/// Whether a group may have this name.
///
/// # Errors
/// `bad_request`: it is blank, or has more than [`Limits::NAME_BYTES_MAX`] bytes.
pub fn check_name(name: &str) -> Result<(), Rejection> {
    if name.trim().is_empty() || name.len() > Limits::NAME_BYTES_MAX {
        return Err(Rejection::bad_request(format!(
            "name must not be blank, and have at most {} bytes",
            Limits::NAME_BYTES_MAX
        )));
    }
    Ok(())
}

fn check_description(description: &str) -> Result<(), Rejection> {
    if description.len() > Limits::DESCRIPTION_BYTES_MAX {
        return Err(Rejection::bad_request(format!(
            "description must have at most {} bytes",
            Limits::DESCRIPTION_BYTES_MAX
        )));
    }
    Ok(())
}

pub(super) fn update(
    access: &Access<'_>,
    name: Option<&str>,
    description: Option<&str>,
) -> Result<Option<Event>, Rejection> {
    access.need_admin("change it")?;
    let name = name.unwrap_or(&access.group.name);
    let description = description.unwrap_or(&access.group.description);
    check_name(name)?;
    check_description(description)?;
    if name == access.group.name && description == access.group.description {
        return Ok(None);
    }
    Ok(Some(Event::GroupUpdated {
        actor: access.context.actor.clone(),
        name: name.to_owned(),
        description: description.to_owned(),
    }))
}

pub(super) fn dissolve(access: &Access<'_>) -> Result<Option<Event>, Rejection> {
    access.need_owner("dissolve it")?;
    Ok(Some(Event::GroupDissolved { actor: access.context.actor.clone() }))
}

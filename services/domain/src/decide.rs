//! Whether a wish becomes a fact. One file a family of commands.

mod lifecycle;
mod membership;
mod message;

pub use lifecycle::check_name;

use std::sync::Arc;

use crate::command::{Command, Earlier};
use crate::event::{Event, Fact};
use crate::group::{Group, Membership, Role};
use crate::ids::{EventId, GroupId, UserId};
use crate::limits::Limits;
use crate::rejection::{Code, Rejection};
use crate::time::Timestamp;

/// What a decision may depend on beside the group: who asks, when, and the fresh id that an event would get.
#[derive(Debug, Clone)]
pub struct Context {
    /// The group that the command is about.
    pub group_id: GroupId,
    /// Who asks.
    pub actor: UserId,
    /// Now, by the owner's clock.
    pub now: Timestamp,
    /// The id of the event, and of the message if it is one.
    pub event_id: EventId,
    /// Limits in force.
    pub limits: Limits,
}

/// What comes of a command that wasn't refused.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// This is to be appended; nothing holds before it is durable. Shared, since the log keeps it for its readers.
    Append(Arc<Fact>),
    /// It is so already: nothing to append.
    Unchanged,
    /// The message was accepted before.
    Repeat(Earlier),
}

/// Decides a command on a group (`None`: there is no group with this id).
///
/// # Errors
/// A [`Rejection`] with the code of the contract and what to do about it.
pub fn decide(group: Option<&Group>, command: &Command, context: &Context) -> Result<Decision, Rejection> {
    let event = match command {
        Command::Create(wish) => lifecycle::create(group, wish, context)?,
        Command::Send(wish) => return message::send(group, wish, context),
        Command::RollBack { message_id, message_seq, sender, reason } => {
            message::roll_back(group, *message_id, *message_seq, sender, *reason)?
        }
        Command::Update { name, description } => {
            lifecycle::update(&access(group, context)?, name.as_deref(), description.as_deref())?
        }
        Command::Dissolve => lifecycle::dissolve(&access(group, context)?)?,
        Command::AddMembers { users } => membership::add(&access(group, context)?, users)?,
        Command::RemoveMember { user } => membership::remove(&access(group, context)?, user)?,
        Command::TransferOwnership { user } => membership::transfer(&access(group, context)?, user)?,
        Command::SetRole { user, role } => membership::set_role(&access(group, context)?, user, *role)?,
    };
    Ok(event.map_or(Decision::Unchanged, |event| append(group, context, event)))
}

fn append(group: Option<&Group>, context: &Context, event: Event) -> Decision {
    let (head, messages) = group.map_or((0, 0), |group| (group.head, group.message_count));
    let is_message = matches!(event, Event::MessageSent(_));
    Decision::Append(Arc::new(Fact {
        group_id: context.group_id,
        seq: head + 1,
        event_id: context.event_id,
        at: context.now,
        message_count: messages + u64::from(is_message),
        event,
    }))
}

/// A member who asks something of a living group.
struct Access<'a> {
    group: &'a Group,
    context: &'a Context,
    membership: &'a Membership,
}

impl Access<'_> {
    fn role(&self) -> Role {
        self.membership.role
    }

    fn need_owner(&self, what: &str) -> Result<(), Rejection> {
        match self.role() {
            Role::Owner => Ok(()),
            Role::Admin | Role::Member => {
                Err(Rejection::new(Code::Forbidden, format!("only the owner of the group may {what}")))
            }
        }
    }

    fn need_admin(&self, what: &str) -> Result<(), Rejection> {
        match self.role() {
            Role::Owner | Role::Admin => Ok(()),
            Role::Member => Err(Rejection::new(
                Code::Forbidden,
                format!("only the owner and admins of the group may {what}"),
            )),
        }
    }

    fn need_member(&self, user: &UserId) -> Result<&Membership, Rejection> {
        self.group.member(user).ok_or_else(|| {
            Rejection::new(Code::MemberNotFound, "the user that you name is not a member of this group")
        })
    }
}

fn access<'a>(group: Option<&'a Group>, context: &'a Context) -> Result<Access<'a>, Rejection> {
    let group = group.ok_or_else(Rejection::group_not_found)?;
    let membership = group.members.get(&context.actor).ok_or_else(Rejection::not_a_member)?;
    if group.dissolved.is_some() {
        return Err(Rejection::group_dissolved());
    }
    if !membership.is_current() {
        return Err(Rejection::not_a_member());
    }
    Ok(Access { group, context, membership })
}

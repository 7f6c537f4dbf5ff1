//! `group_event`: what happens to a group other than messages.

use parley_domain::{Event, Fact, Position, RollbackReason, Seq, UserId};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::outgoing::{PositionBody, role_name};
use crate::documents::shapes::open_kinds;
use crate::documents::values::{RoleText, RollBackReason, Time, UserIdText};
use crate::time;

/// `group_event`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct GroupEventBody {
    pub group_id: Uuid,
    pub seq: Seq,
    pub epoch: Uuid,
    pub position: PositionBody,
    #[schemars(with = "Time")]
    pub created_at: String,
    #[schemars(with = "UserIdText")]
    pub actor: String,
    #[serde(flatten)]
    pub kind: KindBody,
}

/// The kinds of `group_event` with their fields.
#[derive(Debug, Serialize, JsonSchema)]
#[serde(tag = "kind", rename_all = "snake_case")]
#[schemars(transform = open_kinds)]
#[allow(missing_docs, reason = "as the contract names them")]
pub enum KindBody {
    GroupCreated,
    MemberAdded {
        count: usize,
        #[schemars(with = "Vec<UserIdText>", length(max = NAMED_USERS_MAX))]
        user_ids: Vec<String>,
    },
    MemberRemoved {
        count: usize,
        #[schemars(with = "Vec<UserIdText>", length(max = NAMED_USERS_MAX))]
        user_ids: Vec<String>,
    },
    RoleChanged {
        #[schemars(with = "UserIdText")]
        user_id: String,
        #[schemars(with = "RoleText")]
        role: &'static str,
    },
    OwnerTransferred {
        #[schemars(with = "UserIdText")]
        owner: String,
    },
    GroupUpdated {
        name: String,
        description: String,
    },
    GroupDissolved,
    MessageRolledBack {
        message_id: Uuid,
        #[schemars(with = "RollBackReason")]
        reason: &'static str,
    },
}

/// A roll-back's reason as it is written.
#[must_use]
pub fn rollback_name(reason: RollbackReason) -> &'static str {
    match reason {
        RollbackReason::MediaMissing => "media_missing",
        RollbackReason::Unprojectable => "unprojectable",
    }
}

/// Users that a `group_event` names at most.
const NAMED_USERS_MAX: usize = 100;

fn named(users: &[UserId]) -> Vec<String> {
    users.iter().take(NAMED_USERS_MAX).map(ToString::to_string).collect()
}

impl GroupEventBody {
    /// A group event. `None` if the fact is a message.
    #[must_use]
    pub fn new(fact: &Fact, epoch: Uuid, position: Position) -> Option<Self> {
        let (actor, kind) = match &fact.event {
            Event::MessageSent(_) => return None,
            Event::GroupCreated { creator, .. } => (creator, KindBody::GroupCreated),
            Event::MembersAdded { actor, users, .. } => {
                (actor, KindBody::MemberAdded { count: users.len(), user_ids: named(users) })
            }
            Event::MembersRemoved { actor, users, .. } => {
                (actor, KindBody::MemberRemoved { count: users.len(), user_ids: named(users) })
            }
            Event::RoleChanged { actor, user, role } => {
                (actor, KindBody::RoleChanged { user_id: user.to_string(), role: role_name(*role) })
            }
            Event::OwnerTransferred { actor, owner } => {
                (actor, KindBody::OwnerTransferred { owner: owner.to_string() })
            }
            Event::GroupUpdated { actor, name, description } => {
                (actor, KindBody::GroupUpdated { name: name.clone(), description: description.clone() })
            }
            Event::GroupDissolved { actor } => (actor, KindBody::GroupDissolved),
            Event::MessageRolledBack { message_id, sender, reason, .. } => {
                let reason = rollback_name(*reason);
                (sender, KindBody::MessageRolledBack { message_id: message_id.0, reason })
            }
        };
        Some(Self {
            group_id: fact.group_id.0,
            seq: fact.seq,
            epoch,
            position: position.into(),
            created_at: time::format(fact.at),
            actor: actor.to_string(),
            kind,
        })
    }
}

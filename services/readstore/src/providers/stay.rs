//! Memberships, folded from their steps. The rules are those of `parley_domain::Group`, and the same for every provider.

use bincode::{BorrowDecode, Encode};
use parley_domain::{MembershipChange, NotificationKind, Role, Seq, Timestamp, UserId};

use crate::{Error, MembershipRow};

/// A step of a membership, with its time.
#[derive(Debug, Clone, PartialEq, Eq, Encode, BorrowDecode)]
pub(super) enum Step<'a> {
    Joined { at: i64, role: u8, by: &'a str, kind: u8 },
    Role { at: i64, role: u8 },
    Left { at: i64 },
}

impl<'a> Step<'a> {
    /// The step that a change is.
    pub(super) fn of(at: Timestamp, change: &'a MembershipChange) -> Self {
        let at = at.as_millis();
        match change {
            MembershipChange::Joined { role, by, kind } => {
                Self::Joined { at, role: encode_role(*role), by: by.as_str(), kind: encode_kind(*kind) }
            }
            MembershipChange::Role(role) => Self::Role { at, role: encode_role(*role) },
            MembershipChange::Left => Self::Left { at },
        }
    }
}

/// A user's last stay in a group, and the role there.
#[derive(Debug, Clone)]
pub(super) struct LastStay {
    role: Role,
    pub(super) joined: Seq,
    joined_at: Timestamp,
    added_by: UserId,
    kind: NotificationKind,
    pub(super) left: Option<Seq>,
}

impl LastStay {
    /// Folds one more step, in rising order of `seq`.
    pub(super) fn fold(slot: &mut Option<Self>, seq: Seq, step: Step<'_>) -> Result<(), Error> {
        let is_member = slot.as_ref().is_some_and(Self::is_current);
        match (step, slot) {
            (Step::Joined { at, role, by, kind }, slot) => {
                if !is_member {
                    *slot = Some(Self {
                        role: decode_role(role)?,
                        joined: seq,
                        joined_at: Timestamp(at),
                        added_by: parse_user(by)?,
                        kind: decode_kind(kind)?,
                        left: None,
                    });
                }
            }
            (Step::Role { role, .. }, Some(stay)) => stay.role = decode_role(role)?,
            (Step::Left { .. }, Some(stay)) if is_member => stay.left = Some(seq),
            // Steps of who never joined: the fact that they follow isn't projected yet.
            (Step::Role { .. } | Step::Left { .. }, _) => {}
        }
        Ok(())
    }

    /// The stay as the port has it, both cursors at the joining event.
    pub(super) fn without_cursors(self, user: UserId) -> MembershipRow {
        let Self { role, joined, joined_at, added_by, kind, left } = self;
        MembershipRow { user, role, joined, joined_at, added_by, kind, left, delivered: joined, read: joined }
    }

    pub(super) fn is_current(&self) -> bool {
        self.left.is_none()
    }

    /// Whether the user made the group and so needs no telling of it.
    pub(super) fn is_creation_of(&self, user: &UserId) -> bool {
        self.kind == NotificationKind::Created && self.added_by == *user
    }
}

/// Finds the stay in which a member was when something happened, from the same steps, in one pass and without making
/// anything on the heap.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct StayAt {
    seq: Seq,
    open: Option<Seq>,
    found: Option<Seq>,
}

impl StayAt {
    pub(super) fn new(seq: Seq) -> Self {
        Self { seq, ..Self::default() }
    }

    /// Folds one more step, in rising order of `seq`.
    pub(super) fn fold(&mut self, seq: Seq, step: &Step<'_>) {
        match (step, self.open) {
            (Step::Joined { .. }, None) => self.open = Some(seq),
            (Step::Left { .. }, Some(joined)) => {
                self.open = None;
                if joined < self.seq && self.seq < seq {
                    self.found = Some(seq);
                }
            }
            (Step::Joined { .. } | Step::Left { .. } | Step::Role { .. }, _) => {}
        }
    }

    /// The last `seq` of the stay (`Seq::MAX` if it lasts), if there was one.
    pub(super) fn end(self) -> Option<Seq> {
        let open = self.open.filter(|joined| *joined < self.seq).map(|_| Seq::MAX);
        open.or(self.found)
    }
}

/// A user id as it was stored.
pub(super) fn parse_user(text: &str) -> Result<UserId, Error> {
    UserId::parse(text).map_err(|_| Error::Damaged("a user id"))
}

/// A role as a number.
pub(super) fn encode_role(role: Role) -> u8 {
    match role {
        Role::Owner => 0,
        Role::Admin => 1,
        Role::Member => 2,
    }
}

/// A role from its number.
pub(super) fn decode_role(role: u8) -> Result<Role, Error> {
    match role {
        0 => Ok(Role::Owner),
        1 => Ok(Role::Admin),
        2 => Ok(Role::Member),
        _ => Err(Error::Damaged("a role")),
    }
}

/// A kind as a number.
pub(super) fn encode_kind(kind: NotificationKind) -> u8 {
    match kind {
        NotificationKind::Created => 0,
        NotificationKind::Added => 1,
    }
}

/// A kind from its number.
pub(super) fn decode_kind(kind: u8) -> Result<NotificationKind, Error> {
    match kind {
        0 => Ok(NotificationKind::Created),
        1 => Ok(NotificationKind::Added),
        _ => Err(Error::Damaged("a kind of notification")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_stand_for_what_they_stood_for() {
        for role in [Role::Owner, Role::Admin, Role::Member] {
            assert_eq!(decode_role(encode_role(role)).unwrap(), role);
        }
        for kind in [NotificationKind::Created, NotificationKind::Added] {
            assert_eq!(decode_kind(encode_kind(kind)).unwrap(), kind);
        }
        assert!(decode_role(3).is_err() && decode_kind(2).is_err());
    }
}

//! Memberships, folded from their steps. The rules are those of `parley_domain::Group`.

use parley_domain::{GroupId, NotificationKind, Role, Seq, Timestamp, UserId};

use super::codec::{Step, decode, decode_kind, decode_role};
use super::engine::View;
use super::keys::{DELIVERED, Key, READ, Table, last_seq, parse_user};
use crate::{Error, MembershipRow};

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
    pub(super) fn fold(slot: &mut Option<Self>, seq: Seq, value: &[u8]) -> Result<(), Error> {
        let is_member = slot.as_ref().is_some_and(Self::is_current);
        match (decode(value)?, slot) {
            (Step::Joined { at, role, by, kind }, slot) => {
                if !is_member {
                    *slot = Some(Self {
                        role: decode_role(role)?,
                        joined: seq,
                        joined_at: Timestamp(at),
                        added_by: parse_user(by.as_bytes())?,
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
    pub(super) fn fold(&mut self, seq: Seq, value: &[u8]) -> Result<(), Error> {
        match (decode(value)?, self.open) {
            (Step::Joined { .. }, None) => self.open = Some(seq),
            (Step::Left { .. }, Some(joined)) => {
                self.open = None;
                if joined < self.seq && self.seq < seq {
                    self.found = Some(seq);
                }
            }
            (Step::Joined { .. } | Step::Left { .. } | Step::Role { .. }, _) => {}
        }
        Ok(())
    }

    /// The last `seq` of the stay (`Seq::MAX` if it lasts), if there was one.
    pub(super) fn end(self) -> Option<Seq> {
        let open = self.open.filter(|joined| *joined < self.seq).map(|_| Seq::MAX);
        open.or(self.found)
    }
}

impl View {
    /// A user's last stay in a group.
    pub(super) fn last_stay(&self, group: GroupId, user: &UserId) -> Result<Option<LastStay>, Error> {
        let mut stay = None;
        let mut steps = self.prefix(Key::of(Table::Members).group(group).user(user))?;
        while let Some((key, value)) = steps.take()? {
            LastStay::fold(&mut stay, last_seq(&key)?, &value)?;
        }
        Ok(stay)
    }

    /// A stay as the port has it, with its cursors.
    pub(super) fn membership_row(
        &self,
        group: GroupId,
        user: UserId,
        stay: LastStay,
    ) -> Result<MembershipRow, Error> {
        let read = self.last_cursor(group, &user, READ, &stay)?;
        let delivered = self.last_cursor(group, &user, DELIVERED, &stay)?.max(read);
        Ok(MembershipRow { delivered, read, ..stay.without_cursors(user) })
    }

    /// The last step of a cursor within a stay; the joining, if there is none.
    fn last_cursor(&self, group: GroupId, user: &UserId, tag: u8, stay: &LastStay) -> Result<Seq, Error> {
        let steps = Key::of(Table::Cursors).group(group).user(user).tag(tag);
        let to = steps.clone().seq(stay.left.unwrap_or(Seq::MAX));
        let last = self.last(&steps.seq(stay.joined), &to)?;
        last.map_or(Ok(stay.joined), |(key, _)| last_seq(&key))
    }
}

//! A user's membership of a group.

use parley_domain::{GroupId, Seq, UserId};

use super::codec::decode;
use super::engine::View;
use super::keys::{DELIVERED, Key, READ, Table, last_seq};
use crate::providers::stay::LastStay;
use crate::{Error, MembershipRow};

impl View {
    /// A user's last stay in a group.
    pub(super) fn last_stay(&self, group: GroupId, user: &UserId) -> Result<Option<LastStay>, Error> {
        let mut stay = None;
        let mut steps = self.prefix(Key::in_group(Table::Members, group).user(user))?;
        while let Some((key, value)) = steps.take()? {
            LastStay::fold(&mut stay, last_seq(&key)?, decode(&value)?)?;
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
        let steps = Key::in_group(Table::Cursors, group).user(user).tag(tag);
        let to = steps.clone().seq(stay.left.unwrap_or(Seq::MAX));
        let last = self.last(&steps.seq(stay.joined), to)?;
        last.map_or(Ok(stay.joined), |(key, _)| last_seq(&key))
    }
}

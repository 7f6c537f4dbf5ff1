//! Groups and people.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use parley_domain::{GroupId, ProfileChanged, Seq, Timestamp, UserId};
use scylla::value::CqlTimestamp;

use super::model::CassandraModel;
use super::steps::{self, Cells};
use super::value::{number, present, time};
use crate::providers::stay::{LastStay, parse_user};
use crate::{Error, GroupRow, MembershipRow, UserGroupRow};

/// Rows of a user that are read at once.
const PAGE_ROWS: usize = 500;
/// A user's groups that are looked up at once; each takes some requests.
const GROUPS_AT_ONCE: usize = 32;

/// A group's last event that all rows are there of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Head {
    pub(super) seq: Seq,
    pub(super) message_count: u64,
}

/// Where a member's cursors stand; 0 before the first step.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Cursors {
    pub(super) delivered: Seq,
    pub(super) read: Seq,
}

/// A row of cursors.
pub(super) type CursorRow = (String, Option<i64>, Option<i64>);

impl Cursors {
    pub(super) fn of((_, delivered, read): &CursorRow) -> Result<Self, Error> {
        let cell = |cell: &Option<i64>| cell.map_or(Ok(0), number);
        Ok(Self { delivered: cell(delivered)?, read: cell(read)? })
    }
}

impl LastStay {
    /// A stay as the port has it, with its cursors. They only grow, and a stay begins behind all that was acknowledged
    /// in an earlier one.
    pub(super) fn with_cursors(self, user: UserId, cursors: Cursors) -> MembershipRow {
        let (joined, last) = (self.joined, self.left.unwrap_or(Seq::MAX));
        let within = |value: Seq| value.min(last).max(joined);
        let read = within(cursors.read);
        let delivered = within(cursors.delivered).max(read);
        MembershipRow { delivered, read, ..self.without_cursors(user) }
    }
}

/// A row of a user: group, whether it is of a notification, place, step.
type UserRow = (Vec<u8>, bool, i64, Option<i8>, Option<CqlTimestamp>, Option<i8>, Option<String>, Option<i8>);

/// A group in which a user is or was, as far as the user's own rows tell.
struct UserGroup {
    group: GroupId,
    stay: LastStay,
    notified: bool,
}

/// The rows of one group being folded.
struct Folding {
    group: GroupId,
    stay: Option<LastStay>,
    notified_of: Option<Seq>,
}

impl Folding {
    fn add(&mut self, row: UserRow) -> Result<(), Error> {
        let (_, notified, seq, step, at, role, by, kind) = row;
        let seq = number(seq)?;
        if notified {
            // In rising order, so the last one is the one that may concern the last stay.
            self.notified_of = Some(seq);
            return Ok(());
        }
        let cells: Cells = (step, at, role, by, kind);
        LastStay::fold(&mut self.stay, seq, steps::step(&cells)?)
    }

    /// `None` where the user never was a member as far as is known: the acknowledgement may be projected before the
    /// joining.
    fn end(self, user: &UserId) -> Option<UserGroup> {
        let stay = self.stay?;
        let notified = self.notified_of == Some(stay.joined) || stay.is_creation_of(user);
        Some(UserGroup { group: self.group, stay, notified })
    }
}

fn group_id(bytes: &[u8]) -> Result<GroupId, Error> {
    GroupId::from_slice(bytes).ok_or(Error::Damaged("a group's id"))
}

type GroupCells = (
    Option<String>,
    Option<CqlTimestamp>,
    Option<String>,
    Option<String>,
    Option<String>,
    Option<i32>,
    Option<CqlTimestamp>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
    Option<i64>,
);

impl CassandraModel {
    pub(super) async fn group_row(&self, group: GroupId) -> Result<Option<GroupRow>, Error> {
        let row = self.cluster().first::<GroupCells>(&self.statements().group, (group.0,)).await?;
        let Some((creator, created, name, description, owner, members, updated, head, count, last, end)) =
            row
        else {
            return Ok(None);
        };
        // The cells come with the facts that they are of; without the first ones there is no group yet.
        let (Some(creator), Some(name), Some(owner), Some(head)) = (creator, name, owner, head) else {
            return Ok(None);
        };
        let created_at = time(created)?;
        Ok(Some(GroupRow {
            group_id: group,
            name,
            description: present(description)?,
            owner: parse_user(&owner)?,
            creator: parse_user(&creator)?,
            created_at,
            updated_at: updated.map_or(created_at, |at| Timestamp(at.0)),
            member_count: u32::try_from(members.unwrap_or(0)).map_err(|_| Error::Damaged("a count"))?,
            head: number(head)?,
            message_count: number(present(count)?)?,
            last_message: last.map(number).transpose()?,
            dissolved: end.map(number).transpose()?,
        }))
    }

    /// A group's head, and the event that dissolved it.
    pub(super) async fn head_and_end(&self, group: GroupId) -> Result<(Option<Head>, Option<Seq>), Error> {
        type Row = (Option<i64>, Option<i64>, Option<i64>);
        let row = self.cluster().first::<Row>(&self.statements().head, (group.0,)).await?;
        let Some((seq, count, dissolved)) = row else { return Ok((None, None)) };
        let head = match seq {
            Some(seq) => Some(Head { seq: number(seq)?, message_count: number(present(count)?)? }),
            None => None,
        };
        Ok((head, dissolved.map(number).transpose()?))
    }

    /// A group's head.
    pub(super) async fn head(&self, group: GroupId) -> Result<Option<Head>, Error> {
        Ok(self.head_and_end(group).await?.0)
    }

    /// Where a member's cursors stand.
    async fn cursors(&self, group: GroupId, user: &UserId) -> Result<Cursors, Error> {
        let values = (group.0, user.as_str());
        let row = self.cluster().first::<CursorRow>(&self.statements().cursor, values).await?;
        row.as_ref().map_or(Ok(Cursors::default()), Cursors::of)
    }

    pub(super) async fn membership_of(
        &self,
        group: GroupId,
        user: &UserId,
    ) -> Result<Option<MembershipRow>, Error> {
        let (found, cursors) = futures::try_join!(self.user_group(user, group), self.cursors(group, user))?;
        Ok(found.map(|found| found.stay.with_cursors(user.clone(), cursors)))
    }

    pub(super) async fn group_of(
        &self,
        user: &UserId,
        group: GroupId,
    ) -> Result<Option<UserGroupRow>, Error> {
        match self.user_group(user, group).await? {
            Some(found) => self.user_group_row(user, found).await.map(Some),
            None => Ok(None),
        }
    }

    pub(super) async fn groups_of(
        &self,
        user: &UserId,
        after: Option<GroupId>,
        limit: usize,
    ) -> Result<Vec<UserGroupRow>, Error> {
        let found = self.list_groups(user, after, limit).await?;
        stream::iter(found)
            .map(|found| self.user_group_row(user, found))
            .buffered(GROUPS_AT_ONCE)
            .try_collect()
            .await
    }

    pub(super) async fn is_in_groups_now(&self, user: &UserId, at_least: usize) -> Result<bool, Error> {
        let found = self.list_groups(user, None, usize::MAX).await?;
        let present = found.into_iter().filter(|found| found.stay.is_current()).map(|found| found.group);
        let present: Vec<GroupId> = present.collect();
        // Of each group a row of its own would have to be read.
        if present.len() < at_least {
            return Ok(false);
        }
        let mut ends = stream::iter(present)
            .map(|group| self.head_and_end(group))
            .buffer_unordered(self.in_flight_max());
        let mut living = 0;
        while living < at_least
            && let Some((_, dissolved)) = ends.try_next().await?
        {
            // Nobody is in a group that is no more.
            living += usize::from(dissolved.is_none());
        }
        Ok(living >= at_least)
    }

    pub(super) async fn profile_of(&self, user: &UserId) -> Result<Option<ProfileChanged>, Error> {
        type Row = (Option<String>, Option<bool>, Option<String>, Option<CqlTimestamp>);
        let row = self.cluster().first::<Row>(&self.statements().profile, (user.as_str(),)).await?;
        let Some((display_name, has_avatar, avatar_url, at)) = row else { return Ok(None) };
        Ok(Some(ProfileChanged {
            user: user.clone(),
            display_name: present(display_name)?,
            avatar_url: avatar_url.filter(|_| has_avatar == Some(true)),
            at: time(at)?,
        }))
    }

    async fn user_group(&self, user: &UserId, group: GroupId) -> Result<Option<UserGroup>, Error> {
        let values = (user.as_str(), group.as_bytes().as_slice());
        let rows = self.cluster().rows::<UserRow>(&self.statements().user_group_steps, values).await?;
        let mut folding = Folding { group, stay: None, notified_of: None };
        rows.into_iter().try_for_each(|row| folding.add(row))?;
        Ok(folding.end(user))
    }

    /// A user's groups after one, in order, at most `limit`.
    async fn list_groups(
        &self,
        user: &UserId,
        after: Option<GroupId>,
        limit: usize,
    ) -> Result<Vec<UserGroup>, Error> {
        // Behind all rows of `after`, or before all rows.
        let mut from =
            after.map_or((Vec::new(), false, 0), |after| (after.as_bytes().to_vec(), true, i64::MAX));
        let page = limit.saturating_add(1).min(PAGE_ROWS);
        let mut groups = Vec::new();
        let mut folding: Option<Folding> = None;
        loop {
            let values = (user.as_str(), from.0.as_slice(), from.1, from.2, limit_of(page));
            let rows = self.cluster().rows::<UserRow>(&self.statements().user_steps, values).await?;
            let is_last = rows.len() < page;
            for row in rows {
                if folding.as_ref().is_none_or(|folding| folding.group.as_bytes() != row.0.as_slice()) {
                    let next = Folding { group: group_id(&row.0)?, stay: None, notified_of: None };
                    groups.extend(folding.replace(next).and_then(|done| done.end(user)));
                    if groups.len() >= limit {
                        groups.truncate(limit);
                        return Ok(groups);
                    }
                }
                from = (row.0.clone(), row.1, row.2);
                if let Some(folding) = &mut folding {
                    folding.add(row)?;
                }
            }
            if is_last {
                groups.extend(folding.and_then(|done| done.end(user)));
                groups.truncate(limit);
                return Ok(groups);
            }
        }
    }

    async fn user_group_row(&self, user: &UserId, found: UserGroup) -> Result<UserGroupRow, Error> {
        let UserGroup { group, stay, notified } = found;
        let (cursors, (head, dissolved)) =
            futures::try_join!(self.cursors(group, user), self.head_and_end(group))?;
        let membership = stay.with_cursors(user.clone(), cursors);
        let head = head.unwrap_or(Head { seq: membership.joined, message_count: 0 });
        let unread = match membership.left {
            None => self.unread(group, user, membership.read, head).await?,
            Some(_) => 0,
        };
        Ok(UserGroupRow { group_id: group, membership, notified, head: head.seq, dissolved, unread })
    }
}

/// A limit as CQL has it.
pub(super) fn limit_of(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

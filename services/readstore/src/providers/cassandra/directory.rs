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

/// The rows that a user has of a group in which the user is or was. They are written before the group's head, so which of them
/// count is known only with that.
struct UserGroup {
    group: GroupId,
    steps: Vec<(Seq, Cells)>,
    notified_of: Option<Seq>,
}

impl UserGroup {
    fn new(group: GroupId) -> Self {
        Self { group, steps: Vec::new(), notified_of: None }
    }

    fn add(&mut self, row: UserRow) -> Result<(), Error> {
        let (_, notified, seq, step, at, role, by, kind) = row;
        let seq = number(seq)?;
        if notified {
            // In rising order, so the last one is the one that may concern the last stay.
            self.notified_of = Some(seq);
        } else {
            self.steps.push((seq, (step, at, role, by, kind)));
        }
        Ok(())
    }

    /// The last stay as it was at an event.
    fn stay_at(&self, head: Seq) -> Result<Option<LastStay>, Error> {
        let mut stay = None;
        for (seq, cells) in self.steps.iter().take_while(|(seq, _)| *seq <= head) {
            LastStay::fold(&mut stay, *seq, steps::step(cells)?)?;
        }
        Ok(stay)
    }

    fn is_notified_of(&self, stay: &LastStay, user: &UserId) -> bool {
        self.notified_of == Some(stay.joined) || stay.is_creation_of(user)
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
        // The head first: up to there all steps are to be read.
        let Some(head) = self.head(group).await? else { return Ok(None) };
        let (found, cursors) = futures::try_join!(self.user_group(user, group), self.cursors(group, user))?;
        Ok(found.stay_at(head.seq)?.map(|stay| stay.with_cursors(user.clone(), cursors)))
    }

    pub(super) async fn group_of(
        &self,
        user: &UserId,
        group: GroupId,
    ) -> Result<Option<UserGroupRow>, Error> {
        let (Some(head), dissolved) = self.head_and_end(group).await? else { return Ok(None) };
        let (found, cursors) = futures::try_join!(self.user_group(user, group), self.cursors(group, user))?;
        self.user_group_row(user, found, cursors, head, dissolved).await
    }

    pub(super) async fn groups_of(
        &self,
        user: &UserId,
        after: Option<GroupId>,
        limit: usize,
    ) -> Result<Vec<UserGroupRow>, Error> {
        let (mut rows, mut after) = (Vec::new(), after);
        while rows.len() < limit {
            let wanted = limit - rows.len();
            let found = self.list_groups(user, after, wanted).await?;
            let is_last = found.len() < wanted;
            after = found.last().map(|found| found.group).or(after);
            let shown: Vec<Option<UserGroupRow>> = stream::iter(found)
                .map(|found| self.listed_group_row(user, found))
                .buffered(GROUPS_AT_ONCE)
                .try_collect()
                .await?;
            rows.extend(shown.into_iter().flatten());
            if is_last {
                break;
            }
        }
        Ok(rows)
    }

    pub(super) async fn is_in_groups_now(&self, user: &UserId, at_least: usize) -> Result<bool, Error> {
        // What lies beyond a group's head isn't shown yet, but it is in the log, and so it counts.
        let mut present = Vec::new();
        for found in self.list_groups(user, None, usize::MAX).await? {
            if found.stay_at(Seq::MAX)?.is_some_and(|stay| stay.is_current()) {
                present.push(found.group);
            }
        }
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

    async fn user_group(&self, user: &UserId, group: GroupId) -> Result<UserGroup, Error> {
        let values = (user.as_str(), group.as_bytes().as_slice());
        let rows = self.cluster().rows::<UserRow>(&self.statements().user_group_steps, values).await?;
        let mut found = UserGroup::new(group);
        rows.into_iter().try_for_each(|row| found.add(row))?;
        Ok(found)
    }

    /// A user's groups after one, in order, at most `limit`: also those of which nothing is shown yet.
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
        let mut groups: Vec<UserGroup> = Vec::new();
        loop {
            let values = (user.as_str(), from.0.as_slice(), from.1, from.2, limit_of(page));
            let rows = self.cluster().rows::<UserRow>(&self.statements().user_steps, values).await?;
            let is_last = rows.len() < page;
            for row in rows {
                from = (row.0.clone(), row.1, row.2);
                let group = group_id(&row.0)?;
                if groups.last().is_none_or(|last| last.group != group) {
                    if groups.len() >= limit {
                        return Ok(groups);
                    }
                    groups.push(UserGroup::new(group));
                }
                if let Some(last) = groups.last_mut() {
                    last.add(row)?;
                }
            }
            if is_last {
                return Ok(groups);
            }
        }
    }

    /// The head is read behind the steps here: it may be a later one, but what there was when this was called is in both.
    async fn listed_group_row(&self, user: &UserId, found: UserGroup) -> Result<Option<UserGroupRow>, Error> {
        let (cursors, (head, dissolved)) =
            futures::try_join!(self.cursors(found.group, user), self.head_and_end(found.group))?;
        match head {
            Some(head) => self.user_group_row(user, found, cursors, head, dissolved).await,
            None => Ok(None),
        }
    }

    /// `None` where the user never was a member up to the head: an acknowledgement may be projected before the joining.
    async fn user_group_row(
        &self,
        user: &UserId,
        found: UserGroup,
        cursors: Cursors,
        head: Head,
        dissolved: Option<Seq>,
    ) -> Result<Option<UserGroupRow>, Error> {
        let group_id = found.group;
        let Some(stay) = found.stay_at(head.seq)? else { return Ok(None) };
        let notified = found.is_notified_of(&stay, user);
        let membership = stay.with_cursors(user.clone(), cursors);
        let unread = match membership.left {
            None => self.unread(group_id, user, membership.read, head).await?,
            Some(_) => 0,
        };
        Ok(Some(UserGroupRow { group_id, membership, notified, head: head.seq, dissolved, unread }))
    }
}

/// A limit as CQL has it.
pub(super) fn limit_of(limit: usize) -> i32 {
    i32::try_from(limit).unwrap_or(i32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_lies_beyond_the_head_is_not_shown() {
        let (ann, bob) = (UserId::parse("ann").unwrap(), UserId::parse("bob").unwrap());
        let at = Some(CqlTimestamp(1));
        let joined = (Some(1), at, Some(2), Some("ann".to_owned()), Some(1));
        let left = (Some(3), at, None, None, None);
        let row = |seq, notified, cells: &Cells| {
            let (step, at, role, by, kind) = cells.clone();
            (vec![1; 16], notified, seq, step, at, role, by, kind)
        };
        let mut found = UserGroup::new(GroupId::from_bytes([1; 16]));
        for (seq, cells) in [(3, &joined), (7, &left), (9, &joined)] {
            found.add(row(seq, false, cells)).unwrap();
        }
        found.add(row(9, true, &(None, None, None, None, None))).unwrap();
        let shown = |head| found.stay_at(head).unwrap().map(|stay| (stay.joined, stay.left));
        assert_eq!(shown(2), None, "bob isn't in it yet");
        assert_eq!((shown(3), shown(6)), (Some((3, None)), Some((3, None))));
        assert_eq!((shown(7), shown(8)), (Some((3, Some(7))), Some((3, Some(7)))));
        assert_eq!(shown(9), Some((9, None)));
        let notified = |head| found.is_notified_of(&found.stay_at(head).unwrap().unwrap(), &bob);
        assert_eq!((notified(6), notified(9)), (false, true));
        assert!(!found.is_notified_of(&found.stay_at(6).unwrap().unwrap(), &ann), "added, not created");
    }
}

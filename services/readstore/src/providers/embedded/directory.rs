//! Groups and people.

use parley_domain::{GroupId, ProfileChanged, Seq, Timestamp, UserId};

use super::codec::{Cell, DISSOLVED, Profile, decode, decode_event};
use super::engine::View;
use super::keys::{Key, MEMBERSHIP, NOTIFIED, Table, last_seq, member_key, parse_user, user_group_key};
use super::scan::Scan;
use crate::providers::stay::LastStay;
use crate::{Error, GroupRow, MembershipRow, UserGroupRow};

/// The cells of a group that are there.
#[derive(Default)]
struct Cells {
    origin: Option<(UserId, Timestamp)>,
    description: Option<(String, String)>,
    owner: Option<UserId>,
    member_count: u32,
    updated_at: Option<Timestamp>,
    dissolved: Option<Seq>,
}

impl Cells {
    fn set(&mut self, cell: Cell<'_>) -> Result<(), Error> {
        match cell {
            Cell::Origin { creator, created_at } => {
                self.origin = Some((parse_user(creator.as_bytes())?, Timestamp(created_at)));
            }
            Cell::Description { name, description } => {
                self.description = Some((name.to_owned(), description.to_owned()));
            }
            Cell::Owner { owner } => self.owner = Some(parse_user(owner.as_bytes())?),
            Cell::MemberCount { member_count } => self.member_count = member_count,
            Cell::Changed { updated_at } => self.updated_at = Some(Timestamp(updated_at)),
            Cell::Dissolved { seq } => self.dissolved = Some(seq),
        }
        Ok(())
    }
}

/// A group in which a user is or was, as far as the user's own rows tell.
struct UserGroup {
    group: GroupId,
    stay: LastStay,
    notified: bool,
}

impl View {
    pub(super) fn group(&self, group: GroupId) -> Result<Option<GroupRow>, Error> {
        let mut cells = Cells::default();
        // Looked up one by one: a scan would walk over all of their versions that are in memory still, where a look goes
        // straight to the newest.
        for tag in 1..=DISSOLVED {
            if let Some(value) = self.get(&Key::in_group(Table::Groups, group).tag(tag))? {
                cells.set(decode(&value)?)?;
            }
        }
        let (Some((creator, created_at)), Some((name, description))) = (cells.origin, cells.description)
        else {
            return Ok(None);
        };
        let (Some(owner), Some((head, message_count))) = (cells.owner, self.head(group)?) else {
            return Ok(None);
        };
        let last_message = self.last_message(group)?;
        Ok(Some(GroupRow {
            group_id: group,
            name,
            description,
            owner,
            creator,
            created_at,
            updated_at: cells.updated_at.unwrap_or(created_at),
            member_count: cells.member_count,
            head,
            message_count,
            last_message,
            dissolved: cells.dissolved,
        }))
    }

    pub(super) fn members(
        &self,
        group: GroupId,
        after: Option<&UserId>,
        limit: usize,
        cursors: bool,
    ) -> Result<Vec<MembershipRow>, Error> {
        let all = Key::in_group(Table::Members, group);
        let from = after.map_or_else(|| all.clone(), |after| all.clone().past_user(after));
        let mut scan = self.scan(&from, all.past())?;
        let mut members = Vec::new();
        while members.len() < limit
            && let Some((key, _)) = scan.head()
        {
            let user = parse_user(member_key(key)?.user)?;
            let stay = steps_here(&mut scan, &user)?;
            if let Some(stay) = stay.filter(LastStay::is_current) {
                members.push(if cursors {
                    self.membership_row(group, user, stay)?
                } else {
                    stay.without_cursors(user)
                });
            }
        }
        Ok(members)
    }

    pub(super) fn membership(&self, group: GroupId, user: &UserId) -> Result<Option<MembershipRow>, Error> {
        let stay = self.last_stay(group, user)?;
        stay.map(|stay| self.membership_row(group, user.clone(), stay)).transpose()
    }

    pub(super) fn user_groups(
        &self,
        user: &UserId,
        after: Option<GroupId>,
        limit: usize,
    ) -> Result<Vec<UserGroupRow>, Error> {
        let mut groups = Vec::new();
        self.each_group(user, after, |found| {
            if groups.len() < limit {
                groups.push(self.user_group_row(user, found)?);
            }
            Ok(groups.len() < limit)
        })?;
        Ok(groups)
    }

    pub(super) fn user_group(&self, user: &UserId, group: GroupId) -> Result<Option<UserGroupRow>, Error> {
        let prefix = Key::of(Table::UserGroups).user(user);
        let prefix_len = prefix.as_slice().len();
        let mut scan = self.prefix(prefix.group(group))?;
        let found = next_group(&mut scan, prefix_len, user)?;
        found.map(|found| self.user_group_row(user, found)).transpose()
    }

    pub(super) fn is_in_groups(&self, user: &UserId, at_least: usize) -> Result<bool, Error> {
        let mut groups = Vec::new();
        self.each_group(user, None, |found| {
            groups.extend(found.stay.is_current().then_some(found.group));
            Ok(true)
        })?;
        if groups.len() < at_least {
            return Ok(false);
        }
        let mut living = 0;
        for group in groups {
            if living >= at_least {
                break;
            }
            // Nobody is in a group that is no more.
            living += usize::from(self.dissolved(group)?.is_none());
        }
        Ok(living >= at_least)
    }

    pub(super) fn profile(&self, user: &UserId) -> Result<Option<ProfileChanged>, Error> {
        let Some(value) = self.get(&Key::of(Table::Profiles).user(user))? else { return Ok(None) };
        let Profile { display_name, avatar_url, at } = decode(&value)?;
        Ok(Some(ProfileChanged {
            user: user.clone(),
            display_name: display_name.to_owned(),
            avatar_url: avatar_url.map(str::to_owned),
            at: Timestamp(at),
        }))
    }

    /// Visits a user's groups in order until `visit` says false.
    fn each_group(
        &self,
        user: &UserId,
        after: Option<GroupId>,
        mut visit: impl FnMut(UserGroup) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let all = Key::of(Table::UserGroups).user(user);
        let prefix_len = all.as_slice().len();
        let from = after.map_or_else(|| all.clone(), |after| all.clone().group(after).past());
        let mut scan = self.scan(&from, all.past())?;
        while scan.head().is_some() {
            if let Some(found) = next_group(&mut scan, prefix_len, user)?
                && !visit(found)?
            {
                break;
            }
        }
        Ok(())
    }

    fn user_group_row(&self, user: &UserId, found: UserGroup) -> Result<UserGroupRow, Error> {
        let UserGroup { group, stay, notified } = found;
        let membership = self.membership_row(group, user.clone(), stay)?;
        let (head, message_count) = self.head(group)?.unwrap_or((membership.joined, 0));
        let unread = match membership.left {
            None => self.unread(group, user, membership.read, head, message_count)?,
            Some(_) => 0,
        };
        let dissolved = self.dissolved(group)?;
        Ok(UserGroupRow { group_id: group, membership, notified, head, dissolved, unread })
    }

    /// The last event of a group, and its messages so far.
    pub(super) fn head(&self, group: GroupId) -> Result<Option<(Seq, u64)>, Error> {
        let timeline = Key::in_group(Table::Timeline, group);
        let Some((key, value)) = self.last(&timeline.clone().seq(0), timeline.seq(Seq::MAX))? else {
            return Ok(None);
        };
        Ok(Some((last_seq(&key)?, decode_event(&value)?.0.message_count)))
    }

    fn dissolved(&self, group: GroupId) -> Result<Option<Seq>, Error> {
        let key = Key::in_group(Table::Groups, group).tag(DISSOLVED);
        match self.get(&key)?.as_deref().map(decode).transpose()? {
            Some(Cell::Dissolved { seq }) => Ok(Some(seq)),
            Some(_) => Err(Error::Damaged("a group's end")),
            None => Ok(None),
        }
    }
}

/// Folds the steps of the user whose rows begin here, and goes behind them.
fn steps_here(scan: &mut Scan<'_>, user: &UserId) -> Result<Option<LastStay>, Error> {
    let mut stay = None;
    while let Some((key, value)) = scan.head() {
        let parts = member_key(key)?;
        if parts.user != user.as_str().as_bytes() {
            break;
        }
        LastStay::fold(&mut stay, parts.seq, decode(value)?)?;
        scan.advance()?;
    }
    Ok(stay)
}

/// Folds the rows of one group of a user and goes behind them; `None` where the user never was a member as far as is
/// known (the acknowledgement may be projected before the joining).
fn next_group(scan: &mut Scan<'_>, prefix_len: usize, user: &UserId) -> Result<Option<UserGroup>, Error> {
    let (mut group, mut stay, mut notified_of) = (None, None, None);
    while let Some((key, value)) = scan.head() {
        let parts = user_group_key(key, prefix_len)?;
        if *group.get_or_insert(parts.group) != parts.group {
            break;
        }
        match parts.tag {
            MEMBERSHIP => LastStay::fold(&mut stay, last_seq(key)?, decode(value)?)?,
            // In rising order, so the last one is the one that may concern the last stay.
            NOTIFIED => notified_of = Some(parts.seq),
            _ => return Err(Error::Damaged("a row of a user's group")),
        }
        scan.advance()?;
    }
    let (Some(group), Some(stay)) = (group, stay) else { return Ok(None) };
    let notified = notified_of == Some(stay.joined) || stay.is_creation_of(user);
    Ok(Some(UserGroup { group, stay, notified }))
}

//! What to write where: rows as statements, gathered by partition. Pure.

use std::collections::HashMap;

use parley_domain::{GroupId, MediaId, ProfileChanged, Row, Seq, UserId};
use scylla::statement::prepared::PreparedStatement;

use super::statements::Statements;
use super::steps;
use super::value::{Value, big};
use crate::{Error, Source, Write};

/// Which statement.
pub(super) type Pick = fn(&Statements) -> &PreparedStatement;

/// One statement with its values.
#[derive(Debug, Clone)]
pub(super) struct Put {
    pub(super) pick: Pick,
    pub(super) values: Vec<Value>,
}

impl Put {
    pub(super) fn bytes(&self) -> usize {
        self.values.iter().map(Value::len).sum()
    }
}

/// A partition, of one table or of two that have the same partitions.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Home {
    Timeline(GroupId, u64),
    RolledBack(GroupId, u64),
    Messages(GroupId, u64),
    Sent(GroupId, UserId, u64),
    Members(GroupId, u64),
    User(UserId),
    Cursors(GroupId),
    CursorSteps(GroupId, UserId, u64),
    Media(MediaId),
    Profile(UserId),
}

/// A cell of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Cell {
    Origin,
    Description,
    Owner,
    MemberCount,
    Changed,
    Head,
    LastMessage,
    Dissolved,
}

/// Where a group's events lie.
const TIMELINE_BITS: u32 = 10;
/// Where what has some tens of bytes for each event or message lies.
const INDEX_BITS: u32 = 18;

/// The bucket of an event in the timeline.
pub(super) fn timeline_bucket(seq: Seq) -> u64 {
    seq >> TIMELINE_BITS
}

/// The last event of such a bucket.
pub(super) fn timeline_bucket_end(bucket: u64) -> Seq {
    (bucket << TIMELINE_BITS) | ((1 << TIMELINE_BITS) - 1)
}

/// The bucket of a number in all other tables.
pub(super) fn index_bucket(number: u64) -> u64 {
    number >> INDEX_BITS
}

/// The first number of such a bucket.
pub(super) fn index_bucket_start(bucket: u64) -> u64 {
    bucket << INDEX_BITS
}

/// What to write: first the rows, then, when all of them are there, the groups.
#[derive(Debug, Default)]
pub(super) struct Plan {
    rows: HashMap<Home, Vec<Put>>,
    /// Of several writes of a cell in one batch only the last one is made.
    cells: HashMap<(GroupId, Cell), (Seq, Put)>,
    cursors: HashMap<(GroupId, UserId), (Seq, Seq)>,
    /// The event whose rows are being planned, by group: its place and its running count of messages.
    now: HashMap<GroupId, (Seq, u64)>,
}

impl Plan {
    /// Plans some rows.
    pub(super) fn of(writes: Vec<Write>) -> Result<Self, Error> {
        let mut plan = Self::default();
        for write in writes {
            plan.add(write)?;
        }
        let cursors = std::mem::take(&mut plan.cursors);
        for ((group, user), (delivered, read)) in cursors {
            plan.put_cursors(group, &user, delivered, read);
        }
        Ok(plan)
    }

    /// The statements of both parts, by partition.
    pub(super) fn into_parts(self) -> (Vec<Vec<Put>>, Vec<Vec<Put>>) {
        let mut groups: HashMap<GroupId, Vec<Put>> = HashMap::new();
        for ((group, _), (_, put)) in self.cells {
            groups.entry(group).or_default().push(put);
        }
        (self.rows.into_values().collect(), groups.into_values().collect())
    }

    fn put(&mut self, home: Home, pick: Pick, values: Vec<Value>) {
        self.rows.entry(home).or_default().push(Put { pick, values });
    }

    fn add(&mut self, write: Write) -> Result<(), Error> {
        match write.row {
            Row::Timeline { .. } => self.add_event(write),
            Row::Message { .. } => self.add_message(write.row),
            Row::Media { media_id, group_id, seq } => {
                let values = vec![Value::Id(media_id.0), blob(group_id), Value::seq(seq), Value::seq(seq)];
                self.put(Home::Media(media_id), |all| &all.put_media, values);
                Ok(())
            }
            Row::RolledBack { group_id, seq, sender } => {
                self.add_rolled_back(group_id, seq, sender);
                Ok(())
            }
            Row::Membership { group_id, user, seq, at, change } => {
                let (pick, values) = steps::by_group(group_id, index_bucket(seq), &user, seq, at, &change);
                self.put(Home::Members(group_id, index_bucket(seq)), pick, values);
                let (pick, values) = steps::by_user(&user, group_id, seq, at, &change);
                self.put(Home::User(user), pick, values);
                Ok(())
            }
            Row::Cursor { .. } => {
                self.add_cursor(write.row);
                Ok(())
            }
            Row::Notified { group_id, user, seq } => {
                let values =
                    vec![Value::User(user.clone()), blob(group_id), Value::seq(seq), Value::seq(seq)];
                self.put(Home::User(user), |all| &all.put_notified, values);
                Ok(())
            }
            Row::Profile(profile) => {
                self.add_profile(profile, write.event.map(|event| event.position.offset));
                Ok(())
            }
            Row::Origin { .. }
            | Row::Description { .. }
            | Row::Owner { .. }
            | Row::MemberCount { .. }
            | Row::Changed { .. }
            | Row::Head { .. }
            | Row::LastMessage { .. }
            | Row::Dissolved { .. } => self.add_cell(write.row),
        }
    }

    fn add_event(&mut self, write: Write) -> Result<(), Error> {
        let Row::Timeline { group_id, seq, message_count, .. } = write.row else { return Ok(()) };
        let Source { position, tag, value } =
            write.event.ok_or(Error::Damaged("a timeline row without its event"))?;
        self.now.insert(group_id, (seq, message_count));
        let bucket = timeline_bucket(seq);
        let partition = i32::try_from(position.partition).unwrap_or(i32::MAX);
        let values = vec![
            Value::Id(group_id.0),
            Value::seq(bucket),
            Value::seq(seq),
            Value::Int(partition),
            Value::seq(position.offset),
            Value::seq(message_count),
            Value::Blob([[tag].as_slice(), &value].concat().into()),
            Value::seq(seq),
        ];
        self.put(Home::Timeline(group_id, bucket), |all| &all.put_event, values);
        Ok(())
    }

    /// The event that a row which doesn't say so itself is of.
    fn event_now(&self, group: GroupId) -> Result<(Seq, u64), Error> {
        self.now.get(&group).copied().ok_or(Error::Damaged("a group's row without its event"))
    }

    fn add_message(&mut self, row: Row) -> Result<(), Error> {
        let Row::Message { group_id, seq, message_id, sender, client_message_id, sender_nth } = row else {
            return Ok(());
        };
        let (_, nth) = self.event_now(group_id)?;
        let (group, place) = (Value::Id(group_id.0), Value::seq(seq));
        let bucket = index_bucket(nth);
        let home = Home::Messages(group_id, bucket);
        let bucket = Value::seq(bucket);
        let values = vec![group.clone(), bucket.clone(), Value::seq(nth), place.clone(), place.clone()];
        self.put(home.clone(), |all| &all.put_message, values);
        let id = Value::Blob(message_id.as_bytes().to_vec().into());
        self.put(
            home,
            |all| &all.put_message_id,
            vec![group.clone(), bucket, id, place.clone(), place.clone()],
        );

        let bucket = index_bucket(seq);
        let home = Home::Sent(group_id, sender.clone(), bucket);
        let key = [group, Value::User(sender), Value::seq(bucket)];
        let sent = [place.clone(), Value::seq(sender_nth), place.clone()];
        let client = [Value::Text(client_message_id.as_str().to_owned()), place.clone(), place];
        self.put(home.clone(), |all| &all.put_sent, [key.clone(), sent].concat());
        self.put(home, |all| &all.put_client_id, [key, client].concat());
        Ok(())
    }

    fn add_rolled_back(&mut self, group_id: GroupId, seq: Seq, sender: UserId) {
        let (group, place) = (Value::Id(group_id.0), Value::seq(seq));
        let bucket = timeline_bucket(seq);
        let values = vec![group.clone(), Value::seq(bucket), place.clone(), place.clone()];
        self.put(Home::Timeline(group_id, bucket), |all| &all.put_event_rolled_back, values);
        let bucket = index_bucket(seq);
        let values = vec![group, Value::seq(bucket), place.clone(), Value::User(sender), place];
        self.put(Home::RolledBack(group_id, bucket), |all| &all.put_rolled_back, values);
    }

    fn add_cursor(&mut self, row: Row) {
        let Row::Cursor { group_id, user, delivered, read, at } = row else { return };
        let stands = self.cursors.entry((group_id, user.clone())).or_default();
        *stands = (stands.0.max(delivered), stands.1.max(read));
        // A read step says all that a delivered step at the same place would.
        let delivered = if delivered == read { 0 } else { delivered };
        for (cursor, value) in [(steps::DELIVERED, delivered), (steps::READ, read)] {
            if value == 0 {
                continue;
            }
            let bucket = index_bucket(value);
            let values = vec![
                Value::Id(group_id.0),
                Value::User(user.clone()),
                Value::seq(bucket),
                Value::Tiny(cursor),
                Value::seq(value),
                Value::Time(at),
                Value::seq(value),
            ];
            let home = Home::CursorSteps(group_id, user.clone(), bucket);
            self.put(home, |all| &all.put_cursor_step, values);
        }
    }

    fn put_cursors(&mut self, group: GroupId, user: &UserId, delivered: Seq, read: Seq) {
        let values =
            |value| vec![Value::Id(group.0), Value::User(user.clone()), Value::seq(value), Value::seq(value)];
        if delivered > 0 {
            self.put(Home::Cursors(group), |all| &all.put_delivered, values(delivered));
        }
        if read > 0 {
            self.put(Home::Cursors(group), |all| &all.put_read, values(read));
        }
    }

    fn add_profile(&mut self, profile: ProfileChanged, offset: Option<u64>) {
        let ProfileChanged { user, display_name, avatar_url, at } = profile;
        // Without a place in the log its time has to say which of two is the later one.
        let order = offset.map_or(at.as_millis(), |offset| big(offset.saturating_add(1)));
        let values = vec![
            Value::User(user.clone()),
            Value::Text(display_name),
            Value::Bool(avatar_url.is_some()),
            Value::Text(avatar_url.unwrap_or_default()),
            Value::Time(at),
            Value::Big(order),
        ];
        self.put(Home::Profile(user), |all| &all.put_profile, values);
    }

    fn add_cell(&mut self, row: Row) -> Result<(), Error> {
        let (group_id, cell, pick, values): (_, _, Pick, _) = match row {
            Row::Origin { group_id, creator, created_at } => {
                let values = vec![Value::User(creator), Value::Time(created_at)];
                (group_id, Cell::Origin, |all| &all.put_origin, values)
            }
            Row::Description { group_id, name, description } => {
                let values = vec![Value::Text(name), Value::Text(description)];
                (group_id, Cell::Description, |all| &all.put_description, values)
            }
            Row::Owner { group_id, owner } => {
                (group_id, Cell::Owner, |all| &all.put_owner, vec![Value::User(owner)])
            }
            Row::MemberCount { group_id, member_count } => {
                let values = vec![Value::Int(i32::try_from(member_count).unwrap_or(i32::MAX))];
                (group_id, Cell::MemberCount, |all| &all.put_member_count, values)
            }
            Row::Changed { group_id, updated_at } => {
                (group_id, Cell::Changed, |all| &all.put_changed, vec![Value::Time(updated_at)])
            }
            Row::Head { group_id, seq, message_count } => {
                let values = vec![Value::seq(seq), Value::seq(message_count)];
                (group_id, Cell::Head, |all| &all.put_head, values)
            }
            Row::LastMessage { group_id, seq } => {
                (group_id, Cell::LastMessage, |all| &all.put_last_message, vec![Value::seq(seq)])
            }
            Row::Dissolved { group_id, seq } => {
                (group_id, Cell::Dissolved, |all| &all.put_dissolved, vec![Value::seq(seq)])
            }
            Row::Timeline { .. }
            | Row::Message { .. }
            | Row::Media { .. }
            | Row::RolledBack { .. }
            | Row::Membership { .. }
            | Row::Cursor { .. }
            | Row::Notified { .. }
            | Row::Profile(_) => return Ok(()),
        };
        let (seq, _) = self.event_now(group_id)?;
        let values = [vec![Value::Id(group_id.0)], values, vec![Value::seq(seq)]].concat();
        let later = self.cells.get(&(group_id, cell)).is_none_or(|(before, _)| *before <= seq);
        if later {
            self.cells.insert((group_id, cell), (seq, Put { pick, values }));
        }
        Ok(())
    }
}

/// A group's id as a clustering column.
pub(super) fn blob(group: GroupId) -> Value {
    Value::Blob(group.as_bytes().to_vec().into())
}

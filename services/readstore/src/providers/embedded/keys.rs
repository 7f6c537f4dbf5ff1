//! Keys: the table's byte, then ids, tags and big-endian numbers, so that byte order is the order of the port's lists.
//!
//! ```text
//! c  topic · partition / 64                      checkpoints
//! g  group · cell                                groups
//! u  group · user 0 · seq                        members: the steps of each
//! w  group · user 0 · DELIVERED or READ · value  cursors: the steps of each
//! y  group · DELIVERED or READ · value · user    the same, by value: who came to an event or passed it
//! v  user 0 · group · MEMBERSHIP · seq           the same steps by user
//!    user 0 · group · NOTIFIED · seq             acknowledged notifications
//! t  group · seq                                 timeline; also says which events are messages
//! i  group · message id                          finds a message
//! k  group · sender 0 · client message id        finds a message
//! s  group · sender 0 · seq                      counts a sender's messages
//! o  media · group · seq                         which messages carry an object
//! r  group · seq                                 rolled back
//! p  user                                        profiles
//! x                                              format and epoch of this database
//! ```
//!
//! Where a group comes first its id is written with the halves exchanged: ids are UUIDv7, and begin with a time that groups of
//! some hours share. The engine keeps the first 4 bytes of a key beside the pointer to it, and follows the pointer, mostly into
//! memory that no cache holds, only if they don't tell two keys apart.
//!
//! A user id is of variable length and ends with a zero byte: user ids hold no control characters, so no id is a
//! prefix of another one's keys, and their order stays that of the text.

use parley_domain::{GroupId, Seq, UserId};

use crate::Error;

/// The first byte of a key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Table {
    Checkpoints = b'c',
    Groups = b'g',
    MessageIds = b'i',
    ClientIds = b'k',
    Media = b'o',
    Profiles = b'p',
    RolledBack = b'r',
    Senders = b's',
    Timeline = b't',
    Members = b'u',
    UserGroups = b'v',
    Cursors = b'w',
    Meta = b'x',
    CursorsByValue = b'y',
}

/// A step of a membership.
pub(super) const MEMBERSHIP: u8 = 1;
/// A step of the delivered cursor.
pub(super) const DELIVERED: u8 = 2;
/// A step of the read cursor.
pub(super) const READ: u8 = 3;
/// An acknowledged notification.
pub(super) const NOTIFIED: u8 = 4;

const USER_END: u8 = 0;

/// A key, or the beginning of some.
#[derive(Debug, Clone)]
pub(super) struct Key(Vec<u8>);

impl Key {
    pub(super) fn of(table: Table) -> Self {
        Self::behind(Vec::with_capacity(64), table)
    }

    /// A key of a table whose keys begin with a group.
    pub(super) fn in_group(table: Table, group: GroupId) -> Self {
        Self::of(table).leading(group)
    }

    /// A key that is written behind other bytes.
    pub(super) fn behind(bytes: Vec<u8>, table: Table) -> Self {
        Self(bytes).tag(table as u8)
    }

    /// The group with which a table's keys begin: the random half of its id first.
    pub(super) fn leading(self, group: GroupId) -> Self {
        let mut bytes = *group.as_bytes();
        bytes.rotate_left(GROUP_LEN / 2);
        self.bytes(&bytes)
    }

    /// A group further back.
    pub(super) fn group(self, group: GroupId) -> Self {
        self.bytes(group.as_bytes())
    }

    pub(super) fn user(self, user: &UserId) -> Self {
        self.bytes(user.as_str().as_bytes()).tag(USER_END)
    }

    /// The first key behind all keys of a user.
    pub(super) fn past_user(self, user: &UserId) -> Self {
        self.bytes(user.as_str().as_bytes()).tag(USER_END + 1)
    }

    pub(super) fn tag(mut self, tag: u8) -> Self {
        self.0.push(tag);
        self
    }

    pub(super) fn seq(self, seq: Seq) -> Self {
        self.bytes(&seq.to_be_bytes())
    }

    pub(super) fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.extend_from_slice(bytes);
        self
    }

    /// The first key behind this one.
    pub(super) fn next(self) -> Self {
        self.tag(0)
    }

    /// The first key behind all keys that begin like this one.
    pub(super) fn past(mut self) -> Self {
        // No table's byte is 0xff, so this ends before the key is empty.
        while let Some(last) = self.0.pop() {
            if let Some(next) = last.checked_add(1) {
                self.0.push(next);
                break;
            }
        }
        self
    }

    pub(super) fn as_slice(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.0
    }
}

/// Where the steps of a member's cursor begin that are at `seq` or beyond, written into a buffer that is used again for
/// each of 100,000 members.
pub(super) fn seek_cursor(buffer: &mut Vec<u8>, group: GroupId, user: &[u8], tag: u8, seq: Seq) {
    buffer.clear();
    let key = Key::behind(std::mem::take(buffer), Table::Cursors).leading(group);
    *buffer = key.bytes(user).tag(USER_END).tag(tag).seq(seq).into_bytes();
}

/// A row of [`Table::Members`].
#[derive(Debug, Clone, Copy)]
pub(super) struct MemberKey<'a> {
    /// The user id.
    pub(super) user: &'a [u8],
    pub(super) seq: Seq,
}

/// A row of [`Table::UserGroups`].
#[derive(Debug, Clone, Copy)]
pub(super) struct UserGroupKey {
    pub(super) group: GroupId,
    pub(super) tag: u8,
    pub(super) seq: Seq,
}

const GROUP_LEN: usize = 16;
const SEQ_LEN: usize = 8;

/// Takes a member's key apart.
pub(super) fn member_key(key: &[u8]) -> Result<MemberKey<'_>, Error> {
    const DAMAGED: Error = Error::Damaged("a member's key");
    let (prefix, seq) = key.split_last_chunk::<SEQ_LEN>().ok_or(DAMAGED)?;
    let (_, user) = prefix.split_last().ok_or(DAMAGED)?;
    let user = user.get(1 + GROUP_LEN..).ok_or(DAMAGED)?;
    Ok(MemberKey { user, seq: Seq::from_be_bytes(*seq) })
}

/// The value and the user of a row of [`Table::CursorsByValue`].
pub(super) fn value_and_user(key: &[u8]) -> Result<(Seq, &[u8]), Error> {
    const DAMAGED: Error = Error::Damaged("a cursor's key");
    let rest = key.get(1 + GROUP_LEN + 1..).ok_or(DAMAGED)?;
    let (value, user) = rest.split_first_chunk::<SEQ_LEN>().ok_or(DAMAGED)?;
    Ok((Seq::from_be_bytes(*value), user))
}

/// Takes a user's key apart, of which the first `prefix_len` bytes are known.
pub(super) fn user_group_key(key: &[u8], prefix_len: usize) -> Result<UserGroupKey, Error> {
    const DAMAGED: Error = Error::Damaged("a user's key");
    let end = prefix_len + GROUP_LEN;
    let group = key.get(prefix_len..end).and_then(GroupId::from_slice).ok_or(DAMAGED)?;
    let tag = *key.get(end).ok_or(DAMAGED)?;
    Ok(UserGroupKey { group, tag, seq: last_seq(key)? })
}

/// The group and the number at the end of a key.
pub(super) fn group_and_seq(key: &[u8]) -> Result<(GroupId, Seq), Error> {
    let end = key.len().saturating_sub(SEQ_LEN);
    let group = key.get(end.saturating_sub(GROUP_LEN)..end).and_then(GroupId::from_slice);
    Ok((group.ok_or(Error::Damaged("a media key"))?, last_seq(key)?))
}

/// The number at the end of a key.
pub(super) fn last_seq(key: &[u8]) -> Result<Seq, Error> {
    key.last_chunk::<SEQ_LEN>()
        .map(|bytes| Seq::from_be_bytes(*bytes))
        .ok_or(Error::Damaged("a key's number"))
}

/// A user id as it lies in a key or a value.
pub(super) fn parse_user(bytes: &[u8]) -> Result<UserId, Error> {
    let text = std::str::from_utf8(bytes).map_err(|_| Error::Damaged("a user id"))?;
    UserId::parse(text).map_err(|_| Error::Damaged("a user id"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(text: &str) -> UserId {
        UserId::parse(text).unwrap()
    }

    #[test]
    fn keys_order_as_users_do() {
        let group = GroupId::from_bytes([0xff; 16]);
        let of = |name: &str, seq| Key::in_group(Table::Members, group).user(&user(name)).seq(seq);
        let mut keys = [of("a", 2), of("a", 256), of("a b", 1), of("ab", 0), of("b", 0), of("é", 0)];
        let sorted = keys.clone().map(Key::into_bytes);
        keys.sort_by(|a, b| a.as_slice().cmp(b.as_slice()));
        assert_eq!(keys.map(Key::into_bytes), sorted);
    }

    #[test]
    fn groups_of_one_moment_differ_in_their_first_bytes() {
        let group =
            |number: u8| GroupId::from_bytes([1, 2, 3, 4, 5, 6, 0x70, 0, 0x80, number, 0, 0, 0, 0, 0, 0]);
        let key = |number| Key::in_group(Table::Timeline, group(number)).into_bytes();
        assert_ne!(key(1).get(..4), key(2).get(..4));
    }

    #[test]
    fn the_end_of_a_prefix_is_behind_all_of_it_and_before_the_next() {
        let group = GroupId::from_bytes([0xff; 16]);
        assert_eq!(Key::in_group(Table::Members, group).past().as_slice(), b"v");
        let past = Key::of(Table::Members).past_user(&user("a")).into_bytes();
        assert!(past > Key::of(Table::Members).user(&user("a")).tag(0xff).into_bytes());
        assert!(past < Key::of(Table::Members).user(&user("a ")).into_bytes());
    }

    #[test]
    fn a_members_key_comes_apart() {
        let group = GroupId::from_bytes([3; 16]);
        let key = Key::in_group(Table::Members, group).user(&user("ann")).seq(77);
        let parts = member_key(key.as_slice()).unwrap();
        assert_eq!((parts.user, parts.seq), (b"ann".as_slice(), 77));
        for end in 0..10 {
            assert!(member_key(&key.as_slice()[..end]).is_err());
        }
        let mut buffer = Vec::new();
        seek_cursor(&mut buffer, group, parts.user, DELIVERED, 78);
        let cursor = Key::in_group(Table::Cursors, group).user(&user("ann")).tag(DELIVERED).seq(78);
        assert_eq!(buffer, cursor.as_slice());
    }

    #[test]
    fn a_cursors_key_comes_apart() {
        let key = Key::in_group(Table::CursorsByValue, GroupId::from_bytes([3; 16])).tag(READ).seq(9);
        assert_eq!(value_and_user(key.clone().bytes(b"ann").as_slice()).unwrap(), (9, b"ann".as_slice()));
        assert!(value_and_user(&key.as_slice()[..20]).is_err());
    }
}

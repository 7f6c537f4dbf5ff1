//! Who has a message. Members at the time of the message come from one scan of their steps. Their cursors come
//!
//! - for a page of statuses from a second scan beside it, since the page says when each status changed;
//! - for counts from the steps by value: all steps from the message on, which are few for the messages that people ask
//!   about. Whoever isn't found within some times as many rows as there are such members is looked up.

use std::collections::HashMap;

use parley_domain::{GroupId, ReceiptCounts, Seq, Timestamp, UserId};

use super::codec::{decode, decode_time};
use super::engine::View;
use super::keys::{
    DELIVERED, Key, READ, Table, last_seq, member_key, parse_user, seek_cursor, value_and_user,
};
use super::scan::Scan;
use crate::providers::stay::StayAt;
use crate::{Error, StatusRow};

/// How many rows to scan for each member who isn't found yet. A look-up costs as much as some ten rows, so the scan
/// never costs much more than the look-ups that it may save.
const SCANNED_PER_MEMBER: usize = 5;

/// Members at the time of the message other than its sender, each with the last `seq` of that stay.
type Recipients = HashMap<Vec<u8>, Seq>;

impl View {
    pub(super) fn statuses(
        &self,
        group: GroupId,
        seq: Seq,
        sender: &UserId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<StatusRow>, Error> {
        let withheld = self.is_rolled_back(group, seq)?;
        let mut cursors = self.prefix(Key::in_group(Table::Cursors, group))?;
        let (mut statuses, mut buffer) = (Vec::new(), Vec::new());
        if limit == 0 {
            return Ok(statuses);
        }
        self.each_recipient(group, seq, sender, after, |user, end| {
            let mut crossing = |tag| {
                seek_cursor(&mut buffer, group, user, tag, seq);
                crossing(&mut cursors, &buffer, end)
            };
            // The scan only goes forward, and this is the order of its rows.
            let (mut delivered_at, mut read_at) = (None, None);
            if !withheld {
                delivered_at = crossing(DELIVERED)?;
                read_at = crossing(READ)?;
            }
            statuses.push(StatusRow {
                user: parse_user(user)?,
                delivered: delivered_at.is_some() || read_at.is_some(),
                read: read_at.is_some(),
                updated_at: read_at.or(delivered_at),
            });
            Ok(statuses.len() < limit)
        })?;
        Ok(statuses)
    }

    pub(super) fn receipts(&self, group: GroupId, seq: Seq, sender: &UserId) -> Result<ReceiptCounts, Error> {
        let mut left = Recipients::new();
        self.each_recipient(group, seq, sender, None, |user, end| {
            left.insert(user.to_vec(), end);
            Ok(true)
        })?;
        let count = |recipients: usize| u32::try_from(recipients).unwrap_or(u32::MAX);
        let members = count(left.len());
        if self.is_rolled_back(group, seq)? {
            return Ok(ReceiptCounts { members, ..ReceiptCounts::default() });
        }
        // Who has read it also has it, so the second time only those are looked for who haven't read it.
        self.remove_crossed(group, seq, READ, &mut left)?;
        let read = members - count(left.len());
        self.remove_crossed(group, seq, DELIVERED, &mut left)?;
        let delivered = members - count(left.len());
        Ok(ReceiptCounts { delivered, read, members })
    }

    /// Removes those whose cursor came to `seq` or passed it within their stay.
    fn remove_crossed(&self, group: GroupId, seq: Seq, tag: u8, left: &mut Recipients) -> Result<(), Error> {
        let steps = Key::in_group(Table::CursorsByValue, group).tag(tag);
        let mut scan = self.scan(&steps.clone().seq(seq), steps.past())?;
        let mut scanned = 0;
        while scanned < left.len().saturating_mul(SCANNED_PER_MEMBER) {
            let Some((key, _)) = scan.head() else { return Ok(()) };
            let (value, user) = value_and_user(key)?;
            if left.get(user).is_some_and(|end| value <= *end) {
                left.remove(user);
            }
            scan.advance()?;
            scanned += 1;
        }
        self.look_up_crossed(group, seq, tag, left)
    }

    /// The same, member by member, in the order of their rows.
    fn look_up_crossed(&self, group: GroupId, seq: Seq, tag: u8, left: &mut Recipients) -> Result<(), Error> {
        let mut members: Vec<_> = left.drain().collect();
        members.sort_unstable();
        let mut cursors = self.prefix(Key::in_group(Table::Cursors, group))?;
        let mut buffer = Vec::new();
        for (user, end) in members {
            seek_cursor(&mut buffer, group, &user, tag, seq);
            if crossing(&mut cursors, &buffer, end)?.is_none() {
                left.insert(user, end);
            }
        }
        Ok(())
    }

    /// Visits who was a member at `seq` and isn't the sender, in order of user ids, until `visit` says false.
    fn each_recipient(
        &self,
        group: GroupId,
        seq: Seq,
        sender: &UserId,
        after: Option<&UserId>,
        mut visit: impl FnMut(&[u8], Seq) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let all = Key::in_group(Table::Members, group);
        let from = after.map_or_else(|| all.clone(), |after| all.clone().past_user(after));
        let mut scan = self.scan(&from, all.past())?;
        let mut user = Vec::new();
        while let Some((key, _)) = scan.head() {
            member_key(key)?.user.clone_into(&mut user);
            let end = stay_end(&mut scan, &user, seq)?;
            if let Some(end) = end.filter(|_| user != sender.as_str().as_bytes())
                && !visit(&user, end)?
            {
                break;
            }
        }
        Ok(())
    }
}

/// Folds the steps of the user whose rows begin here, and goes behind them: the last `seq` of the stay that the user
/// was in at `seq`.
fn stay_end(scan: &mut Scan<'_>, user: &[u8], seq: Seq) -> Result<Option<Seq>, Error> {
    let mut stay = StayAt::new(seq);
    while let Some((key, value)) = scan.head() {
        let parts = member_key(key)?;
        if parts.user != user {
            break;
        }
        stay.fold(parts.seq, &decode(value)?);
        scan.advance()?;
    }
    Ok(stay.end())
}

/// When a cursor came to the place of a key or passed it within the stay: the time of its first step from there on.
fn crossing(cursors: &mut Scan<'_>, from: &[u8], end: Seq) -> Result<Option<Timestamp>, Error> {
    cursors.seek(from)?;
    let Some((key, value)) = cursors.head() else { return Ok(None) };
    let cursor_len = from.len() - size_of::<Seq>();
    let crossed = key.get(..cursor_len) == from.get(..cursor_len) && last_seq(key)? <= end;
    crossed.then(|| decode_time(value)).transpose()
}

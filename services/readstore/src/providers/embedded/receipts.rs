//! Who has a message: one pass over the members and their cursors, which lie side by side.

use parley_domain::{GroupId, ReceiptCounts, Seq, Timestamp, UserId};

use super::codec::decode_time;
use super::engine::View;
use super::keys::{
    DELIVERED, Key, MEMBERSHIP, READ, Table, member_key, parse_user, seek_key, seek_past_user,
};
use super::membership::StayAt;
use super::scan::Scan;
use crate::{Error, StatusRow};

/// What one member's cursors say of the message.
#[derive(Debug, Clone, Copy, Default)]
struct Receipt {
    delivered_at: Option<Timestamp>,
    read_at: Option<Timestamp>,
}

impl Receipt {
    fn is_read(self) -> bool {
        self.read_at.is_some()
    }

    fn is_delivered(self) -> bool {
        self.delivered_at.is_some() || self.is_read()
    }
}

impl View {
    pub(super) fn statuses(
        &self,
        group: GroupId,
        seq: Seq,
        sender: &UserId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<StatusRow>, Error> {
        let mut statuses = Vec::new();
        if limit == 0 {
            return Ok(statuses);
        }
        self.each_receipt(group, seq, sender, after, |user, receipt| {
            statuses.push(StatusRow {
                user: parse_user(user)?,
                delivered: receipt.is_delivered(),
                read: receipt.is_read(),
                updated_at: receipt.read_at.or(receipt.delivered_at),
            });
            Ok(statuses.len() < limit)
        })?;
        Ok(statuses)
    }

    pub(super) fn receipts(&self, group: GroupId, seq: Seq, sender: &UserId) -> Result<ReceiptCounts, Error> {
        let mut counts = ReceiptCounts::default();
        self.each_receipt(group, seq, sender, None, |_, receipt| {
            counts.members += 1;
            counts.delivered += u32::from(receipt.is_delivered());
            counts.read += u32::from(receipt.is_read());
            Ok(true)
        })?;
        Ok(counts)
    }

    /// Visits who was a member at `seq` and isn't the sender, in order of user ids, until `visit` says false.
    fn each_receipt(
        &self,
        group: GroupId,
        seq: Seq,
        sender: &UserId,
        after: Option<&UserId>,
        mut visit: impl FnMut(&[u8], Receipt) -> Result<bool, Error>,
    ) -> Result<(), Error> {
        let withheld = self.is_rolled_back(group, seq)?;
        let all = Key::of(Table::Members).group(group);
        let user_start = all.as_slice().len();
        let from = after.map_or_else(|| all.clone(), |after| all.clone().past_user(after));
        let mut scan = self.scan(&from, all.past())?;
        let (mut prefix, mut buffer) = (Vec::new(), Vec::new());
        while let Some((key, _)) = scan.head() {
            member_key(key)?.user_prefix.clone_into(&mut prefix);
            let user = prefix.get(user_start..prefix.len() - 1).ok_or(Error::Damaged("a member's key"))?;
            let end = stay_end(&mut scan, &prefix, seq)?;
            if let Some(end) = end.filter(|_| user != sender.as_str().as_bytes()) {
                let mut receipt = Receipt::default();
                if !withheld {
                    receipt.delivered_at = crossing(&mut scan, &mut buffer, &prefix, DELIVERED, seq, end)?;
                    receipt.read_at = crossing(&mut scan, &mut buffer, &prefix, READ, seq, end)?;
                }
                if !visit(user, receipt)? {
                    return Ok(());
                }
            }
            seek_past_user(&mut buffer, &prefix);
            scan.seek(&buffer)?;
        }
        Ok(())
    }
}

/// Folds the steps of the user whose rows begin here: the last `seq` of the stay that the user was in at `seq`.
fn stay_end(scan: &mut Scan<'_>, user_prefix: &[u8], seq: Seq) -> Result<Option<Seq>, Error> {
    let mut stay = StayAt::new(seq);
    while let Some((key, value)) = scan.head() {
        let parts = member_key(key)?;
        if parts.user_prefix != user_prefix || parts.tag != MEMBERSHIP {
            break;
        }
        stay.fold(parts.seq, value)?;
        scan.advance()?;
    }
    Ok(stay.end())
}

/// When a cursor came to `seq` or passed it within the stay: the time of its first step from there on.
fn crossing(
    scan: &mut Scan<'_>,
    buffer: &mut Vec<u8>,
    user_prefix: &[u8],
    tag: u8,
    seq: Seq,
    end: Seq,
) -> Result<Option<Timestamp>, Error> {
    seek_key(buffer, user_prefix, tag, seq);
    scan.seek(buffer)?;
    let Some((key, value)) = scan.head() else { return Ok(None) };
    let parts = member_key(key)?;
    let crossed = parts.user_prefix == user_prefix && parts.tag == tag && parts.seq <= end;
    crossed.then(|| decode_time(value)).transpose()
}

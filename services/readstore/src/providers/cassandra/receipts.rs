//! Who has a message. Members at the time of the message come from the steps of memberships, in order. Where their
//! cursors stand comes from one row each, in the same order; when a status changed, or whether it did in an earlier
//! stay, from the steps of that cursor.

use std::collections::HashMap;

use futures::{StreamExt as _, TryStreamExt as _, stream};
use parley_domain::{GroupId, ReceiptCounts, Seq, Timestamp, UserId};
use scylla::value::CqlTimestamp;

use super::directory::{CursorRow, Cursors, limit_of};
use super::members::{Members, PAGE_ROWS_MAX, UserSteps};
use super::model::CassandraModel;
use super::plan::{index_bucket, timeline_bucket};
use super::steps::{self, DELIVERED, READ};
use super::value::{big, number, time};
use crate::providers::stay::{StayAt, parse_user};
use crate::{Error, StatusRow};

/// Members whose cursors are compared at once.
const COUNTED_AT_ONCE: usize = 2_000;

/// Who was a member at the time of a message, and the last `seq` of that stay.
struct Recipient {
    user: String,
    end: Seq,
}

impl CassandraModel {
    pub(super) async fn statuses_of(
        &self,
        group: GroupId,
        seq: Seq,
        sender: &UserId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<StatusRow>, Error> {
        let Some(head) = self.head(group).await? else { return Ok(Vec::new()) };
        let mut walk = Members::after(self, group, head, after, limit);
        let recipients = next_recipients(&mut walk, seq, sender, limit).await?;
        let withheld = self.is_rolled_back(group, seq).await?;
        let stand = if withheld {
            HashMap::new()
        } else {
            self.cursors_of(group, recipients.iter().map(|recipient| recipient.user.as_str())).await?
        };
        stream::iter(recipients)
            .map(|recipient| {
                let cursors = stand.get(&recipient.user).copied().unwrap_or_default();
                self.status(group, seq, recipient, cursors)
            })
            .buffered(self.in_flight_max())
            .try_collect()
            .await
    }

    async fn status(
        &self,
        group: GroupId,
        seq: Seq,
        recipient: Recipient,
        cursors: Cursors,
    ) -> Result<StatusRow, Error> {
        let Recipient { user, end } = &recipient;
        let read_at = self.crossing(group, user, READ, seq, *end, cursors.read).await?;
        let delivered_at = match read_at {
            Some(_) => None,
            None => self.crossing(group, user, DELIVERED, seq, *end, cursors.delivered).await?,
        };
        Ok(StatusRow {
            user: parse_user(user)?,
            delivered: delivered_at.is_some() || read_at.is_some(),
            read: read_at.is_some(),
            updated_at: read_at.or(delivered_at),
        })
    }

    pub(super) async fn receipts_of(
        &self,
        group: GroupId,
        seq: Seq,
        sender: &UserId,
    ) -> Result<ReceiptCounts, Error> {
        let mut counts = ReceiptCounts::default();
        let Some(head) = self.head(group).await? else { return Ok(counts) };
        let withheld = self.is_rolled_back(group, seq).await?;
        let mut walk = Members::after(self, group, head, None, PAGE_ROWS_MAX);
        loop {
            let recipients = next_recipients(&mut walk, seq, sender, COUNTED_AT_ONCE).await?;
            let (Some(first), Some(last)) = (recipients.first(), recipients.last()) else { break };
            counts.members += u32::try_from(recipients.len()).unwrap_or(u32::MAX);
            if withheld {
                continue;
            }
            let stand = self.cursors_between(group, &first.user, &last.user).await?;
            let mut compared = stream::iter(recipients)
                .map(|recipient| {
                    let cursors = stand.get(&recipient.user).copied().unwrap_or_default();
                    self.has_message(group, seq, recipient, cursors)
                })
                .buffer_unordered(self.in_flight_max());
            while let Some((delivered, read)) = compared.try_next().await? {
                counts.delivered += u32::from(delivered);
                counts.read += u32::from(read);
            }
        }
        Ok(counts)
    }

    /// Whether a message was delivered to a member, and read.
    async fn has_message(
        &self,
        group: GroupId,
        seq: Seq,
        recipient: Recipient,
        cursors: Cursors,
    ) -> Result<(bool, bool), Error> {
        let Recipient { user, end } = &recipient;
        let crossed = async |cursor, value: Seq| {
            // What was acknowledged in a later stay says nothing of this one.
            if value > *end {
                let at = self.crossing(group, user, cursor, seq, *end, value).await?;
                return Ok::<_, Error>(at.is_some());
            }
            Ok(value >= seq)
        };
        let read = crossed(READ, cursors.read).await?;
        Ok((read || crossed(DELIVERED, cursors.delivered).await?, read))
    }

    /// Where the cursors of the members from one to another stand.
    async fn cursors_between(
        &self,
        group: GroupId,
        first: &str,
        last: &str,
    ) -> Result<HashMap<String, Cursors>, Error> {
        let mut found = self.cursors_of(group, std::iter::once(first)).await?;
        let mut after = first.to_owned();
        loop {
            let values = (group.0, after.as_str(), last, limit_of(PAGE_ROWS_MAX));
            let rows = self.cluster().rows::<CursorRow>(&self.statements().cursors_between, values).await?;
            let is_last = rows.len() < PAGE_ROWS_MAX;
            if let Some(row) = rows.last() {
                after.clone_from(&row.0);
            }
            for row in rows {
                let cursors = Cursors::of(&row)?;
                found.insert(row.0, cursors);
            }
            if is_last {
                return Ok(found);
            }
        }
    }

    /// When a cursor that stands at `value` came to `seq` or passed it, not beyond `end`.
    async fn crossing(
        &self,
        group: GroupId,
        user: &str,
        cursor: i8,
        seq: Seq,
        end: Seq,
        value: Seq,
    ) -> Result<Option<Timestamp>, Error> {
        if value < seq {
            return Ok(None);
        }
        for bucket in index_bucket(seq)..=index_bucket(value.min(end)) {
            let values = (group.0, user, big(bucket), cursor, big(seq));
            type Row = (i64, Option<CqlTimestamp>);
            let step = self.cluster().first::<Row>(&self.statements().crossing, values).await?;
            if let Some((value, at)) = step {
                return if number(value)? <= end { time(at).map(Some) } else { Ok(None) };
            }
        }
        Ok(None)
    }

    async fn is_rolled_back(&self, group: GroupId, seq: Seq) -> Result<bool, Error> {
        let values = (group.0, big(timeline_bucket(seq)), big(seq));
        let row = self.cluster().first::<(Option<bool>,)>(&self.statements().is_rolled_back, values).await?;
        Ok(row.and_then(|row| row.0) == Some(true))
    }
}

/// The next members at the time of a message other than its sender, at most `limit`.
async fn next_recipients(
    walk: &mut Members<'_>,
    seq: Seq,
    sender: &UserId,
    limit: usize,
) -> Result<Vec<Recipient>, Error> {
    let mut recipients = Vec::new();
    while recipients.len() < limit
        && let Some(UserSteps { user, steps }) = walk.next().await?
    {
        let mut stay = StayAt::new(seq);
        for (seq, cells) in &steps {
            stay.fold(*seq, &steps::step(cells)?);
        }
        if let Some(end) = stay.end().filter(|_| user != sender.as_str()) {
            recipients.push(Recipient { user, end });
        }
    }
    Ok(recipients)
}

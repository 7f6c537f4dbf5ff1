//! How many messages a member hasn't read, by subtraction of running counts.

use futures::{StreamExt as _, TryStreamExt as _, stream};
use parley_domain::{GroupId, Seq, UserId};

use super::directory::{Head, limit_of};
use super::model::CassandraModel;
use super::plan::{index_bucket, index_bucket_start};
use super::value::{big, number};
use crate::{Error, UNREAD_MAX};

/// Buckets that are asked at once. Whoever is not behind by very much has one.
const BUCKETS_AT_ONCE: usize = 8;
/// Rows of roll-backs that are read at once.
const PAGE_ROWS: usize = 1_000;

impl CassandraModel {
    /// Messages in `(read, head]` that others sent and that weren't rolled back.
    pub(super) async fn unread(
        &self,
        group: GroupId,
        user: &UserId,
        read: Seq,
        head: Head,
    ) -> Result<u32, Error> {
        // An acknowledgement may be projected before the events that it is about.
        if read >= head.seq {
            return Ok(0);
        }
        let all = head.message_count.saturating_sub(self.messages_up_to(group, read).await?);
        if all == 0 {
            return Ok(0);
        }
        let (own, withheld) = futures::try_join!(
            self.sent_between(group, user, read, head.seq),
            self.rolled_back_by_others(group, user, read, head.seq)
        )?;
        let unread = all.saturating_sub(own).saturating_sub(withheld).min(u64::from(UNREAD_MAX));
        Ok(u32::try_from(unread).unwrap_or(UNREAD_MAX))
    }

    /// How many messages in `(after, to]` a user sent. Each says how many there were, so the first and the last are enough.
    async fn sent_between(&self, group: GroupId, user: &UserId, after: Seq, to: Seq) -> Result<u64, Error> {
        let ask = |statement, bucket| {
            let values = (group.0, user.as_str(), big(bucket), big(after), big(to));
            self.cluster().first::<(Option<i64>,)>(statement, values)
        };
        let buckets = stream::iter(index_bucket(after)..=index_bucket(to));
        let counts: Vec<_> = buckets
            .map(|bucket| async move {
                let (first, last) = futures::try_join!(
                    ask(&self.statements().first_sent, bucket),
                    ask(&self.statements().last_sent, bucket)
                )?;
                match (first.and_then(|row| row.0), last.and_then(|row| row.0)) {
                    (Some(first), Some(last)) => Ok((number(last)? + 1).saturating_sub(number(first)?)),
                    _ => Ok::<_, Error>(0),
                }
            })
            .buffer_unordered(BUCKETS_AT_ONCE)
            .try_collect()
            .await?;
        Ok(counts.into_iter().sum())
    }

    /// How many messages in `(after, to]` were rolled back; the user's own are subtracted already.
    async fn rolled_back_by_others(
        &self,
        group: GroupId,
        user: &UserId,
        after: Seq,
        to: Seq,
    ) -> Result<u64, Error> {
        let mut count = 0;
        for bucket in index_bucket(after)..=index_bucket(to) {
            let mut from = after.max(index_bucket_start(bucket).saturating_sub(1));
            loop {
                let values = (group.0, big(bucket), big(from), big(to), limit_of(PAGE_ROWS));
                let rows = self
                    .cluster()
                    .rows::<(i64, Option<String>)>(&self.statements().rolled_back, values)
                    .await?;
                let others = rows.iter().filter(|(_, sender)| sender.as_deref() != Some(user.as_str()));
                count += u64::try_from(others.count()).unwrap_or(u64::MAX);
                match rows.last() {
                    Some((seq, _)) if rows.len() == PAGE_ROWS => from = number(*seq)?,
                    _ => break,
                }
            }
        }
        Ok(count)
    }
}

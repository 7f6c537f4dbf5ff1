//! Events and messages.

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use parley_domain::{GroupId, MediaId, Position, Seq};

use super::directory::limit_of;
use super::members::KEYS_MAX;
use super::model::CassandraModel;
use super::plan::{index_bucket, timeline_bucket, timeline_bucket_end};
use super::value::{big, number, present};
use crate::{Error, EventRow, MessageKey};

/// Buckets in which a message is looked for at once, the newest ones first.
const BUCKETS_AT_ONCE: usize = 4;
/// Events of one answer, which may have some tens of KiB each.
const EVENTS_AT_ONCE: usize = 512;
/// Queries of one page that are on their way at once.
const QUERIES_AT_ONCE: usize = 8;

type Row = (i64, Option<i32>, Option<i64>, Option<Vec<u8>>, Option<bool>);

fn event((seq, partition, offset, event, rolled_back): Row) -> Result<Option<EventRow>, Error> {
    // A row without an event says that it will be rolled back; it isn't there yet.
    let Some(event) = event else { return Ok(None) };
    let partition = u32::try_from(present(partition)?).map_err(|_| Error::Damaged("a partition"))?;
    Ok(Some(EventRow {
        seq: number(seq)?,
        position: Position { partition, offset: number(present(offset)?)? },
        value: Bytes::from(event),
        rolled_back: rolled_back == Some(true),
    }))
}

impl CassandraModel {
    pub(super) async fn events_between(
        &self,
        group: GroupId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<EventRow>, Error> {
        let mut events = Vec::new();
        if limit == 0 || from > to {
            return Ok(events);
        }
        let Some(head) = self.head(group).await? else { return Ok(events) };
        let (mut from, to) = (from.max(1), to.min(head.seq));
        while from <= to && events.len() < limit {
            let bucket = timeline_bucket(from);
            let rest = (limit - events.len()).min(EVENTS_AT_ONCE);
            let values = (group.0, big(bucket), big(from), big(to), limit_of(rest));
            let rows = self.cluster().rows::<Row>(&self.statements().events, values).await?;
            from = match rows.last() {
                Some((last, ..)) if rows.len() == rest => number(*last)? + 1,
                _ => timeline_bucket_end(bucket) + 1,
            };
            for row in rows {
                events.extend(event(row)?);
            }
        }
        Ok(events)
    }

    pub(super) async fn messages_between(
        &self,
        group: GroupId,
        after: Seq,
        before: Seq,
        newest: bool,
        limit: usize,
    ) -> Result<(Vec<EventRow>, bool), Error> {
        const NONE: (Vec<EventRow>, bool) = (Vec::new(), false);
        let Some(head) = self.head(group).await? else { return Ok(NONE) };
        let last = before.saturating_sub(1).min(head.seq);
        if after >= last {
            return Ok(NONE);
        }
        let count = |seq: Seq| async move {
            let all = seq == head.seq;
            if all { Ok(head.message_count) } else { self.messages_up_to(group, seq).await }
        };
        // Messages are numbered, so counting is subtraction, and which ones to read is known.
        let (before_first, to) = futures::try_join!(count(after), count(last))?;
        let available = to.saturating_sub(before_first);
        let wanted = available.min(u64::try_from(limit).unwrap_or(u64::MAX));
        let first = if newest { to - wanted } else { before_first };
        let seqs = self.nth_messages(group, first + 1, first + wanted).await?;
        let events = self.events_at(group, &seqs).await?;
        if events.len() != seqs.len() {
            return Err(Error::Damaged("a message without its event"));
        }
        Ok((events, available > wanted))
    }

    /// How many messages a group had up to an event.
    pub(super) async fn messages_up_to(&self, group: GroupId, seq: Seq) -> Result<u64, Error> {
        if seq == 0 {
            return Ok(0);
        }
        // The event itself is there, unless it couldn't be projected.
        for bucket in (0..=timeline_bucket(seq)).rev() {
            let values = (group.0, big(bucket), big(seq));
            let row =
                self.cluster().first::<(Option<i64>,)>(&self.statements().messages_up_to, values).await?;
            if let Some(count) = row.and_then(|row| row.0) {
                return number(count);
            }
        }
        Ok(0)
    }

    /// The places of the `first` to `last` messages of a group, counted from 1.
    async fn nth_messages(&self, group: GroupId, first: u64, last: u64) -> Result<Vec<Seq>, Error> {
        if first > last {
            return Ok(Vec::new());
        }
        let pages = stream::iter(index_bucket(first)..=index_bucket(last)).map(|bucket| {
            let values = (group.0, big(bucket), big(first), big(last));
            self.cluster().rows::<(i64,)>(&self.statements().nth_messages, values)
        });
        let pages: Vec<_> = pages.buffered(QUERIES_AT_ONCE).try_collect().await?;
        pages.into_iter().flatten().map(|(seq,)| number(seq)).collect()
    }

    /// The events at some places, in rising order.
    async fn events_at(&self, group: GroupId, seqs: &[Seq]) -> Result<Vec<EventRow>, Error> {
        let by_bucket = seqs.chunk_by(|a, b| timeline_bucket(*a) == timeline_bucket(*b));
        let pages: Vec<(u64, Vec<i64>)> = by_bucket
            .flat_map(|seqs| seqs.chunks(KEYS_MAX))
            .filter_map(|seqs| {
                let bucket = timeline_bucket(*seqs.first()?);
                Some((bucket, seqs.iter().map(|seq| big(*seq)).collect()))
            })
            .collect();
        let pages = stream::iter(pages).map(|(bucket, seqs)| async move {
            let values = (group.0, big(bucket), seqs);
            self.cluster().rows::<Row>(&self.statements().events_at, values).await
        });
        let pages: Vec<Vec<Row>> = pages.buffered(QUERIES_AT_ONCE).try_collect().await?;
        pages.into_iter().flatten().filter_map(|row| event(row).transpose()).collect()
    }

    pub(super) async fn find_message(&self, group: GroupId, key: &MessageKey) -> Result<Option<Seq>, Error> {
        let Some(head) = self.head(group).await? else { return Ok(None) };
        let newest = match key {
            MessageKey::Id(_) => index_bucket(head.message_count),
            MessageKey::Client { .. } => index_bucket(head.seq),
        };
        let mut looks = stream::iter((0..=newest).rev())
            .map(|bucket| self.find_in(group, key, big(bucket)))
            .buffered(BUCKETS_AT_ONCE);
        while let Some(found) = looks.try_next().await? {
            if found.is_some() {
                return Ok(found);
            }
        }
        Ok(None)
    }

    async fn find_in(&self, group: GroupId, key: &MessageKey, bucket: i64) -> Result<Option<Seq>, Error> {
        let row = match key {
            MessageKey::Id(id) => {
                let values = (group.0, bucket, id.as_bytes().as_slice());
                self.cluster().first::<(i64,)>(&self.statements().message_id, values).await?
            }
            MessageKey::Client { sender, client_message_id } => {
                let values = (group.0, sender.as_str(), bucket, client_message_id.as_str());
                self.cluster().first::<(i64,)>(&self.statements().client_id, values).await?
            }
        };
        row.map(|(seq,)| number(seq)).transpose()
    }

    pub(super) async fn messages_with(
        &self,
        media: MediaId,
        limit: usize,
    ) -> Result<Vec<(GroupId, Seq)>, Error> {
        if limit == 0 {
            return Ok(Vec::new());
        }
        let values = (media.0, limit_of(limit));
        let rows = self.cluster().rows::<(Vec<u8>, i64)>(&self.statements().media, values).await?;
        let place = |(group, seq): (Vec<u8>, i64)| {
            let group = GroupId::from_slice(&group).ok_or(Error::Damaged("a group's id"))?;
            Ok((group, number(seq)?))
        };
        rows.into_iter().map(place).collect()
    }
}

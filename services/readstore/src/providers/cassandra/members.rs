//! The steps of a group's members, in order of user ids, merged from the buckets of the group.

use std::collections::{HashMap, VecDeque};

use futures::future::try_join_all;
use parley_domain::{GroupId, Seq, UserId};
use scylla::value::CqlTimestamp;

use super::directory::{CursorRow, Cursors, Head, limit_of};
use super::model::CassandraModel;
use super::plan::index_bucket;
use super::steps::{self, Cells};
use super::value::{big, number};
use crate::providers::stay::{LastStay, parse_user};
use crate::{Error, MembershipRow};

/// Rows that are read at once from a bucket.
pub(super) const PAGE_ROWS_MAX: usize = 2_000;
const PAGE_ROWS_MIN: usize = 16;
/// Keys of one query for several rows of a partition.
pub(super) const KEYS_MAX: usize = 100;

type Row = (String, i64, Option<i8>, Option<CqlTimestamp>, Option<i8>, Option<String>, Option<i8>);

/// A step of somebody.
struct StepRow {
    user: String,
    seq: Seq,
    cells: Cells,
}

/// What is read of a bucket and not yet taken.
struct Bucket {
    number: u64,
    read: VecDeque<StepRow>,
    /// Where to read on.
    after: (String, Seq),
    at_end: bool,
}

/// All steps of one user in a group, in rising order.
pub(super) struct UserSteps {
    pub(super) user: String,
    pub(super) steps: Vec<(Seq, Cells)>,
}

/// A walk over a group's members, past ones too, as they were at its head.
pub(super) struct Members<'a> {
    model: &'a CassandraModel,
    group: GroupId,
    head: Seq,
    buckets: Vec<Bucket>,
    page: usize,
}

impl<'a> Members<'a> {
    /// Begins after a user. `expected` users are wanted, so that not much more is read.
    pub(super) fn after(
        model: &'a CassandraModel,
        group: GroupId,
        head: Head,
        after: Option<&UserId>,
        expected: usize,
    ) -> Self {
        // No user id is empty, and a user has no step beyond the last number.
        let after = after.map_or((String::new(), 0), |after| (after.as_str().to_owned(), Seq::MAX));
        let bucket = |number| Bucket { number, read: VecDeque::new(), after: after.clone(), at_end: false };
        let buckets = (0..=index_bucket(head.seq)).map(bucket).collect();
        let page = expected.saturating_add(1).clamp(PAGE_ROWS_MIN, PAGE_ROWS_MAX);
        Self { model, group, head: head.seq, buckets, page }
    }

    /// The next user.
    pub(super) async fn next(&mut self) -> Result<Option<UserSteps>, Error> {
        let (model, group, head, page) = (self.model, self.group, self.head, self.page);
        let empty = self.buckets.iter_mut().filter(|bucket| bucket.read.is_empty() && !bucket.at_end);
        try_join_all(empty.map(|bucket| bucket.fill(model, group, head, page))).await?;
        let first = self.buckets.iter().filter_map(|bucket| bucket.read.front()).map(|row| &row.user).min();
        let Some(user) = first.cloned() else { return Ok(None) };
        let mut steps = Vec::new();
        // Buckets are in the order of their numbers, so the steps come in theirs.
        for bucket in &mut self.buckets {
            loop {
                while let Some(row) = bucket.read.pop_front_if(|row| row.user == user) {
                    steps.push((row.seq, row.cells));
                }
                if !bucket.read.is_empty() || bucket.at_end {
                    break;
                }
                bucket.fill(model, group, head, page).await?;
            }
        }
        Ok(Some(UserSteps { user, steps }))
    }
}

impl Bucket {
    /// Reads on until there is a step, or none is left.
    async fn fill(
        &mut self,
        model: &CassandraModel,
        group: GroupId,
        head: Seq,
        page: usize,
    ) -> Result<(), Error> {
        while self.read.is_empty() && !self.at_end {
            let (user, seq) = &self.after;
            let values = (group.0, big(self.number), user.as_str(), big(*seq), limit_of(page));
            let rows = model.cluster().rows::<Row>(&model.statements().member_steps, values).await?;
            self.take(rows, head, page)?;
        }
        Ok(())
    }

    /// Takes a page. Steps are written before the group's head: what lies beyond that isn't shown.
    fn take(&mut self, rows: Vec<Row>, head: Seq, page: usize) -> Result<(), Error> {
        self.at_end = rows.len() < page;
        if let Some((user, seq, ..)) = rows.last() {
            self.after = (user.clone(), number(*seq)?);
        }
        for (user, seq, step, at, role, by, kind) in rows {
            let seq = number(seq)?;
            if seq <= head {
                self.read.push_back(StepRow { user, seq, cells: (step, at, role, by, kind) });
            }
        }
        Ok(())
    }
}

impl CassandraModel {
    pub(super) async fn present_members(
        &self,
        group: GroupId,
        after: Option<&UserId>,
        limit: usize,
        cursors: bool,
    ) -> Result<Vec<MembershipRow>, Error> {
        let Some(head) = self.head(group).await? else { return Ok(Vec::new()) };
        let mut walk = Members::after(self, group, head, after, limit);
        let mut found = Vec::new();
        while found.len() < limit
            && let Some(UserSteps { user, steps }) = walk.next().await?
        {
            let mut stay = None;
            for (seq, cells) in &steps {
                LastStay::fold(&mut stay, *seq, steps::step(cells)?)?;
            }
            if let Some(stay) = stay.filter(LastStay::is_current) {
                found.push((parse_user(&user)?, stay));
            }
        }
        if !cursors {
            return Ok(found.into_iter().map(|(user, stay)| stay.without_cursors(user)).collect());
        }
        let stand = self.cursors_of(group, found.iter().map(|(user, _)| user.as_str())).await?;
        let row = |(user, stay): (UserId, LastStay)| {
            let cursors = stand.get(user.as_str()).copied().unwrap_or_default();
            stay.with_cursors(user, cursors)
        };
        Ok(found.into_iter().map(row).collect())
    }

    /// Where the cursors of some members stand; those without any are missing.
    pub(super) async fn cursors_of<'u>(
        &self,
        group: GroupId,
        users: impl Iterator<Item = &'u str>,
    ) -> Result<HashMap<String, Cursors>, Error> {
        let users: Vec<&str> = users.collect();
        let pages = users
            .chunks(KEYS_MAX)
            .map(|users| self.cluster().rows::<CursorRow>(&self.statements().cursors_of, (group.0, users)));
        let rows = try_join_all(pages).await?.into_iter().flatten();
        rows.map(|row| Cursors::of(&row).map(|cursors| (row.0, cursors))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steps_beyond_the_head_are_passed_over() {
        let row = |user: &str, seq| {
            (user.to_owned(), seq, Some(1), Some(CqlTimestamp(0)), Some(2), Some("ann".to_owned()), Some(0))
        };
        let mut bucket =
            Bucket { number: 0, read: VecDeque::new(), after: (String::new(), 0), at_end: false };
        bucket.take(vec![row("ann", 1), row("ann", 9), row("bob", 8)], 7, 3).unwrap();
        let read: Vec<_> = bucket.read.iter().map(|row| (row.user.as_str(), row.seq)).collect();
        assert_eq!(read, [("ann", 1)]);
        assert_eq!(
            (bucket.after.clone(), bucket.at_end),
            (("bob".to_owned(), 8), false),
            "it is read on behind"
        );
        bucket.read.clear();
        bucket.take(vec![row("cid", 8)], 7, 3).unwrap();
        assert!(bucket.read.is_empty() && bucket.at_end);
    }
}

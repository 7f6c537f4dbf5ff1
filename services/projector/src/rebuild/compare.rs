//! Comparing two versions of the read models, row by row, some at a time.

use std::cmp::Ordering;

use parley_readstore::{Error, Page, ReadModel};
use tokio::time::Instant;

use super::{Comparison, PAGE_ROWS, patiently};

/// Whose rows can't be read.
pub(super) enum Side {
    Live(parley_readstore::Error),
    Next(parley_readstore::Error),
}

/// How far a comparison has come.
#[derive(Debug, Default)]
pub(super) struct Place {
    /// Tables that are compared as a whole.
    tables: usize,
    /// The last row of the next one that is compared, if any.
    row: Option<Vec<u8>>,
}

/// Compares rows from a place on, to the end (`true`) or until a time (`false`), but at least what was read first.
pub(super) async fn compare(
    live: &dyn ReadModel,
    next: &dyn ReadModel,
    place: &mut Place,
    comparison: &mut Comparison,
    until: Instant,
) -> Result<bool, Side> {
    let mut is_first = true;
    while let Some(table) = next.tables().get(place.tables) {
        let from = place.row.clone();
        let (mut left, mut right) = (Pages::new(live, table, from.clone()), Pages::new(next, table, from));
        loop {
            if !std::mem::take(&mut is_first)
                && (left.is_used_up() || right.is_used_up())
                && Instant::now() >= until
            {
                return Ok(false);
            }
            let (one, other) = tokio::join!(left.fill(), right.fill());
            one.map_err(Side::Live)?;
            other.map_err(Side::Next)?;
            let (mine, theirs) = (left.first(), right.first());
            let Some(order) = order(mine, theirs) else { break };
            let same = left.same(&right);
            let compared = if same > 0 {
                comparison.rows += same as u64;
                left.pass(same);
                right.pass(same)
            } else {
                comparison.different += 1;
                comparison.rows += u64::from(order.is_ge());
                let one = if order.is_le() { left.pass(1) } else { None };
                let other = if order.is_ge() { right.pass(1) } else { None };
                other.or(one)
            };
            place.row = compared;
        }
        *place = Place { tables: place.tables + 1, row: None };
    }
    Ok(true)
}

/// Which row comes first; `None` if there are none.
fn order(one: Option<Pair<'_>>, other: Option<Pair<'_>>) -> Option<Ordering> {
    match (one, other) {
        (Some((one, _)), Some((other, _))) => Some(one.cmp(other)),
        (Some(_), None) => Some(Ordering::Less),
        (None, Some(_)) => Some(Ordering::Greater),
        (None, None) => None,
    }
}

type Pair<'a> = (&'a [u8], &'a [u8]);

/// A table, read in pages.
struct Pages<'a> {
    model: &'a dyn ReadModel,
    table: &'static str,
    /// The page at hand, and how many of its rows are compared.
    page: Page,
    passed: usize,
    last: Option<Vec<u8>>,
    is_at_end: bool,
}

impl<'a> Pages<'a> {
    fn new(model: &'a dyn ReadModel, table: &'static str, after: Option<Vec<u8>>) -> Self {
        Self { model, table, page: Page::default(), passed: 0, last: after, is_at_end: false }
    }

    /// Whether the next page must be read.
    fn is_used_up(&self) -> bool {
        !self.is_at_end && self.passed >= self.page.len()
    }

    fn first(&self) -> Option<Pair<'_>> {
        self.page.get(self.passed)
    }

    /// How many of the rows at hand are the same.
    fn same(&self, other: &Self) -> usize {
        if (self.passed, other.passed) == (0, 0) && self.page == other.page {
            return self.page.len();
        }
        let rest = (self.passed..).map_while(|place| self.page.get(place));
        let others = (other.passed..).map_while(|place| other.page.get(place));
        rest.zip(others).take_while(|(one, other)| one == other).count()
    }

    /// Goes past some rows; the key of the last of them.
    fn pass(&mut self, rows: usize) -> Option<Vec<u8>> {
        self.passed += rows;
        self.page.get(self.passed.checked_sub(1)?).map(|(key, _)| key.to_vec())
    }

    /// Reads the next page if it must be; nothing is left afterwards only at the end of the table.
    async fn fill(&mut self) -> Result<(), Error> {
        if !self.is_used_up() {
            return Ok(());
        }
        let (model, table, last) = (self.model, self.table, self.last.as_deref());
        let page = &mut self.page;
        *page = patiently(|| model.canonical(table, last, PAGE_ROWS, std::mem::take(page))).await?;
        match page.last() {
            Some((key, _)) => self.last = Some(key.to_vec()),
            None => self.is_at_end = true,
        }
        self.passed = 0;
        Ok(())
    }
}

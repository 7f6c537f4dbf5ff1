//! `GET /groups/{id}/messages`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use parley_domain::Seq;
use parley_wire::rest::Messages;

use super::access::{group_id, seen};
use super::extract::{Caller, Path, Query};
use super::fault::Fault;
use super::page::Window;
use crate::edge::Shared;

pub(super) async fn history(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Path(group): Path<String>,
    Query(window): Query<Window>,
) -> Result<Json<Messages>, Fault> {
    let (limit, after, before) = (window.limit()?, window.after()?, window.before()?);
    let seen = seen(&shared, group_id(&group)?, &caller).await?;
    let Some(span) = Span::new(after, before, seen.membership.joined, seen.group.head) else {
        return Ok(Json(Messages { messages: Vec::new(), has_more: false }));
    };
    let group_id = seen.group.group_id;
    let (rows, has_more) = seen.reads.messages(group_id, span.after, span.before, span.newest, limit).await?;
    let mut messages = Vec::with_capacity(rows.len());
    for row in &rows {
        messages.extend(shared.opener.row_message(row).await?);
    }
    Ok(Json(Messages { messages, has_more }))
}

/// The part of a group's events to read, both ends exclusive, and from which end.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    after: Seq,
    before: Seq,
    newest: bool,
}

impl Span {
    /// What was asked for and what the member may see; `None` if nothing is both.
    fn new(after: Option<Seq>, before: Option<Seq>, joined: Seq, head: Seq) -> Option<Self> {
        // The joining event itself is no message.
        let lowest = after.unwrap_or(0).max(joined);
        let highest = before.unwrap_or(Seq::MAX).min(head.saturating_add(1));
        (highest.saturating_sub(lowest) > 1).then_some(Self {
            after: lowest,
            before: highest,
            newest: after.is_none(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_hold_what_was_asked_for_and_may_be_seen() {
        let (joined, head) = (10, 20);
        for (after, before, expected) in [
            (None, None, Some((10, 21, true))),
            (None, Some(15), Some((10, 15, true))),
            (Some(12), None, Some((12, 21, false))),
            (Some(0), None, Some((10, 21, false))),
            (Some(12), Some(15), Some((12, 15, false))),
            (None, Some(12), Some((10, 12, true))),
            (None, Some(11), None),
            (None, Some(0), None),
            (Some(15), Some(12), None),
            (Some(20), None, None),
            (Some(Seq::MAX), None, None),
            (Some(Seq::MAX), Some(Seq::MAX), None),
            (None, Some(Seq::MAX), Some((10, 21, true))),
        ] {
            let span = Span::new(after, before, joined, head);
            let expected = expected.map(|(after, before, newest)| Span { after, before, newest });
            assert_eq!(span, expected, "{after:?} {before:?}");
        }
        assert_eq!(Span::new(None, None, 1, 1), None);
    }
}

//! Acknowledgements: cumulative cursors that only grow.

use hashbrown::HashMap;

use crate::event::CursorAdvance;
use crate::group::Group;
use crate::ids::{Seq, UserId};
use crate::rejection::Rejection;
use crate::time::Timestamp;

/// One member's wish to move its cursors, or to acknowledge the notification of its joining.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorWish {
    /// Who.
    pub user: UserId,
    /// Everything up to here was delivered; 0 for no change.
    pub delivered: Seq,
    /// Everything up to here was read; 0 for no change.
    pub read: Seq,
    /// The notification of the present stay is acknowledged.
    pub notified: bool,
}

/// A member's cursors.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Cursors {
    /// Everything up to here was delivered.
    pub delivered: Seq,
    /// Everything up to here was read.
    pub read: Seq,
}

/// What comes of some wishes: the entries to append, and for each wish, in order, its answer.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct CursorOutcome {
    /// To append; empty if nothing changes.
    pub advances: Vec<CursorAdvance>,
    /// The cursors afterwards, or why not.
    pub answers: Vec<Result<Cursors, Rejection>>,
}

/// Decides wishes of several members at once, in order.
///
/// `head` is the last event that is known to be durable: nobody can acknowledge what may turn out void. Who is no
/// member any more may acknowledge up to its own removal.
#[must_use]
pub fn advance_cursors(
    group: Option<&Group>,
    wishes: &[CursorWish],
    head: Seq,
    at: Timestamp,
) -> CursorOutcome {
    let mut outcome = CursorOutcome { advances: Vec::new(), answers: Vec::with_capacity(wishes.len()) };
    let mut before = Before::of(wishes.len());
    for wish in wishes {
        let answer = match decide_one(group, wish, head, at, before.get(&wish.user)) {
            Ok((standing, advance)) => {
                if advance.is_some() {
                    before.set(&wish.user, standing);
                }
                outcome.advances.extend(advance);
                Ok(standing.cursors)
            }
            Err(rejection) => Err(rejection),
        };
        outcome.answers.push(answer);
    }
    outcome
}

/// Where a member stands.
#[derive(Debug, Clone, Copy)]
struct Standing {
    cursors: Cursors,
    /// Whether the notification of the present stay is acknowledged.
    notified: bool,
}

/// Where those stand whom earlier wishes of the same call moved. Mostly they are few; in a large group each wish would be compared
/// with a thousand others.
enum Before<'a> {
    Few(Vec<(&'a UserId, Standing)>),
    Many(HashMap<&'a UserId, Standing>),
}

impl<'a> Before<'a> {
    fn of(wishes: usize) -> Self {
        /// Below it, looking through them costs less than a table.
        const FEW: usize = 16;
        if wishes <= FEW { Self::Few(Vec::new()) } else { Self::Many(HashMap::with_capacity(wishes)) }
    }

    fn get(&self, user: &UserId) -> Option<Standing> {
        match self {
            Self::Few(few) => {
                few.iter().rev().find(|(known, _)| *known == user).map(|(_, standing)| *standing)
            }
            Self::Many(many) => many.get(user).copied(),
        }
    }

    fn set(&mut self, user: &'a UserId, standing: Standing) {
        match self {
            Self::Few(few) => few.push((user, standing)),
            Self::Many(many) => drop(many.insert(user, standing)),
        }
    }
}

fn decide_one(
    group: Option<&Group>,
    wish: &CursorWish,
    head: Seq,
    at: Timestamp,
    before: Option<Standing>,
) -> Result<(Standing, Option<CursorAdvance>), Rejection> {
    let group = group.ok_or_else(Rejection::group_not_found)?;
    let membership = group.members.get(&wish.user).ok_or_else(Rejection::not_a_member)?;
    let stay = &membership.stay;
    let last = stay.left.map_or(head, |left| left.min(head));
    if wish.delivered.max(wish.read) > last {
        return Err(match stay.left {
            Some(_) => Rejection::not_a_member(),
            None => Rejection::bad_request(format!("nothing beyond seq {last} can be acknowledged yet")),
        });
    }
    let stored = Cursors { delivered: stay.delivered, read: stay.read };
    let Standing { cursors: now, notified } =
        before.unwrap_or(Standing { cursors: stored, notified: membership.notified });
    let read = now.read.max(wish.read);
    let after = Cursors { read, delivered: now.delivered.max(wish.delivered).max(read) };
    let notify = (wish.notified && !notified).then_some(stay.joined);
    let advance = (after != now || notify.is_some()).then(|| CursorAdvance {
        user: wish.user.clone(),
        delivered: if after.delivered > now.delivered { after.delivered } else { 0 },
        read: if after.read > now.read { after.read } else { 0 },
        delivered_before: now.delivered,
        read_before: now.read,
        at,
        notified: notify,
    });
    Ok((Standing { cursors: after, notified: notified || notify.is_some() }, advance))
}

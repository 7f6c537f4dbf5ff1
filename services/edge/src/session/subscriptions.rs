//! `subscribe_to_group`, `unsubscribe_from_group` and `resume`.

use std::sync::Arc;

use hashbrown::HashSet;
use parley_domain::{GroupId, Rejection};
use parley_readstore::UserGroupRow;
use parley_wire::frame::{GroupRef, ResumeFrom, Resumed, Subscribe, Subscribed, names, role_name};

use super::{Session, welcome};
use crate::acks::acknowledge_notification;
use crate::edge::{Shared, broken};
use crate::resume::{From, plan};
use crate::ws;

/// The user's place in a group, and whether there is such a group at all.
async fn place(
    shared: &Shared,
    session: &Session,
    group: GroupId,
) -> Result<(Option<UserGroupRow>, bool), Rejection> {
    let model = shared.engines.reads.live();
    let failed = |error| broken("a user's group can't be read", &error);
    match model.user_group(&session.user, group).await.map_err(failed)? {
        Some(row) => Ok((Some(row), true)),
        None => Ok((None, model.group(group).await.map_err(failed)?.is_some())),
    }
}

/// The row of somebody who is a member of a living group.
pub(super) async fn need_member(
    shared: &Shared,
    session: &Session,
    group: GroupId,
) -> Result<UserGroupRow, Rejection> {
    shared.caught_up(Some(group)).await?;
    match place(shared, session, group).await? {
        (Some(row), _) if row.dissolved.is_some() => Err(Rejection::group_dissolved()),
        (Some(row), _) if row.membership.left.is_some() => Err(Rejection::not_a_member()),
        (Some(row), _) => Ok(row),
        (None, true) => Err(Rejection::not_a_member()),
        (None, false) => Err(Rejection::group_not_found()),
    }
}

pub(super) async fn subscribe(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    id: Option<&str>,
    wish: &Subscribe,
) -> Result<(), Rejection> {
    let group = GroupId(wish.group_id);
    let mut row = need_member(shared, session, group).await?;
    if !row.notified && acknowledge_notification(shared, group, &session.user).await {
        row = need_member(shared, session, group).await?;
    }
    let epoch = shared.opener.epoch();
    let from = match wish.after_seq {
        Some(after) => From::After(after, wish.epoch),
        None => From::Delivered(wish.epoch),
    };
    let plan = plan(Some(&row), true, from, epoch, wish.limit);
    let body = Subscribed {
        epoch,
        head_seq: row.head,
        delivered_seq: row.membership.delivered,
        read_seq: row.membership.read,
        unread: row.unread,
        role: role_name(row.membership.role),
        resumed: plan.body(group.0),
    };
    // What the replaced subscription still has to send must not come behind the answer.
    end(shared, session, group);
    session.outbox.push(ws::text(names::SUBSCRIBED_TO_GROUP, id, &body));
    welcome::follow(shared, session, group, &plan);
    Ok(())
}

pub(super) async fn unsubscribe(
    shared: &Shared,
    session: &Session,
    id: Option<&str>,
    group: GroupId,
) -> Result<(), Rejection> {
    if !session.is_subscribed(group) {
        need_member(shared, session, group).await?;
    }
    end(shared, session, group);
    session.resumed.lock().remove(&group);
    let body = GroupRef { group_id: group.0, user_id: None };
    session.outbox.push(ws::text(names::UNSUBSCRIBED_FROM_GROUP, id, &body));
    Ok(())
}

pub(super) async fn resume(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    id: Option<&str>,
    named: &[ResumeFrom],
    all: bool,
    limit: Option<u64>,
) -> Result<(), Rejection> {
    let epoch = shared.opener.epoch();
    let rows = if all {
        welcome::all_groups(shared, session).await?
    } else {
        shared.caught_up(None).await?;
        Vec::new()
    };
    let mut plans = Vec::with_capacity(named.len());
    let mut seen = HashSet::new();
    for one in named.iter().rev() {
        let group = GroupId(one.group_id);
        if !seen.insert(group) {
            continue; // named twice: the last one counts
        }
        let (row, exists) = place(shared, session, group).await?;
        if row.is_some() {
            session.resumed.lock().insert(group);
        }
        let from = From::After(one.after_seq, Some(one.epoch));
        plans.push((group, plan(row.as_ref(), exists, from, epoch, limit)));
    }
    plans.reverse();
    {
        let resumed = session.resumed.lock();
        plans.extend(welcome::plan_all(shared, &rows, |group| resumed.contains(&group), limit));
    }
    for (group, _) in &plans {
        end(shared, session, *group);
    }
    let groups = plans.iter().map(|(group, plan)| plan.body(group.0)).collect();
    session.outbox.push(ws::text(names::RESUMED, id, &Resumed { groups }));
    welcome::follow_all(shared, session, &plans);
    Ok(())
}

/// Ends what a session gets of a group, live or not.
fn end(shared: &Shared, session: &Session, group: GroupId) {
    shared.hub.unsubscribe(group, session);
    session.replay.lock().end_range(group);
}

//! The first frames of a session: `welcome`, pending notifications, and what the user missed.

use std::sync::Arc;

use parley_domain::{GroupId, Rejection, notification_id};
use parley_readstore::UserGroupRow;
use parley_wire::clock;
use parley_wire::frame::{NotificationBody, Resumed, StandingBody, Welcome, names};
use parley_wire::time;

use super::Session;
use crate::edge::{Shared, broken};
use crate::hub::notification_name;
use crate::replay::{self, Behind, Phase};
use crate::resume::{Follow, From, Plan, plan};
use crate::{body, ws};

/// Groups read in one go.
const PAGE_GROUPS: usize = 500;

/// Everything that the user is or was in, up to date with what anybody was told before now.
pub(super) async fn all_groups(shared: &Shared, session: &Session) -> Result<Vec<UserGroupRow>, Rejection> {
    shared.caught_up(None).await?;
    let model = shared.engines.reads.live();
    let mut rows = Vec::new();
    let mut after = None;
    loop {
        let page = model
            .user_groups(&session.user, after, PAGE_GROUPS)
            .await
            .map_err(|error| broken("a user's groups can't be read", &error))?;
        let Some(last) = page.last() else { return Ok(rows) };
        after = Some(last.group_id);
        let is_last = page.len() < PAGE_GROUPS;
        rows.extend(page);
        if is_last {
            return Ok(rows);
        }
    }
}

/// Groups that are over and that a session is told of at once; the others follow once these are acknowledged. Anybody can make groups
/// with somebody and dissolve them again, so there may be any number.
const ENDED_GROUPS_MAX: usize = 1_000;

/// Whether the user is a member of a living group.
pub(super) fn is_member(row: &UserGroupRow) -> bool {
    row.membership.left.is_none() && row.dissolved.is_none()
}

pub(super) async fn welcome(
    shared: &Arc<Shared>,
    session: &Arc<Session>,
    replay: bool,
) -> Result<(), Rejection> {
    let rows = all_groups(shared, session).await?;
    let standing = |row: &UserGroupRow| StandingBody {
        group_id: row.group_id.0,
        head_seq: row.head,
        delivered_seq: row.membership.delivered,
        read_seq: row.membership.read,
        unread: row.unread,
    };
    let body = Welcome {
        session_id: session.id,
        user_id: session.user.as_str(),
        epoch: shared.opener.epoch(),
        server_time: time::format(clock::now()),
        limits: &shared.options.limits.by_name(),
        groups: rows.iter().filter(|row| is_member(row)).map(standing).collect(),
    };
    session.outbox.lift(ws::text(names::WELCOME, None, &body));
    for row in rows.iter().filter(|row| is_member(row) && !row.notified) {
        notify(shared, session, row).await?;
    }
    if replay {
        let plans = plan_all(shared, &rows, |_| false, None);
        let groups = plans.iter().map(|(group, plan)| plan.body(group.0)).collect();
        session.outbox.push(ws::text(names::RESUMED, None, &Resumed { groups }));
        follow_all(shared, session, &plans);
    }
    Ok(())
}

/// What every group goes on with that isn't `named`; groups that are over and acknowledged are left out.
pub(super) fn plan_all(
    shared: &Shared,
    rows: &[UserGroupRow],
    named: impl Fn(GroupId) -> bool,
    limit: Option<u64>,
) -> Vec<(GroupId, Plan)> {
    let rest = rows.iter().filter(|row| !named(row.group_id));
    let plans = rest.map(|row| {
        (
            row.group_id,
            plan(Some(row), true, From::Delivered(None), shared.opener.epoch(), limit),
            is_member(row),
        )
    });
    let mut ended = 0;
    let mut is_told = |plan: &Plan| {
        let is_left = plan.follow != Follow::Nothing;
        ended += usize::from(is_left);
        is_left && ended <= ENDED_GROUPS_MAX
    };
    plans.filter(|(_, plan, member)| *member || is_told(plan)).map(|(id, plan, _)| (id, plan)).collect()
}

pub(super) fn follow_all(shared: &Arc<Shared>, session: &Arc<Session>, plans: &[(GroupId, Plan)]) {
    for (group, plan) in plans {
        follow(shared, session, *group, plan);
    }
}

/// Starts what was planned, after the answer that announces it was queued.
pub(super) fn follow(shared: &Arc<Shared>, session: &Arc<Session>, group: GroupId, plan: &Plan) {
    match plan.follow {
        Follow::Live(next) => {
            let subscription = shared.hub.subscribe(group, session, next);
            replay::start(shared, session, Behind::Subscription(group, subscription, Phase::Fresh));
        }
        Follow::Range(from, to) => replay::start_range(shared, session, group, from, to),
        Follow::Nothing => {}
    }
}

async fn notify(shared: &Shared, session: &Session, row: &UserGroupRow) -> Result<(), Rejection> {
    let model = shared.engines.reads.live();
    let group = model.group(row.group_id).await.map_err(|error| broken("a group can't be read", &error))?;
    let Some(group) = group else { return Ok(()) };
    let membership = &row.membership;
    let notification_id =
        notification_id(row.group_id, &session.user, membership.joined, membership.joined_at);
    let group = body::of_row(&group, shared.opener.epoch());
    let body = NotificationBody { notification_id, group: &group, added_by: membership.added_by.as_str() };
    // Who made the group may be quicker.
    session.tell_once(notification_id, row.group_id, || {
        session.outbox.push(ws::text(notification_name(membership.kind), None, &body));
        true
    });
    Ok(())
}

//! From where a session goes on in a group, and whether that is all of what it missed.

use parley_domain::Seq;
use parley_readstore::UserGroupRow;
use parley_wire::frame::ResumedGroup;
use uuid::Uuid;

/// What a client knows of a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// Everything up to this event of this epoch (`None`: the present one).
    After(Seq, Option<Uuid>),
    /// What the member acknowledged as delivered, in this epoch (`None`: the present one).
    Delivered(Option<Uuid>),
}

/// What the session will get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Follow {
    /// From this event on, and then live.
    Live(Seq),
    /// These events and no more.
    Range(Seq, Seq),
    /// Nothing.
    Nothing,
}

/// Why a resume isn't complete.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Reset {
    EpochChanged,
    Limit,
    NotAMember,
    Dissolved,
    NotFound,
}

impl Reset {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::EpochChanged => "epoch_changed",
            Self::Limit => "limit",
            Self::NotAMember => "not_a_member",
            Self::Dissolved => "group_dissolved",
            Self::NotFound => "group_not_found",
        }
    }
}

/// The answer for one group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Plan {
    pub(crate) from: Seq,
    pub(crate) to: Seq,
    pub(crate) reset: Option<Reset>,
    pub(crate) follow: Follow,
}

impl Plan {
    pub(crate) fn body(&self, group_id: Uuid) -> ResumedGroup {
        ResumedGroup {
            group_id,
            from_seq: self.from,
            to_seq: self.to,
            complete: self.reset.is_none(),
            reset_reason: self.reset.map(Reset::name),
        }
    }

    fn nothing(after: Seq, reset: Reset) -> Self {
        // The greatest number has none after it, and `to` is the one before `from`.
        let after = after.min(Seq::MAX - 1);
        Self { from: after + 1, to: after, reset: Some(reset), follow: Follow::Nothing }
    }
}

/// Plans a resume. `exists`: whether there is such a group, for those who never were in it.
pub(crate) fn plan(
    row: Option<&UserGroupRow>,
    exists: bool,
    from: From,
    epoch: Uuid,
    limit: Option<u64>,
) -> Plan {
    let Some(row) = row else {
        let after = match from {
            From::After(after, _) => after,
            From::Delivered(_) => 0,
        };
        return Plan::nothing(after, if exists { Reset::NotAMember } else { Reset::NotFound });
    };
    let membership = &row.membership;
    let (end, ended) = match (membership.left, row.dissolved) {
        (Some(left), _) => (left, Some(Reset::NotAMember)),
        (None, Some(dissolved)) => (dissolved, Some(Reset::Dissolved)),
        (None, None) => (row.head, None),
    };
    let beginning = (membership.joined - 1, Some(Reset::EpochChanged));
    let (after, mut reset) = match from {
        From::After(_, Some(of)) | From::Delivered(Some(of)) if of != epoch => beginning,
        From::After(after, _) if after > row.head => beginning,
        From::After(after, _) => (after, None),
        From::Delivered(_) => (membership.delivered, None),
    };
    if let Some(ended) = ended
        && membership.delivered >= end
    {
        // It was acknowledged: the group is over for this user.
        return Plan::nothing(after.min(end), ended);
    }
    let mut start = after + 1;
    if start < membership.joined {
        start = membership.joined;
        reset = reset.or(Some(Reset::NotAMember));
    }
    if let Some(limit) = limit
        && (end + 1).saturating_sub(start) > limit
    {
        start = end + 1 - limit;
        reset = reset.or(Some(Reset::Limit));
    }
    let follow = match ended {
        None => Follow::Live(start),
        Some(_) if start <= end => Follow::Range(start, end),
        Some(_) => Follow::Nothing,
    };
    Plan { from: start, to: end.max(start - 1), reset: ended.or(reset), follow }
}

/// A membership as only tests need it.
#[cfg(test)]
fn row(joined: Seq, left: Option<Seq>, delivered: Seq, head: Seq, dissolved: Option<Seq>) -> UserGroupRow {
    use parley_domain::{GroupId, NotificationKind, Role, Timestamp};
    let user = parley_domain::UserId::parse("u").unwrap();
    UserGroupRow {
        group_id: GroupId::from_bytes([1; 16]),
        membership: parley_readstore::MembershipRow {
            user: user.clone(),
            role: Role::Member,
            joined,
            joined_at: Timestamp(0),
            added_by: user,
            kind: NotificationKind::Added,
            left,
            delivered,
            read: joined,
        },
        notified: false,
        head,
        dissolved,
        unread: 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Uuid = Uuid::from_u128(1);
    const OTHER: Uuid = Uuid::from_u128(2);

    fn planned(row: &UserGroupRow, from: From, limit: Option<u64>) -> (Seq, Seq, Option<Reset>, Follow) {
        let plan = plan(Some(row), true, from, EPOCH, limit);
        (plan.from, plan.to, plan.reset, plan.follow)
    }

    #[test]
    fn a_member_goes_on_where_it_was() {
        let member = row(1, None, 4, 9, None);
        assert_eq!(planned(&member, From::Delivered(None), None), (5, 9, None, Follow::Live(5)));
        assert_eq!(planned(&member, From::After(9, Some(EPOCH)), None), (10, 9, None, Follow::Live(10)));
        assert_eq!(planned(&member, From::After(0, None), None), (1, 9, None, Follow::Live(1)));
    }

    #[test]
    fn what_is_not_complete_says_why() {
        let late = row(5, None, 5, 9, None);
        let reset = |reset| Some(reset);
        assert_eq!(
            planned(&late, From::After(2, None), None),
            (5, 9, reset(Reset::NotAMember), Follow::Live(5))
        );
        assert_eq!(planned(&late, From::After(4, None), None), (5, 9, None, Follow::Live(5)));
        assert_eq!(
            planned(&late, From::After(99, None), None),
            (5, 9, reset(Reset::EpochChanged), Follow::Live(5))
        );
        assert_eq!(
            planned(&late, From::After(7, Some(OTHER)), None),
            (5, 9, reset(Reset::EpochChanged), Follow::Live(5))
        );
        assert_eq!(
            planned(&late, From::Delivered(Some(OTHER)), None),
            (5, 9, reset(Reset::EpochChanged), Follow::Live(5))
        );
        assert_eq!(planned(&late, From::Delivered(Some(EPOCH)), None), (6, 9, None, Follow::Live(6)));
        assert_eq!(
            planned(&late, From::Delivered(None), Some(2)),
            (8, 9, reset(Reset::Limit), Follow::Live(8))
        );
        assert_eq!(planned(&late, From::Delivered(None), Some(4)), (6, 9, None, Follow::Live(6)));
        assert_eq!(
            planned(&late, From::Delivered(None), Some(0)),
            (10, 9, reset(Reset::Limit), Follow::Live(10))
        );
    }

    #[test]
    fn who_is_gone_gets_the_rest_until_it_is_acknowledged() {
        let gone = row(1, Some(7), 3, 9, None);
        assert_eq!(
            planned(&gone, From::Delivered(None), None),
            (4, 7, Some(Reset::NotAMember), Follow::Range(4, 7))
        );
        assert_eq!(
            planned(&gone, From::After(7, None), None),
            (8, 7, Some(Reset::NotAMember), Follow::Nothing)
        );
        let acknowledged = row(1, Some(7), 7, 9, None);
        assert_eq!(planned(&acknowledged, From::Delivered(None), None).3, Follow::Nothing);
        let over = row(1, None, 3, 9, Some(9));
        assert_eq!(
            planned(&over, From::Delivered(None), None),
            (4, 9, Some(Reset::Dissolved), Follow::Range(4, 9))
        );
    }

    #[test]
    fn strangers_learn_whether_there_is_a_group() {
        for (exists, expected) in [(true, Reset::NotAMember), (false, Reset::NotFound)] {
            let plan = plan(None, exists, From::After(3, None), EPOCH, None);
            assert_eq!((plan.from, plan.to, plan.reset), (4, 3, Some(expected)));
        }
    }
}

//! Events on their way to subscriptions, as frames.

use bytes::Bytes;
use hashbrown::HashSet;
use parley_domain::{Event, Fact, KeyId, Seq, UserId};

/// Whose subscription an event ends, after it.
pub(super) enum Ending {
    Nobodys,
    Everybodys,
    /// Asked for each subscription: up to a thousand users, and a hundred thousand subscriptions.
    Of(HashSet<UserId>),
}

impl Ending {
    fn of(event: &Event) -> Self {
        match event {
            Event::GroupDissolved { .. } => Self::Everybodys,
            Event::MembersRemoved { users, .. } => Self::Of(users.iter().cloned().collect()),
            Event::GroupCreated { .. }
            | Event::MembersAdded { .. }
            | Event::RoleChanged { .. }
            | Event::OwnerTransferred { .. }
            | Event::GroupUpdated { .. }
            | Event::MessageSent(_)
            | Event::MessageRolledBack { .. } => Self::Nobodys,
        }
    }

    pub(super) fn is_for(&self, user: &UserId) -> bool {
        match self {
            Self::Nobodys => false,
            Self::Everybodys => true,
            Self::Of(users) => users.contains(user),
        }
    }
}

/// An event on its way to subscriptions.
pub(super) struct TailFrame {
    pub(super) seq: Seq,
    pub(super) frame: Bytes,
    pub(super) ending: Ending,
    /// What the content was sealed with: once that is destroyed nobody may get it any more.
    pub(super) key: Option<KeyId>,
}

impl TailFrame {
    pub(super) fn new(fact: &Fact, frame: &Bytes) -> Self {
        let key = if let Event::MessageSent(message) = &fact.event { Some(message.key_id) } else { None };
        Self { seq: fact.seq, frame: frame.clone(), ending: Ending::of(&fact.event), key }
    }
}

/// Events that follow on each other, their frames one behind another in one piece of memory: to queue and to write that costs as
/// much as to queue and to write one.
pub(super) struct Together {
    pub(super) first: Seq,
    pub(super) last: Seq,
    pub(super) frames: Bytes,
}

impl Together {
    /// `None` where there is nothing to gain, or where somebody's subscription may end on the way.
    pub(super) fn of(events: &[TailFrame]) -> Option<Self> {
        let [first, .., last] = events else { return None };
        let follow = events.array_windows().all(|[one, next]| one.seq + 1 == next.seq);
        if !follow || !events.iter().all(|event| matches!(event.ending, Ending::Nobodys)) {
            return None;
        }
        let mut frames = Vec::with_capacity(events.iter().map(|event| event.frame.len()).sum());
        events.iter().for_each(|event| frames.extend_from_slice(&event.frame));
        Some(Self { first: first.seq, last: last.seq, frames: frames.into() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn events(seqs: &[Seq]) -> Vec<TailFrame> {
        let event = |seq: &Seq| TailFrame {
            seq: *seq,
            frame: Bytes::from(format!("<{seq}>")),
            ending: Ending::Nobodys,
            key: None,
        };
        seqs.iter().map(event).collect()
    }

    #[test]
    fn events_that_follow_on_each_other_go_together() {
        let together = Together::of(&events(&[7, 8, 9])).unwrap();
        assert_eq!((together.first, together.last, &*together.frames), (7, 9, &b"<7><8><9>"[..]));
        for apart in [&[][..], &[7], &[7, 9], &[7, 7], &[8, 7], &[7, 8, 10]] {
            assert!(Together::of(&events(apart)).is_none(), "{apart:?}");
        }
    }

    #[test]
    fn nobodys_subscription_ends_among_them() {
        for at in 0..3 {
            for ending in [Ending::Everybodys, Ending::Of(HashSet::new())] {
                let mut events = events(&[1, 2, 3]);
                events[at].ending = ending;
                assert!(Together::of(&events).is_none(), "after the {at}th");
            }
        }
    }
}

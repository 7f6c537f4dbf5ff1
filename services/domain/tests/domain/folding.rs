//! Properties of the fold.

use std::collections::HashMap;

use bytes::Bytes;
use parley_domain::{
    ClientMessageId, CursorAdvance, Event, Fact, Group, GroupId, KeyId, MessageKind, MessageSent, Role,
    RollbackReason, Seq, UserId,
};
use proptest::prelude::*;

use crate::given::{GROUP, at, event_id, fold, message_id};
use crate::history::{History, config, histories, person, steps};

fn any_event() -> impl Strategy<Value = Event> {
    let people = || prop::collection::vec(person(), 0..4);
    let role = prop::sample::select(vec![Role::Owner, Role::Admin, Role::Member]);
    prop_oneof![
        4 => (person(), people()).prop_map(|(creator, members)| Event::GroupCreated {
            name: String::new(),
            description: String::new(),
            creator,
            members,
            recipe: [0; 32],
        }),
        2 => (person(), people(), any::<u32>())
            .prop_map(|(actor, users, member_count)| Event::MembersAdded { actor, users, member_count }),
        2 => (person(), people(), any::<u32>())
            .prop_map(|(actor, users, member_count)| Event::MembersRemoved { actor, users, member_count }),
        1 => (person(), person(), role).prop_map(|(actor, user, role)| Event::RoleChanged { actor, user, role }),
        1 => (person(), person()).prop_map(|(actor, owner)| Event::OwnerTransferred { actor, owner }),
        1 => (person(), ".{0,3}")
            .prop_map(|(actor, name)| Event::GroupUpdated { actor, name, description: String::new() }),
        1 => person().prop_map(|actor| Event::GroupDissolved { actor }),
        2 => (person(), any::<u64>()).prop_map(|(sender, sender_nth)| Event::MessageSent(MessageSent {
            message_id: message_id(1),
            client_message_id: ClientMessageId::parse("c").unwrap(),
            sender,
            sender_nth,
            kind: MessageKind::Text,
            media: None,
            key_id: KeyId::from_bytes([0; 16]),
            sealed: Bytes::new(),
            mac: [0; 32],
            text_bytes: 0,
        })),
        1 => (person(), any::<Seq>()).prop_map(|(sender, message_seq)| Event::MessageRolledBack {
            message_id: message_id(1),
            message_seq,
            sender,
            reason: RollbackReason::Unprojectable,
        }),
    ]
}

/// Facts that no owner would write: of two groups, in any order, with any numbers.
fn any_fact() -> impl Strategy<Value = Fact> {
    let groups = vec![GROUP, GroupId::from_bytes([1; 16])];
    let seq = prop_oneof![4 => 0..6u64, 1 => any::<Seq>()];
    (prop::sample::select(groups), seq, any::<u64>(), any_event()).prop_map(
        |(group_id, seq, message_count, event)| Fact {
            group_id,
            seq,
            event_id: event_id(1),
            at: at(1),
            message_count,
            event,
        },
    )
}

fn any_advance() -> impl Strategy<Value = CursorAdvance> {
    let seq = || prop_oneof![4 => 0..6u64, 1 => any::<Seq>()];
    (person(), seq(), seq(), prop::option::of(seq())).prop_map(|(user, delivered, read, notified)| {
        CursorAdvance { user, delivered, read, delivered_before: 0, read_before: 0, at: at(1), notified }
    })
}

/// Delivered and read by user and stay.
fn cursors(group: &Group) -> HashMap<(UserId, Seq), (Seq, Seq)> {
    let stays = |(user, membership): (&UserId, &parley_domain::Membership)| {
        let stays = std::iter::once(&membership.stay).chain(&membership.past).cloned().collect::<Vec<_>>();
        stays
            .into_iter()
            .map(|stay| ((user.clone(), stay.joined), (stay.delivered, stay.read)))
            .collect::<Vec<_>>()
    };
    group.members.iter().flat_map(stays).collect()
}

fn grew(before: &Group, after: &Group) -> bool {
    let after = cursors(after);
    cursors(before).iter().all(|(stay, (delivered, read))| {
        after
            .get(stay)
            .is_some_and(|(delivered_now, read_now)| delivered_now >= delivered && read_now >= read)
    })
}

proptest! {
    #![proptest_config(config())]

    /// Invariant: `evolve` is total. What is not the next fact of this group changes nothing.
    #[test]
    fn any_facts_in_any_order_fold(facts in prop::collection::vec(any_fact(), 0..40), advances in prop::collection::vec(any_advance(), 0..10)) {
        let mut group = None;
        for fact in &facts {
            let before = group.clone();
            Group::evolve(&mut group, fact);
            match (&before, &group) {
                (Some(before), Some(group)) if group.head == before.head => prop_assert_eq!(before, group),
                (Some(before), Some(group)) => {
                    prop_assert_eq!((group.head, group.id), (before.head + 1, fact.group_id));
                    prop_assert_eq!(fact.seq, group.head);
                }
                (None, Some(group)) => prop_assert_eq!((group.head, fact.seq), (1, 1)),
                (before, None) => prop_assert!(before.is_none(), "a group doesn't vanish"),
            }
        }
        if let Some(mut group) = group {
            for advance in &advances {
                let before = group.clone();
                group.apply_cursor(advance);
                prop_assert!(grew(&before, &group));
                let ordered = cursors(&group).values().all(|(delivered, read)| read <= delivered);
                prop_assert!(ordered, "read implies delivered");
            }
        }
    }

    /// Invariant: repeats and holes change nothing, so that a reader may begin again anywhere before where it was.
    #[test]
    fn repeats_change_nothing_and_a_hole_stops(history in histories(), from in any::<prop::sample::Index>()) {
        let facts = &history.facts;
        let folded = fold(facts);
        if facts.is_empty() { return Ok(()); }
        let from = from.index(facts.len());
        let again = facts.iter().chain(facts.iter().skip(from));
        prop_assert_eq!(fold(again), folded);
        let twice = facts.iter().flat_map(|fact| [fact, fact]);
        prop_assert_eq!(fold(twice), fold(facts));
        let hole = facts.iter().enumerate().filter(|(place, _)| *place != from).map(|(_, fact)| fact);
        prop_assert_eq!(fold(hole), fold(facts.iter().take(from)), "nothing after a hole is folded");
    }

    /// Invariant: `seq` is dense, from 1, and places don't repeat.
    #[test]
    fn seq_is_dense(history in histories()) {
        let places: Vec<Seq> = history.facts.iter().map(|fact| fact.seq).collect();
        prop_assert_eq!(places, (1..=history.facts.len() as u64).collect::<Vec<_>>());
        prop_assert!(history.facts.iter().all(|fact| fact.group_id == GROUP));
        let first_only = |fact: &Fact| matches!(fact.event, Event::GroupCreated { .. }) == (fact.seq == 1);
        prop_assert!(history.facts.iter().all(first_only), "group_created is always seq 1");
        let end = history.facts.iter().position(|fact| matches!(fact.event, Event::GroupDissolved { .. }));
        prop_assert!(end.is_none_or(|end| end + 1 == history.facts.len()), "nothing follows the end");
    }

    /// After every step: one owner who is a member, the count right, cursors only grown, read no further than delivered.
    #[test]
    fn every_step_keeps_the_invariants(steps in steps()) {
        let mut history = History::default();
        for step in &steps {
            let before = history.group.clone();
            history.take(step);
            let group = history.group.as_ref().unwrap();
            let current: Vec<_> = group.members.iter().filter(|(_, one)| one.is_current()).collect();
            prop_assert_eq!(group.member_count as usize, current.len());
            prop_assert!(group.member_count <= crate::given::LIMITS.group_members_max);
            let owners: Vec<_> = current.iter().filter(|(_, one)| one.role == Role::Owner).map(|(user, _)| *user).collect();
            prop_assert_eq!(owners, vec![&group.owner]);
            for ((user, joined), (delivered, read)) in cursors(group) {
                prop_assert!(joined <= read && read <= delivered && delivered <= group.head, "{:?}", user);
            }
            if let Some(before) = &before {
                prop_assert!(grew(before, group));
            }
        }
    }

    /// The state is a function of the facts and the advances: a restart gives the same.
    #[test]
    fn what_is_folded_anew_is_what_was(history in histories()) {
        let mut anew = fold(&history.facts).unwrap();
        for advance in &history.advances {
            anew.apply_cursor(advance);
        }
        prop_assert_eq!(Some(anew), history.group);
    }

    /// Invariant: any order and any repeat of advances converge.
    #[test]
    fn advances_converge(history in histories(), (shuffled, again) in shuffles()) {
        let facts = fold(&history.facts).unwrap();
        let mut other = facts.clone();
        let order = shuffled.iter().chain(&again).filter(|place| **place < history.advances.len());
        for place in order {
            other.apply_cursor(&history.advances[*place]);
        }
        prop_assert_eq!(Some(other), history.group);
    }

    /// The two topics may be read at any pace, as long as an entry comes after the events that it acknowledges.
    #[test]
    fn stays_end_with_what_was_acknowledged_in_them(history in histories()) {
        let group = history.group.as_ref().unwrap();
        let folded = cursors(group);
        for (user, joined, left) in history.stays() {
            let stay = folded[&(user.clone(), joined)];
            prop_assert_eq!(stay, history.cursors(&user, joined), "{:?} from {}", user, joined);
            prop_assert!(left.is_none_or(|left| stay.0 <= left));
        }
        prop_assert_eq!(folded.len(), history.stays().len());
    }
}

/// More places than any history has advances: each once in any order, then some again.
fn shuffles() -> impl Strategy<Value = (Vec<usize>, Vec<usize>)> {
    let all: Vec<usize> = (0..300).collect();
    (Just(all).prop_shuffle(), prop::collection::vec(0..300usize, 0..50))
}

//! Properties of decide, evolve and the cursors, over random sequences of commands.

#![allow(clippy::unwrap_used, clippy::indexing_slicing, reason = "a test fails by panicking")]

use std::collections::HashMap;

use parley_domain::{
    ClientMessageId, Command, Context, CreateGroup, CursorWish, Decision, Event, EventId, Fact, Group,
    GroupId, KeyId, Limits, MessageKind, Role, Row, SealedContent, SendMessage, Seq, Timestamp, UserId,
    advance_cursors, decide, project,
};
use proptest::prelude::*;
use uuid::Uuid;

const GROUP: GroupId = GroupId(Uuid::from_u128(1));

fn user(n: u8) -> UserId {
    UserId::parse(&format!("u{n}")).unwrap()
}

fn send(id: u16) -> Command {
    let content =
        SealedContent { key_id: KeyId(Uuid::nil()), sealed: vec![1].into(), mac: [0; 32], text_bytes: 1 };
    let client_message_id = ClientMessageId::parse(&id.to_string()).unwrap();
    let kind = MessageKind::Text;
    Command::Send(Box::new(SendMessage {
        client_message_id,
        kind,
        content,
        media: None,
        earlier: None,
        over_rate: None,
    }))
}

fn command() -> impl Strategy<Value = Command> {
    let who = 0..6u8;
    prop_oneof![
        6 => any::<u16>().prop_map(send),
        2 => prop::collection::vec(who.clone(), 1..4).prop_map(|users| Command::AddMembers { users: users.into_iter().map(user).collect() }),
        2 => who.clone().prop_map(|n| Command::RemoveMember { user: user(n) }),
        1 => who.clone().prop_map(|n| Command::TransferOwnership { user: user(n) }),
        1 => (who, any::<bool>()).prop_map(|(n, admin)| Command::SetRole { user: user(n), role: if admin { Role::Admin } else { Role::Member } }),
        1 => "[a-c]".prop_map(|name| Command::Update { name: Some(name), description: None }),
    ]
}

/// Runs commands of random actors on a fresh group of u0; the facts that came of them.
fn run(commands: Vec<(u8, Command)>) -> Vec<Fact> {
    let mut group = None;
    let mut facts = Vec::new();
    let wish = CreateGroup {
        name: "g".into(),
        description: String::new(),
        members: vec![user(1), user(2)],
        recipe: [0; 32],
    };
    let all = std::iter::once((0, Command::Create(wish))).chain(commands);
    for (n, (actor, command)) in (1u128..).zip(all) {
        let at = Timestamp(i64::try_from(n).unwrap());
        let (event_id, limits) =
            (EventId(Uuid::from_u128(n)), Limits { group_members_max: 5, ..Limits::default() });
        let context = Context { group_id: GROUP, actor: user(actor), now: at, event_id, limits };
        if let Ok(Decision::Append(fact)) = decide(group.as_ref(), &command, &context) {
            Group::evolve(&mut group, &fact);
            facts.push(fact.as_ref().clone());
        }
    }
    facts
}

fn fold(facts: &[Fact]) -> Option<Group> {
    let mut group = None;
    facts.iter().for_each(|fact| Group::evolve(&mut group, fact));
    group
}

fn commands() -> impl Strategy<Value = Vec<(u8, Command)>> {
    prop::collection::vec((0..6u8, command()), 0..80)
}

proptest! {
    #[test]
    fn what_is_decided_keeps_the_invariants(commands in commands()) {
        let facts = run(commands);
        let mut sent: HashMap<UserId, u64> = HashMap::new();
        for (seq, fact) in (1..).zip(&facts) {
            prop_assert_eq!(fact.seq, seq, "dense");
            let group = fold(&facts[..usize::try_from(seq).unwrap()]).unwrap();
            let current: Vec<_> = group.members.values().filter(|membership| membership.is_current()).collect();
            prop_assert_eq!(current.len(), group.member_count as usize);
            prop_assert!(group.member_count <= 5);
            prop_assert_eq!(current.iter().filter(|membership| membership.role == Role::Owner).count(), 1, "one owner");
            prop_assert!(group.member(&group.owner).is_some());
            let messages = facts[..usize::try_from(seq).unwrap()].iter().filter(|fact| matches!(fact.event, Event::MessageSent(_))).count();
            prop_assert_eq!(group.message_count, messages as u64);
            if let Event::MessageSent(message) = &fact.event {
                let nth = sent.entry(message.sender.clone()).or_default();
                *nth += 1;
                prop_assert_eq!(message.sender_nth, *nth);
            }
        }
    }

    #[test]
    fn folding_is_total_and_repeats_and_holes_change_nothing(commands in commands(), picks in prop::collection::vec(any::<prop::sample::Index>(), 0..40)) {
        let facts = run(commands);
        let shuffled: Vec<Fact> = picks.iter().map(|pick| facts[pick.index(facts.len())].clone()).collect();
        fold(&shuffled);
        let twice: Vec<Fact> = facts.iter().flat_map(|fact| [fact.clone(), fact.clone()]).collect();
        prop_assert_eq!(fold(&twice), fold(&facts));
        let hole: Vec<Fact> = facts.iter().filter(|fact| fact.seq != 2).cloned().collect();
        prop_assert_eq!(fold(&hole), fold(&facts[..1]));
    }

    #[test]
    fn cursors_only_grow_and_converge_in_any_order(
        commands in commands(),
        wishes in prop::collection::vec((0..6u8, 0..90u64, any::<bool>()), 0..40),
        order in any::<u64>(),
    ) {
        let facts = run(commands);
        let mut group = fold(&facts).unwrap();
        let plain = group.clone();
        let mut advances = Vec::new();
        for (n, seq, read) in wishes {
            let wish = CursorWish { user: user(n), delivered: if read { 0 } else { seq }, read: if read { seq } else { 0 }, notified: false };
            let before = group.members.get(&user(n)).map(|membership| membership.stay.clone());
            let outcome = advance_cursors(Some(&group), &[wish], group.head, Timestamp(9));
            if seq > group.head {
                prop_assert!(outcome.answers[0].is_err(), "nothing beyond the head");
            }
            for advance in outcome.advances {
                group.apply_cursor(&advance);
                advances.push(advance);
            }
            if let (Some(before), Some(after)) = (before, group.members.get(&user(n))) {
                prop_assert!(after.stay.delivered >= before.delivered && after.stay.read >= before.read);
                prop_assert!(after.stay.read <= after.stay.delivered && after.stay.delivered <= group.head);
            }
        }
        let mut other = plain;
        let length = advances.len().max(1);
        advances.rotate_left(usize::try_from(order).unwrap_or(0) % length);
        for advance in advances.iter().chain(&advances) {
            other.apply_cursor(advance);
        }
        prop_assert_eq!(other, group, "any order and any repeat");
    }

    #[test]
    fn receipts_equal_brute_force(commands in commands(), acks in prop::collection::vec((0..6u8, 0..90u64), 0..30)) {
        let facts = run(commands);
        let mut group = fold(&facts).unwrap();
        for (n, seq) in acks {
            let wish = CursorWish { user: user(n), delivered: 0, read: seq, notified: false };
            for advance in advance_cursors(Some(&group), &[wish], group.head, Timestamp(9)).advances {
                group.apply_cursor(&advance);
            }
        }
        for fact in &facts {
            let Event::MessageSent(message) = &fact.event else { continue };
            let then = fold(&facts[..usize::try_from(fact.seq).unwrap()]).unwrap();
            let members: Vec<&UserId> =
                then.members.iter().filter(|(user, membership)| membership.is_current() && **user != message.sender).map(|(user, _)| user).collect();
            let counts = group.receipts(&[(fact.seq, message.sender.clone())])[0];
            prop_assert_eq!(counts.members as usize, members.len());
            let read = members.iter().filter(|user| group.members[**user].stay_at(fact.seq).is_some_and(|stay| stay.read >= fact.seq)).count();
            prop_assert_eq!(counts.read as usize, read);
            prop_assert!(counts.read <= counts.delivered && counts.delivered <= counts.members);
        }
    }

    #[test]
    fn rows_name_each_event_once_and_counts_are_those_of_the_group(commands in commands()) {
        let facts = run(commands);
        let rows: Vec<Row> = facts.iter().flat_map(project).collect();
        let timeline: Vec<Seq> = rows.iter().filter_map(|row| if let Row::Timeline { seq, .. } = row { Some(*seq) } else { None }).collect();
        prop_assert_eq!(timeline, (1..=facts.len() as u64).collect::<Vec<_>>());
        let last_count = rows.iter().rev().find_map(|row| if let Row::MemberCount { member_count, .. } = row { Some(*member_count) } else { None });
        prop_assert_eq!(last_count, fold(&facts).map(|group| group.member_count));
    }
}

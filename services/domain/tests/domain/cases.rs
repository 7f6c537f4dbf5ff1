//! A row of a table: given events, when a command, then what comes of it.

use parley_domain::{Code, Command, Decision, Earlier, Event, Role, decide};

use crate::given::{added, context, created, facts, fold, removed, role_changed};

/// What is expected.
pub(crate) enum Then {
    Appends(Event),
    Unchanged,
    Repeats(Earlier),
    Refused(Code),
}

pub(crate) struct Case {
    pub(crate) name: &'static str,
    pub(crate) given: Vec<Event>,
    pub(crate) actor: &'static str,
    pub(crate) when: Command,
    pub(crate) then: Then,
}

/// Ann's group: bob and cat are admins, dan and eve plain members, fay was one once, gus was never. The head is 5.
pub(crate) fn club() -> Vec<Event> {
    vec![
        created(&["ann", "bob", "cat", "dan", "eve"]),
        role_changed("ann", "bob", Role::Admin),
        role_changed("ann", "cat", Role::Admin),
        added("bob", &["fay"], 6),
        removed("bob", "fay", 5),
    ]
}

/// The club and what happened to it then.
pub(crate) fn club_and(more: impl IntoIterator<Item = Event>) -> Vec<Event> {
    club().into_iter().chain(more).collect()
}

/// A case on the club.
pub(crate) fn case(name: &'static str, actor: &'static str, when: Command, then: Then) -> Case {
    Case { name, given: club(), actor, when, then }
}

/// Decides every case, and checks what all decisions have in common.
pub(crate) fn check(cases: impl IntoIterator<Item = Case>) {
    for Case { name, given, actor, when, then } in cases {
        let before = facts(&given);
        let group = fold(&before);
        let next = group.as_ref().map_or(1, |group| group.head + 1);
        let context = context(actor, next);
        let decision = decide(group.as_ref(), &when, &context);
        assert_eq!(decision, decide(group.as_ref(), &when, &context), "{name}: decide is a function");
        match (decision, then) {
            (Ok(Decision::Append(fact)), Then::Appends(event)) => {
                assert_eq!(fact.event, event, "{name}");
                let expected = facts(&[given, vec![event]].concat()).pop().unwrap();
                assert_eq!(*fact, expected, "{name}: place, time, ids and running count");
                let after = fold(before.iter().chain([&*fact])).unwrap();
                assert_eq!(after.head, fact.seq, "{name}: it folds");
            }
            (Ok(Decision::Unchanged), Then::Unchanged) => {}
            (Ok(Decision::Repeat(earlier)), Then::Repeats(expected)) => {
                assert_eq!(earlier, expected, "{name}")
            }
            (Err(rejection), Then::Refused(code)) => {
                assert_eq!(rejection.code, code, "{name}: {rejection}");
                assert!(!rejection.message.is_empty(), "{name}: says what to do");
            }
            (decision, _) => panic!("{name}: {decision:?}"),
        }
    }
}

//! Acknowledgements: given events and earlier wishes, when wishes, then answers and entries.

use parley_domain::{Code, CursorAdvance, CursorOutcome, CursorWish, Cursors, Group, Seq, advance_cursors};

use crate::cases::{club, club_and};
use crate::given::{at, dissolved, facts, fold, removed, sent, user};

fn wish(name: &str, delivered: Seq, read: Seq) -> CursorWish {
    CursorWish { user: user(name), delivered, read, notified: false }
}

fn notified(name: &str) -> CursorWish {
    CursorWish { user: user(name), delivered: 0, read: 0, notified: true }
}

/// The club with messages up to 9, dan's cursors at 1.
fn chat() -> Group {
    let messages = (6..=9).map(|seq| sent(seq, "eve", seq - 5));
    fold(&facts(&club_and(messages))).unwrap()
}

fn decided(group: Option<&Group>, wishes: &[CursorWish], head: Seq) -> CursorOutcome {
    advance_cursors(group, wishes, head, at(50))
}

fn codes(outcome: &CursorOutcome) -> Vec<Result<(Seq, Seq), Code>> {
    let pair = |cursors: &Cursors| (cursors.delivered, cursors.read);
    outcome.answers.iter().map(|answer| answer.as_ref().map(pair).map_err(|no| no.code)).collect()
}

fn advance(name: &str, delivered: Seq, read: Seq, delivered_before: Seq, read_before: Seq) -> CursorAdvance {
    CursorAdvance {
        user: user(name),
        delivered,
        read,
        delivered_before,
        read_before,
        at: at(50),
        notified: None,
    }
}

#[test]
fn cursors_only_grow_and_read_implies_delivered() {
    let group = chat();
    for (name, wishes, answers, advances) in [
        ("delivered", vec![wish("dan", 7, 0)], vec![(7, 1)], vec![advance("dan", 7, 0, 1, 1)]),
        ("read moves both", vec![wish("dan", 0, 7)], vec![(7, 7)], vec![advance("dan", 7, 7, 1, 1)]),
        (
            "read behind delivered",
            vec![wish("dan", 8, 0), wish("dan", 0, 6)],
            vec![(8, 1), (8, 6)],
            vec![advance("dan", 8, 0, 1, 1), advance("dan", 0, 6, 8, 1)],
        ),
        (
            "each from where it stands",
            vec![wish("dan", 6, 6), wish("dan", 9, 0), wish("dan", 0, 8)],
            vec![(6, 6), (9, 6), (9, 8)],
            vec![advance("dan", 6, 6, 1, 1), advance("dan", 9, 0, 6, 6), advance("dan", 0, 8, 9, 6)],
        ),
        ("lower changes nothing", vec![wish("dan", 1, 1)], vec![(1, 1)], vec![]),
        ("no wish at all", vec![wish("dan", 0, 0)], vec![(1, 1)], vec![]),
        (
            "the same twice moves once",
            vec![wish("dan", 7, 7), wish("dan", 7, 7)],
            vec![(7, 7), (7, 7)],
            vec![advance("dan", 7, 7, 1, 1)],
        ),
        (
            "members don't disturb each other",
            vec![wish("dan", 7, 0), wish("eve", 0, 9), wish("dan", 0, 6)],
            vec![(7, 1), (9, 9), (7, 6)],
            vec![advance("dan", 7, 0, 1, 1), advance("eve", 9, 9, 1, 1), advance("dan", 0, 6, 7, 1)],
        ),
    ] {
        let outcome = decided(Some(&group), &wishes, 9);
        assert_eq!(codes(&outcome), answers.into_iter().map(Ok).collect::<Vec<_>>(), "{name}");
        assert_eq!(outcome.advances, advances, "{name}");
    }
}

#[test]
fn nothing_beyond_what_is_durable_can_be_acknowledged() {
    let group = chat();
    for (name, head, one, expected) in [
        ("the head", 9, wish("dan", 9, 9), Ok((9, 9))),
        ("beyond it", 9, wish("dan", 10, 0), Err(Code::BadRequest)),
        ("read beyond it", 9, wish("dan", 0, 10), Err(Code::BadRequest)),
        ("far beyond it", 9, wish("dan", Seq::MAX, Seq::MAX), Err(Code::BadRequest)),
        ("in flight, not durable yet", 7, wish("dan", 8, 0), Err(Code::BadRequest)),
        ("durable while more is in flight", 7, wish("dan", 7, 0), Ok((7, 1))),
    ] {
        let outcome = decided(Some(&group), &[one], head);
        assert_eq!(codes(&outcome), [expected], "{name}");
        assert_eq!(outcome.advances.is_empty(), expected.is_err(), "{name}");
    }
}

#[test]
fn who_may_acknowledge() {
    assert_eq!(codes(&decided(None, &[wish("dan", 1, 1)], 9)), [Err(Code::GroupNotFound)]);
    assert_eq!(codes(&decided(Some(&chat()), &[wish("gus", 1, 1)], 9)), [Err(Code::NotAMember)]);
    // Fay was removed by the event at 5, and may say that she has seen it; nothing after it.
    assert_eq!(codes(&decided(Some(&chat()), &[wish("fay", 5, 0)], 9)), [Ok((5, 4))]);
    assert_eq!(codes(&decided(Some(&chat()), &[wish("fay", 6, 0)], 9)), [Err(Code::NotAMember)]);
    let gone = fold(&facts(&club_and([dissolved("ann")]))).unwrap();
    assert_eq!(codes(&decided(Some(&gone), &[wish("dan", 6, 6)], 6)), [Ok((6, 6))], "the end itself");
}

/// A refused wish doesn't keep the others from being taken.
#[test]
fn wishes_are_answered_in_order() {
    let wishes = [wish("gus", 1, 1), wish("dan", 99, 0), wish("dan", 6, 0), wish("fay", 9, 0)];
    let outcome = decided(Some(&chat()), &wishes, 9);
    let expected = [Err(Code::NotAMember), Err(Code::BadRequest), Ok((6, 1)), Err(Code::NotAMember)];
    assert_eq!(codes(&outcome), expected);
    assert_eq!(outcome.advances, [advance("dan", 6, 0, 1, 1)]);
}

#[test]
fn a_notification_is_acknowledged_once_for_each_stay() {
    let mut group = fold(&facts(&club())).unwrap();
    let outcome = decided(Some(&group), &[notified("dan"), notified("dan"), notified("ann")], 5);
    let entry = CursorAdvance { notified: Some(1), ..advance("dan", 0, 0, 1, 1) };
    assert_eq!(outcome.advances, std::slice::from_ref(&entry), "ann made the group, and was never told");
    group.apply_cursor(&entry);
    assert!(group.members[&user("dan")].notified);
    assert!(decided(Some(&group), &[notified("dan")], 5).advances.is_empty());

    let events = club_and([removed("ann", "dan", 4), crate::given::added("ann", &["dan"], 5)]);
    let mut group = fold(&facts(&events)).unwrap();
    group.apply_cursor(&entry);
    assert!(!group.members[&user("dan")].notified, "that was the notification of the stay before");
    let outcome = decided(Some(&group), &[notified("dan")], 7);
    assert_eq!(outcome.advances[0].notified, Some(7));
}

#[test]
fn receipts_count_members_at_the_time_of_the_message() {
    let mut group = chat();
    let wishes = [wish("dan", 7, 0), wish("ann", 0, 6), wish("eve", 9, 9), wish("fay", 5, 5)];
    for advance in &decided(Some(&group), &wishes, 9).advances {
        group.apply_cursor(advance);
    }
    let cases = [
        (6, "eve", (2, 1, 4)),
        (7, "eve", (1, 0, 4)),
        (9, "eve", (0, 0, 4)),
        (6, "nobody", (3, 2, 5)),
        (4, "nobody", (4, 3, 6)),
        (99, "eve", (0, 0, 4)),
    ];
    let asked: Vec<_> = cases.iter().map(|(seq, sender, _)| (*seq, user(sender))).collect();
    let together = group.receipts(&asked);
    for (((seq, sender, expected), asked), counts) in cases.into_iter().zip(&asked).zip(together) {
        assert_eq!((counts.delivered, counts.read, counts.members), expected, "{seq} {sender}");
        assert_eq!(group.receipts(std::slice::from_ref(asked)), [counts], "by itself");
    }
}

/// As many as a large group brings at once, some of them of the same members, say what they would say one after the other.
#[test]
fn many_at_once_are_decided_as_one_by_one() {
    let group = chat();
    let names = ["dan", "eve", "nobody"];
    let wishes: Vec<CursorWish> = (0..40)
        .map(|n| match n % 7 {
            0 => notified(names[n % 3]),
            _ => wish(names[n % 3], (n as Seq * 5) % 11, (n as Seq * 3) % 9),
        })
        .collect();
    for count in [1, 2, 16, 17, 40] {
        let mut one_by_one = (group.clone(), CursorOutcome::default());
        for wish in &wishes[..count] {
            let outcome = decided(Some(&one_by_one.0), std::slice::from_ref(wish), 9);
            outcome.advances.iter().for_each(|advance| one_by_one.0.apply_cursor(advance));
            one_by_one.1.advances.extend(outcome.advances);
            one_by_one.1.answers.extend(outcome.answers);
        }
        assert_eq!(decided(Some(&group), &wishes[..count], 9), one_by_one.1, "{count}");
    }
}

//! Properties of `project`: rows say only what the fact says, and applying them again changes nothing.

use std::collections::BTreeMap;

use parley_domain::{
    CursorAdvance, MembershipChange, NotificationKind, Role, Row, Seq, UserId, project, project_cursor,
    project_profile,
};
use proptest::prelude::*;

use crate::given::{GROUP, at, user};
use crate::history::{History, config, histories};

/// The row's key as its description says, and where it lies.
fn key(row: &Row) -> (&'static str, Vec<String>) {
    let texts = |parts: &[&dyn std::fmt::Display]| parts.iter().map(|part| part.to_string()).collect();
    match row {
        Row::Timeline { group_id, seq, .. } => ("timeline", texts(&[group_id, seq])),
        Row::Message { group_id, message_id, .. } => ("message", texts(&[group_id, message_id])),
        Row::Media { media_id, group_id, seq } => ("media", texts(&[media_id, group_id, seq])),
        Row::RolledBack { group_id, seq, .. } => ("rolled back", texts(&[group_id, seq])),
        Row::Origin { group_id, .. } => ("origin", texts(&[group_id])),
        Row::Description { group_id, .. } => ("description", texts(&[group_id])),
        Row::Owner { group_id, .. } => ("owner", texts(&[group_id])),
        Row::MemberCount { group_id, .. } => ("member count", texts(&[group_id])),
        Row::Changed { group_id, .. } => ("changed", texts(&[group_id])),
        Row::Head { group_id, .. } => ("head", texts(&[group_id])),
        Row::LastMessage { group_id, .. } => ("last message", texts(&[group_id])),
        Row::Dissolved { group_id, .. } => ("dissolved", texts(&[group_id])),
        Row::Membership { group_id, user, seq, .. } => ("membership", texts(&[group_id, user, seq])),
        Row::Cursor { group_id, user, delivered, read, .. } => {
            ("cursor", texts(&[group_id, user, delivered, read]))
        }
        Row::Notified { group_id, user, seq } => ("notified", texts(&[group_id, user, seq])),
        Row::Profile(profile) => ("profile", texts(&[&profile.user])),
    }
}

/// A read model: the last row of each key.
#[derive(Debug, Default, PartialEq)]
struct Table(BTreeMap<(&'static str, Vec<String>), Row>);

impl Table {
    fn apply(&mut self, rows: Vec<Row>) {
        self.0.extend(rows.into_iter().map(|row| (key(&row), row)));
    }

    fn of(history: &History) -> Self {
        let mut table = Self::default();
        history.facts.iter().for_each(|fact| table.apply(project(fact)));
        history.advances.iter().for_each(|advance| table.apply(project_cursor(GROUP, advance)));
        table
    }

    fn rows(&self) -> impl Iterator<Item = &Row> {
        self.0.values()
    }

    /// Steps of one user's membership in their order.
    fn steps(&self, of: &UserId) -> BTreeMap<Seq, &MembershipChange> {
        let steps = self.rows().filter_map(|row| match row {
            Row::Membership { user, seq, change, .. } if user == of => Some((*seq, change)),
            _ => None,
        });
        steps.collect()
    }

    /// The joining of the present stay and the role in it.
    fn present(&self, user: &UserId) -> Option<(Seq, Role)> {
        self.steps(user).into_iter().fold(None, |present, (seq, change)| match change {
            MembershipChange::Joined { role, .. } => Some((seq, *role)),
            MembershipChange::Role(role) => present.map(|(joined, _)| (joined, *role)),
            MembershipChange::Left => None,
        })
    }

    /// The read cursor of a stay that is not over.
    fn read(&self, of: &UserId, joined: Seq) -> Seq {
        let steps = self.rows().filter_map(|row| match row {
            Row::Cursor { user, read, .. } if user == of => Some(*read),
            _ => None,
        });
        steps.fold(joined, Seq::max)
    }

    fn message_count(&self, upto: Seq) -> u64 {
        let counts = self.rows().filter_map(|row| match row {
            Row::Timeline { seq, message_count, .. } if *seq == upto => Some(*message_count),
            _ => None,
        });
        counts.sum()
    }

    /// How many messages a user has sent up to an event: the number in the last message row up to it.
    fn sent(&self, of: &UserId, upto: Seq) -> u64 {
        let counts = self.rows().filter_map(|row| match row {
            Row::Message { sender, seq, sender_nth, .. } if sender == of && *seq <= upto => Some(*sender_nth),
            _ => None,
        });
        counts.max().unwrap_or(0)
    }

    /// Unread as the read model counts it: by subtraction.
    fn unread(&self, user: &UserId, head: Seq) -> Option<u64> {
        let (joined, _) = self.present(user)?;
        let read = self.read(user, joined);
        let others = |upto| self.message_count(upto) - self.sent(user, upto);
        let withheld = self.rows().filter(
            |row| matches!(row, Row::RolledBack { seq, sender, .. } if *seq > read && sender != user),
        );
        Some(others(head) - others(read) - withheld.count() as u64)
    }
}

/// Unread as the contract says it: messages beyond `read` that the member may see, didn't send, and that were not rolled
/// back.
fn unread(history: &History, user: &UserId, joined: Seq) -> u64 {
    let (_, read) = history.cursors(user, joined);
    let counted = history.messages().filter(|(seq, sender)| {
        *seq > read && *seq >= joined && sender != user && !history.is_rolled_back(*seq)
    });
    counted.count() as u64
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn unread_by_subtraction_equals_brute_force(history in histories()) {
        let table = Table::of(&history);
        for (user, joined, left) in history.stays() {
            if left.is_none() {
                let counted = table.unread(&user, history.head());
                prop_assert_eq!(counted, Some(unread(&history, &user, joined)), "{:?}", user);
            }
        }
    }

    /// Invariant: rows are a function of their fact, and belong to its group.
    #[test]
    fn rows_come_from_their_fact_alone(history in histories()) {
        for fact in &history.facts {
            let rows = project(fact);
            prop_assert_eq!(&rows, &project(&fact.clone()));
            let keys: std::collections::BTreeSet<_> = rows.iter().map(key).collect();
            prop_assert_eq!(keys.len(), rows.len(), "no fact writes one row twice");
            let group = GROUP.to_string();
            let in_group = rows.iter().all(|row| key(row).1.contains(&group));
            prop_assert!(in_group);
        }
    }

    /// Invariant: a projector may begin again anywhere before where it was.
    #[test]
    fn applying_again_changes_nothing(history in histories(), stop in any::<prop::sample::Index>(), back in any::<prop::sample::Index>()) {
        let facts = &history.facts;
        let stop = stop.index(facts.len());
        let back = back.index(stop + 1);
        let (mut once, mut again) = (Table::default(), Table::default());
        facts.iter().for_each(|fact| once.apply(project(fact)));
        facts[..stop].iter().for_each(|fact| again.apply(project(fact)));
        facts[back..].iter().for_each(|fact| again.apply(project(fact)));
        prop_assert_eq!(once, again);
    }

    /// Invariant: no cell is fed by both topics, and each step of a cursor is in the log once: any order gives the same.
    #[test]
    fn cursor_rows_commute(history in histories(), order in Just((0..300usize).collect::<Vec<_>>()).prop_shuffle()) {
        let table = Table::of(&history);
        let mut other = Table::default();
        for place in order.into_iter().filter(|place| *place < history.advances.len()) {
            other.apply(project_cursor(GROUP, &history.advances[place]));
        }
        let from_cursors = other.0.len();
        history.facts.iter().for_each(|fact| other.apply(project(fact)));
        prop_assert_eq!(&other, &table);
        let mut from_facts = Table::default();
        history.facts.iter().for_each(|fact| from_facts.apply(project(fact)));
        prop_assert_eq!(from_facts.0.len() + from_cursors, table.0.len(), "no shared cell");

        let steps = |cursor: fn(&CursorAdvance) -> Seq| {
            let steps = history.advances.iter().map(move |one| (one.user.clone(), cursor(one)));
            steps.filter(|(_, seq)| *seq > 0).collect::<Vec<_>>()
        };
        for mut steps in [steps(|one| one.delivered), steps(|one| one.read)] {
            let all = steps.len();
            steps.sort();
            steps.dedup();
            prop_assert_eq!(steps.len(), all, "each step is there once, and so has one time");
        }
    }

    /// The rows, folded, are the group.
    #[test]
    fn rows_say_what_the_group_is(history in histories()) {
        let (table, group) = (Table::of(&history), history.group.as_ref().unwrap());
        for (user, membership) in &group.members {
            let expected = membership.is_current().then_some((membership.stay.joined, membership.role));
            prop_assert_eq!(table.present(user), expected, "{:?}", user);
        }
        for row in table.rows() {
            match row {
                Row::Head { seq, message_count, .. } => prop_assert_eq!((*seq, *message_count), (group.head, group.message_count)),
                Row::Owner { owner, .. } => prop_assert_eq!(owner, &group.owner),
                Row::MemberCount { member_count, .. } => prop_assert_eq!(*member_count, group.member_count),
                Row::Description { name, description, .. } => prop_assert_eq!((name, description), (&group.name, &group.description)),
                Row::Origin { creator, created_at, .. } => prop_assert_eq!((creator, *created_at), (&group.creator, group.created_at)),
                Row::Changed { updated_at, .. } => prop_assert_eq!(*updated_at, group.updated_at),
                Row::Dissolved { seq, .. } => prop_assert_eq!(Some(*seq), group.dissolved),
                Row::LastMessage { seq, .. } => prop_assert_eq!(Some(*seq), history.messages().last().map(|(seq, _)| seq)),
                Row::RolledBack { seq, .. } => prop_assert!(group.rolled_back.contains(seq)),
                _ => {}
            }
        }
        let notified = table.rows().filter(|row| matches!(row, Row::Dissolved { .. })).count();
        prop_assert_eq!(notified == 1, group.dissolved.is_some());
    }
}

#[test]
fn who_is_told_of_what() {
    use crate::given::{added, created, facts};
    let facts = facts(&[created(&["ann", "bob"]), added("bob", &["cat"], 3)]);
    let joinings = facts.iter().flat_map(project).filter_map(|row| match row {
        Row::Membership { user, change: MembershipChange::Joined { role, by, kind }, .. } => {
            Some((user, role, by, kind))
        }
        _ => None,
    });
    let joined: Vec<_> = joinings.collect();
    use NotificationKind::{Added, Created};
    let expected = [
        (user("ann"), Role::Owner, user("ann"), Created),
        (user("bob"), Role::Member, user("ann"), Created),
        (user("cat"), Role::Member, user("bob"), Added),
    ];
    assert_eq!(joined, expected);
}

#[test]
fn an_entry_without_a_step_gives_no_cursor_row() {
    let entry = |delivered, read, notified| parley_domain::CursorAdvance {
        user: user("ann"),
        delivered,
        read,
        delivered_before: 0,
        read_before: 0,
        at: at(1),
        notified,
    };
    let kinds = |advance| project_cursor(GROUP, &advance).iter().map(|row| key(row).0).collect::<Vec<_>>();
    assert_eq!(kinds(entry(0, 0, None)), [""; 0]);
    assert_eq!(kinds(entry(0, 0, Some(1))), ["notified"]);
    assert_eq!(kinds(entry(3, 0, None)), ["cursor"]);
    assert_eq!(kinds(entry(3, 3, Some(1))), ["cursor", "notified"]);
}

#[test]
fn a_profile_is_its_row() {
    let profile = parley_domain::ProfileChanged {
        user: user("ann"),
        display_name: "Ann".into(),
        avatar_url: None,
        at: at(1),
    };
    assert_eq!(project_profile(&profile), Row::Profile(profile));
}

//! Properties of everything that is counted by subtraction instead of by looking: against plain loops.

use std::collections::HashMap;

use parley_domain::{Cursors, Event, ReceiptCounts, Seq, UserId};
use proptest::prelude::*;

use crate::history::{History, config, histories};

/// Who has the message, by a loop over all stays.
fn receipts(history: &History, seq: Seq, sender: &UserId) -> ReceiptCounts {
    let mut counts = ReceiptCounts::default();
    let is_kept = !history.is_rolled_back(seq);
    for (user, joined, left) in history.stays() {
        let was_member = joined <= seq && left.is_none_or(|left| seq <= left);
        if !was_member || user == *sender {
            continue;
        }
        let (delivered, read) = history.cursors(&user, joined);
        counts.members += 1;
        counts.delivered += u32::from(is_kept && delivered >= seq);
        counts.read += u32::from(is_kept && read >= seq);
    }
    counts
}

proptest! {
    #![proptest_config(config())]

    /// Every event says how many messages there are, every message the how-many-th of its sender it is.
    #[test]
    fn messages_are_counted(history in histories()) {
        let (mut all, mut by_sender) = (0, HashMap::<UserId, u64>::new());
        for fact in &history.facts {
            if let Event::MessageSent(message) = &fact.event {
                all += 1;
                let nth = by_sender.entry(message.sender.clone()).or_default();
                *nth += 1;
                prop_assert_eq!(message.sender_nth, *nth);
            }
            prop_assert_eq!(fact.message_count, all);
        }
        let group = history.group.as_ref().unwrap();
        prop_assert_eq!(group.message_count, all);
        for (user, membership) in &group.members {
            prop_assert_eq!(membership.sent, by_sender.get(user).copied().unwrap_or(0));
        }
    }

    /// Counts of members and of changes in the events are those of the state.
    #[test]
    fn events_say_how_many_members_there_are(history in histories()) {
        let mut present: Vec<UserId> = Vec::new();
        for fact in &history.facts {
            match &fact.event {
                Event::GroupCreated { members, .. } => present.clone_from(members),
                Event::MembersAdded { users, member_count, .. } => {
                    prop_assert!(!users.is_empty() && users.iter().all(|user| !present.contains(user)));
                    present.extend(users.iter().cloned());
                    prop_assert_eq!(*member_count as usize, present.len());
                }
                Event::MembersRemoved { users, member_count, .. } => {
                    prop_assert!(users.iter().all(|user| present.contains(user)));
                    present.retain(|user| !users.contains(user));
                    prop_assert_eq!(*member_count as usize, present.len());
                }
                _ => {}
            }
        }
        let mut distinct = present.clone();
        distinct.sort();
        distinct.dedup();
        prop_assert_eq!(distinct.len(), present.len(), "nobody is in twice");
    }

    /// `Group::receipts` equals a loop over everybody, also for members who left or came back.
    #[test]
    fn receipts_equal_brute_force(history in histories()) {
        let group = history.group.as_ref().unwrap();
        let messages: Vec<_> = history.messages().collect();
        let expected: Vec<_> = messages.iter().map(|(seq, sender)| receipts(&history, *seq, sender)).collect();
        prop_assert_eq!(group.receipts(&messages), expected);
    }

    /// An entry says where the cursors stood, so that whoever delivers statuses finds exactly what is newly covered.
    #[test]
    fn an_advance_says_where_the_cursors_stood(history in histories()) {
        let mut stood: HashMap<(UserId, Seq), (Seq, Seq)> = HashMap::new();
        for advance in &history.advances {
            let upto = advance.delivered.max(advance.read);
            if upto == 0 {
                prop_assert!(advance.notified.is_some(), "an entry says something");
                continue;
            }
            let stay = history.stays().into_iter().find(|(user, joined, left)| {
                *user == advance.user && *joined <= upto && left.is_none_or(|left| upto <= left)
            });
            let (user, joined, _) = stay.unwrap();
            let (delivered, read) = stood.entry((user, joined)).or_insert((joined, joined));
            prop_assert_eq!(advance.read_before, *read);
            prop_assert_eq!(advance.delivered_before, *delivered);
            prop_assert_eq!(advance.before(), if advance.read > 0 { *read } else { *delivered });
            prop_assert!(advance.delivered == 0 || advance.delivered > *delivered, "only what moved");
            prop_assert!(advance.read == 0 || advance.read > *read, "only what moved");
            *read = advance.read.max(*read);
            *delivered = advance.delivered.max(*delivered);
            prop_assert_eq!(advance.after(), Cursors { delivered: *delivered, read: *read });
            prop_assert!(*read <= *delivered, "if read passes delivered, both are in the entry");
        }
    }
}

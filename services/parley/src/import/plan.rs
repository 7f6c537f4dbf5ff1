//! What each group has to do, in order. Values in, values out.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::digest::{SHA256, digest};
use parley_domain::UserId;
use uuid::Uuid;

/// Members that one call may add.
const JOINS_MAX: usize = 1_000;

/// Creates every group and never leaves.
pub(super) const ARCHIVE: &str = "archive";

/// Something that happens in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Act {
    /// These become members, in one call.
    Join(Vec<UserId>),
    /// Leaves.
    Leave(UserId),
    /// Says something, under an id that is the same in every run.
    Say {
        /// Who.
        user: UserId,
        /// The client message id.
        id: String,
        /// What.
        text: String,
    },
}

/// One act, and the (first) line that it comes from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Step {
    pub(super) line: u64,
    pub(super) act: Act,
}

/// A group and all that happens in it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    /// Its name in the transcript.
    pub(super) name: String,
    /// Derived from the name.
    pub(super) id: Uuid,
    /// In order.
    pub(super) steps: Vec<Step>,
}

/// A transcript.
pub(super) struct Plan {
    pub(super) groups: Vec<Group>,
    pub(super) users: usize,
    pub(super) messages: u64,
}

/// A UUID made from a text, shaped as the server's ids are.
fn derived(text: &str) -> Uuid {
    let hash = digest(&SHA256, text.as_bytes());
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    uuid::Builder::from_random_bytes(bytes).with_version(uuid::Version::SortRand).into_uuid()
}

#[derive(Default)]
struct Building {
    /// Who spoke first without having joined: members from the beginning. With the line of the first of them.
    early: (u64, Vec<UserId>),
    seen: HashSet<UserId>,
    present: HashSet<UserId>,
    steps: Vec<Step>,
    messages: u64,
}

/// Takes lines in order.
#[derive(Default)]
pub(super) struct Builder {
    groups: HashMap<String, Building>,
    order: Vec<String>,
    users: HashSet<UserId>,
}

impl Builder {
    fn group(&mut self, name: &str, user: &UserId) -> &mut Building {
        self.users.insert(user.clone());
        if !self.groups.contains_key(name) {
            self.order.push(name.to_owned());
        }
        self.groups.entry(name.to_owned()).or_default()
    }

    pub(super) fn join(&mut self, line: u64, group: &str, user: UserId) {
        self.group(group, &user).join(line, user);
    }

    pub(super) fn leave(&mut self, line: u64, group: &str, user: UserId) {
        self.group(group, &user).leave(line, user);
    }

    pub(super) fn say(&mut self, line: u64, group: &str, user: UserId, text: String) {
        self.group(group, &user).say(line, user, text, group);
    }

    pub(super) fn finish(mut self) -> Plan {
        let mut messages = 0;
        let groups = self.order.iter().filter_map(|name| {
            let Building { early: (line, early), mut steps, messages: said, .. } =
                self.groups.remove(name)?;
            messages += said;
            if !early.is_empty() {
                steps.insert(0, Step { line, act: Act::Join(early) });
            }
            Some(Group { id: derived(&format!("parley import {name}")), name: name.clone(), steps })
        });
        let groups = groups.collect();
        Plan { groups, users: self.users.len(), messages }
    }
}

impl Building {
    /// Who is in already doesn't join again.
    fn join(&mut self, line: u64, user: UserId) {
        self.seen.insert(user.clone());
        if user.as_str() == ARCHIVE || !self.present.insert(user.clone()) {
            return;
        }
        if let Some(Step { act: Act::Join(users), .. }) = self.steps.last_mut()
            && users.len() < JOINS_MAX
        {
            users.push(user);
        } else {
            self.steps.push(Step { line, act: Act::Join(vec![user]) });
        }
    }

    /// Who isn't in can't leave.
    fn leave(&mut self, line: u64, user: UserId) {
        self.seen.insert(user.clone());
        if user.as_str() != ARCHIVE && self.present.remove(&user) {
            self.steps.push(Step { line, act: Act::Leave(user) });
        }
    }

    fn say(&mut self, line: u64, user: UserId, text: String, group: &str) {
        if user.as_str() != ARCHIVE && !self.present.contains(&user) {
            if self.seen.contains(&user) || self.early.1.len() >= JOINS_MAX {
                self.join(line, user.clone());
            } else {
                if self.early.1.is_empty() {
                    self.early.0 = line;
                }
                self.present.insert(user.clone());
                self.early.1.push(user.clone());
            }
        }
        self.seen.insert(user.clone());
        self.messages += 1;
        let id = derived(&format!("parley import {group} {}", self.messages)).to_string();
        self.steps.push(Step { line, act: Act::Say { user, id, text } });
    }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) fn plan(lines: &[(&str, &str, &str)]) -> Vec<Group> {
        let mut builder = Builder::default();
        for (line, (group, kind, user)) in (1..).zip(lines) {
            let user = UserId::parse(user).unwrap();
            match *kind {
                "join" => builder.join(line, group, user),
                "leave" => builder.leave(line, group, user),
                _ => builder.say(line, group, user, "t".into()),
            }
        }
        builder.finish().groups
    }

    pub(in super::super) fn shape(steps: &[Step]) -> Vec<String> {
        let one = |step: &Step| match &step.act {
            Act::Join(users) => {
                format!("+{}", users.iter().map(|user| user.as_str()).collect::<Vec<_>>().join(","))
            }
            Act::Leave(user) => format!("-{user}"),
            Act::Say { user, .. } => format!("{user}!"),
        };
        steps.iter().map(one).collect()
    }

    #[test]
    fn who_speaks_is_a_member_and_joins_in_a_row_are_one_call() {
        let groups = plan(&[
            ("g", "join", "ann"),
            ("g", "join", "bob"),
            ("g", "message", "cid"),
            ("g", "leave", "ann"),
            ("g", "leave", "ann"),
            ("g", "message", "ann"),
            ("g", "join", "cid"),
            ("h", "message", "archive"),
        ]);
        assert_eq!(shape(&groups[0].steps), ["+cid", "+ann,bob", "cid!", "-ann", "+ann", "ann!"]);
        assert_eq!(groups[0].steps.iter().map(|step| step.line).collect::<Vec<_>>(), [3, 1, 3, 4, 6, 6]);
        assert_eq!(shape(&groups[1].steps), ["archive!"]);
        assert_ne!(groups[0].id, groups[1].id);
    }

    #[test]
    fn a_call_adds_a_thousand_at_most() {
        let names: Vec<String> = (0..2_500).map(|n| format!("u{n}")).collect();
        for kind in ["join", "message"] {
            let lines: Vec<_> = names.iter().map(|name| ("g", kind, name.as_str())).collect();
            let steps = plan(&lines).remove(0).steps;
            let joins = steps.iter().filter_map(|step| match &step.act {
                Act::Join(users) => Some(users.len()),
                Act::Leave(_) | Act::Say { .. } => None,
            });
            let joins: Vec<_> = joins.collect();
            assert!(joins.iter().all(|joins| *joins <= 1_000));
            assert_eq!(joins.iter().sum::<usize>(), 2_500);
        }
    }

    #[test]
    fn ids_are_the_same_in_every_run_and_no_two_are_alike() {
        let lines = [("g", "message", "a"), ("g", "message", "a"), ("h", "message", "a")];
        assert_eq!(plan(&lines), plan(&lines));
        let ids: HashSet<_> = plan(&lines)
            .into_iter()
            .flat_map(|group| group.steps)
            .filter_map(|step| if let Act::Say { id, .. } = step.act { Some(id) } else { None })
            .collect();
        assert_eq!(ids.len(), 3);
    }
}

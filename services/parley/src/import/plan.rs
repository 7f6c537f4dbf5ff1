//! What each group has to do, in order. Values in, values out.

use std::collections::{HashMap, HashSet};

use aws_lc_rs::digest::{Context, Digest, SHA256, digest};
use parley_domain::UserId;
use uuid::Uuid;

/// Members that one call may add.
pub(super) const JOINS_MAX: usize = 1_000;

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

/// A hash over texts, each with its length, so that no two lists of texts are alike.
fn hash<'a>(texts: impl IntoIterator<Item = &'a [u8]>) -> Digest {
    let mut context = Context::new(&SHA256);
    for text in texts {
        context.update(&(text.len() as u64).to_be_bytes());
        context.update(text);
    }
    context.finish()
}

/// A UUID made from a hash, shaped as the server's ids are.
fn derived(hash: &Digest) -> Uuid {
    let mut bytes = [0; 16];
    for (to, from) in bytes.iter_mut().zip(hash.as_ref()) {
        *to = *from;
    }
    uuid::Builder::from_random_bytes(bytes).with_version(uuid::Version::SortRand).into_uuid()
}

/// A group's id comes from its name alone: whatever transcript speaks of it, it is the same group.
fn group_id(name: &str) -> Uuid {
    derived(&digest(&SHA256, format!("parley import {name}").as_bytes()))
}

#[derive(Default)]
struct Building {
    /// Who spoke first without having joined: members from the beginning. With the line of the first of them.
    early: (u64, Vec<UserId>),
    seen: HashSet<UserId>,
    present: HashSet<UserId>,
    steps: Vec<Step>,
    messages: u64,
    /// Of all messages so far.
    hash: Option<Digest>,
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

    /// `at` is what the line says, if it says it.
    pub(super) fn say(&mut self, line: u64, group: &str, user: UserId, at: Option<&str>, text: String) {
        self.group(group, &user).say(line, user, at, text, group);
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
            Some(Group { id: group_id(name), name: name.clone(), steps })
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

    fn say(&mut self, line: u64, user: UserId, at: Option<&str>, text: String, group: &str) {
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
        let id = derived(&self.next_hash(&user, at, &text, group)).to_string();
        self.steps.push(Step { line, act: Act::Say { user, id, text } });
    }

    /// The id is of the message and of all before it in its group. So a message that is there already means that this very
    /// transcript was sent up to it; another transcript of the same group, whatever it repeats, has other ids.
    fn next_hash(&mut self, user: &UserId, at: Option<&str>, text: &str, group: &str) -> Digest {
        let before = self.hash.as_ref().map_or(group.as_bytes(), AsRef::as_ref);
        let at = at.unwrap_or_default().as_bytes();
        let kind = b"parley import message".as_slice();
        let hash = hash([kind, before, user.as_str().as_bytes(), at, text.as_bytes()]);
        self.hash = Some(hash);
        hash
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
                _ => builder.say(line, group, user, None, "t".into()),
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

    fn said(lines: &[(&str, &str, Option<&str>, &str)]) -> Vec<String> {
        let mut builder = Builder::default();
        for (group, user, at, text) in lines {
            builder.say(1, group, UserId::parse(user).unwrap(), *at, (*text).to_owned());
        }
        let steps = builder.finish().groups.into_iter().flat_map(|group| group.steps);
        steps.filter_map(|step| if let Act::Say { id, .. } = step.act { Some(id) } else { None }).collect()
    }

    #[test]
    fn ids_are_the_same_in_every_run_and_no_two_are_alike() {
        let lines = [("g", "message", "a"), ("g", "message", "a"), ("h", "message", "a")];
        assert_eq!(plan(&lines), plan(&lines));
        let day = [("g", "a", Some("1"), "hi"), ("g", "a", Some("1"), "hi"), ("h", "a", Some("1"), "hi")];
        assert_eq!(said(&day), said(&day));
        assert_eq!(said(&day).into_iter().collect::<HashSet<_>>().len(), 3);
    }

    /// The message with the id is there: then all before it is, and nothing else.
    #[test]
    fn an_id_is_of_all_that_was_said_up_to_it() {
        let day = [("g", "a", Some("1"), "hi"), ("g", "b", Some("2"), "hello"), ("g", "a", Some("3"), "so")];
        let ids = said(&day);
        assert_eq!(said(&day[..2]), ids[..2], "a transcript that has grown goes on");
        for (nth, other) in [
            (0, ("g", "a", Some("1"), "hi!")),
            (0, ("g", "a", Some("2"), "hi")),
            (0, ("g", "a", None, "hi")),
            (0, ("g", "b", Some("1"), "hi")),
            (1, ("g", "b", Some("2"), "hello!")),
            (0, ("g", "a", Some("1h"), "i")),
        ] {
            let mut changed = day;
            changed[nth] = other;
            let changed = said(&changed);
            assert_eq!(changed[..nth], ids[..nth]);
            assert!(changed[nth..].iter().all(|id| !ids.contains(id)), "{other:?}");
        }
        let next_day = said(&[("g", "a", Some("4"), "hi"), ("g", "b", Some("5"), "hello")]);
        assert!(next_day.iter().all(|id| !ids.contains(id)));
        assert_eq!(group_id("g").to_string(), "c84cc6e0-1bd8-70be-bb40-6983728a3970", "as it always was");
    }
}

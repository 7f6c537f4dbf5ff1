//! From the lines of a transcript to what each group has to do, in order. Values in, values out.

use std::collections::{HashMap, HashSet};
use std::io::{BufRead as _, BufReader, Read};
use std::path::Path;

use anyhow::Context as _;
use aws_lc_rs::digest::{SHA256, digest};
use flate2::read::MultiGzDecoder;
use parley_domain::UserId;
use serde::Deserialize;
use uuid::Uuid;

use crate::Usage;

/// The longest line.
const LINE_BYTES_MAX: usize = 1024 * 1024;

/// Creates every group and never leaves.
pub(crate) const ARCHIVE: &str = "archive";

#[derive(Deserialize)]
struct Line {
    group: String,
    kind: Kind,
    user: String,
    text: Option<String>,
}

#[derive(Deserialize, Clone, Copy, PartialEq, Eq)]
#[serde(rename_all = "snake_case")]
enum Kind {
    Message,
    Join,
    Leave,
}

/// One thing that happens in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Step {
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

/// A group and all that happens in it.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Group {
    /// Its name in the transcript.
    pub(crate) name: String,
    /// Derived from the name.
    pub(crate) id: Uuid,
    /// In order.
    pub(crate) steps: Vec<Step>,
}

/// A transcript.
pub(crate) struct Plan {
    pub(crate) groups: Vec<Group>,
    pub(crate) users: usize,
    pub(crate) messages: u64,
}

/// Reads a transcript, gzipped or not.
pub(crate) fn read(path: &Path) -> anyhow::Result<Plan> {
    let cannot = || format!("{} can't be read", path.display());
    let mut file = BufReader::new(std::fs::File::open(path).with_context(cannot)?);
    let gzipped = file.fill_buf().with_context(cannot)?.starts_with(&[0x1f, 0x8b]);
    let reader: Box<dyn Read> = if gzipped { Box::new(MultiGzDecoder::new(file)) } else { Box::new(file) };
    let mut builder = Builder::default();
    for (number, line) in (1..).zip(BufReader::new(reader).lines()) {
        let line = line.with_context(cannot)?;
        if !line.trim().is_empty() {
            builder.line(&line).map_err(|why| Usage(format!("{}, line {number}: {why}", path.display())))?;
        }
    }
    Ok(builder.finish())
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
    /// Who spoke first without having joined: members from the beginning.
    early: Vec<UserId>,
    seen: HashSet<UserId>,
    present: HashSet<UserId>,
    steps: Vec<Step>,
    messages: u64,
}

#[derive(Default)]
struct Builder {
    groups: HashMap<String, Building>,
    order: Vec<String>,
    users: HashSet<UserId>,
}

impl Builder {
    fn line(&mut self, text: &str) -> Result<(), String> {
        if text.len() > LINE_BYTES_MAX {
            return Err(format!("longer than {LINE_BYTES_MAX} bytes"));
        }
        let line: Line = serde_json::from_str(text).map_err(|error| error.to_string())?;
        let user = UserId::parse(&line.user).map_err(|error| format!("user: {error}"))?;
        self.users.insert(user.clone());
        if !self.groups.contains_key(&line.group) {
            self.order.push(line.group.clone());
        }
        let group = self.groups.entry(line.group.clone()).or_default();
        match (line.kind, line.text) {
            (Kind::Join, _) => group.join(user),
            (Kind::Leave, _) => group.leave(user),
            (Kind::Message, Some(text)) => group.say(user, text, &line.group),
            (Kind::Message, None) => return Err("a message needs a text, which may be empty".into()),
        }
        Ok(())
    }

    fn finish(mut self) -> Plan {
        let mut messages = 0;
        let groups = self.order.iter().filter_map(|name| {
            let building = self.groups.remove(name)?;
            messages += building.messages;
            let mut steps = building.steps;
            if !building.early.is_empty() {
                steps.insert(0, Step::Join(building.early));
            }
            Some(Group { id: derived(&format!("parley import {name}")), name: name.clone(), steps })
        });
        let groups = groups.collect();
        Plan { groups, users: self.users.len(), messages }
    }
}

impl Building {
    fn join(&mut self, user: UserId) {
        self.seen.insert(user.clone());
        if user.as_str() == ARCHIVE || !self.present.insert(user.clone()) {
            return;
        }
        match self.steps.last_mut() {
            Some(Step::Join(users)) if users.len() < 1_000 => users.push(user),
            _ => self.steps.push(Step::Join(vec![user])),
        }
    }

    fn leave(&mut self, user: UserId) {
        self.seen.insert(user.clone());
        if user.as_str() != ARCHIVE && self.present.remove(&user) {
            self.steps.push(Step::Leave(user));
        }
    }

    fn say(&mut self, user: UserId, text: String, group: &str) {
        if user.as_str() != ARCHIVE && !self.present.contains(&user) {
            if self.seen.contains(&user) || self.early.len() >= 1_000 {
                self.join(user.clone());
            } else {
                self.present.insert(user.clone());
                self.early.push(user.clone());
            }
        }
        self.seen.insert(user.clone());
        self.messages += 1;
        let id = derived(&format!("parley import {group} {}", self.messages)).to_string();
        self.steps.push(Step::Say { user, id, text });
    }
}

/// What is left to do when some messages are there already: everything after the last of them.
pub(crate) fn rest(steps: Vec<Step>, there: &HashSet<String>) -> Vec<Step> {
    let said = |step: &Step| matches!(step, Step::Say { id, .. } if there.contains(id));
    let done = steps.iter().rposition(said).map_or(0, |last| last + 1);
    steps.into_iter().skip(done).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn user(name: &str) -> UserId {
        UserId::parse(name).unwrap()
    }

    fn plan(lines: &[(&str, &str, &str)]) -> Vec<Group> {
        let mut builder = Builder::default();
        for (group, kind, user) in lines {
            let line =
                serde_json::json!({"group": group, "at": "x", "kind": kind, "user": user, "text": "t"});
            builder.line(&line.to_string()).unwrap();
        }
        builder.finish().groups
    }

    fn shape(steps: &[Step]) -> Vec<String> {
        let one = |step: &Step| match step {
            Step::Join(users) => {
                format!("+{}", users.iter().map(|user| user.as_str()).collect::<Vec<_>>().join(","))
            }
            Step::Leave(user) => format!("-{user}"),
            Step::Say { user, .. } => format!("{user}!"),
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
        assert_eq!(shape(&groups[1].steps), ["archive!"]);
        assert_ne!(groups[0].id, groups[1].id);
    }

    #[test]
    fn a_second_run_goes_on_behind_what_is_there() {
        let steps =
            plan(&[("g", "message", "a"), ("g", "join", "b"), ("g", "message", "b"), ("g", "leave", "b")])
                .remove(0)
                .steps;
        let ids: Vec<String> = steps
            .iter()
            .filter_map(|step| if let Step::Say { id, .. } = step { Some(id.clone()) } else { None })
            .collect();
        assert_eq!(shape(&rest(steps.clone(), &HashSet::new())).len(), 5);
        assert_eq!(shape(&rest(steps.clone(), &ids[..1].iter().cloned().collect())), ["+b", "b!", "-b"]);
        assert_eq!(shape(&rest(steps, &ids.into_iter().collect())), ["-b"]);
        assert!(user("b").as_str() == "b");
    }

    #[test]
    fn a_bad_line_says_what_is_wrong() {
        for line in
            ["{", r#"{"group":"g","kind":"x","user":"u"}"#, r#"{"group":"g","kind":"message","user":"u"}"#]
        {
            assert!(Builder::default().line(line).is_err(), "{line}");
        }
    }
}

//! What an earlier run has left to do. Values in, values out.
//!
//! The lines of a group go strictly in order, so the newest of its messages that is there says how far the earlier run
//! had come: all before it is done. Only the joins and leaves between it and the next message are in doubt, and those
//! are told by who is a member now. So is who should be a member by then and isn't: a transcript that has grown since may
//! speak of somebody who, by it, was there from the beginning.

use std::collections::{HashMap, HashSet};

use parley_domain::UserId;

use super::plan::{ARCHIVE, Act, JOINS_MAX, Step};

/// A group's steps, cut behind the newest message that is there.
pub(super) struct Rest {
    /// Messages that are there.
    pub(super) done: usize,
    /// What follows.
    pub(super) steps: Vec<Step>,
    /// Who was a member at the cut.
    members: HashSet<UserId>,
    /// Whom the transcript speaks of; other members are nobody's business here.
    named: HashSet<UserId>,
}

/// Cuts behind the message with the id `newest`.
pub(super) fn behind(mut steps: Vec<Step>, newest: Option<&str>) -> Rest {
    let is_newest = |step: &Step| matches!(&step.act, Act::Say { id, .. } if newest == Some(id.as_str()));
    let cut = steps.iter().position(is_newest).map_or(0, |at| at + 1);
    let left = steps.split_off(cut);
    let (mut members, mut done) = (HashSet::new(), 0);
    for step in &steps {
        apply(&mut members, &step.act);
        done += usize::from(matches!(step.act, Act::Say { .. }));
    }
    let named = steps.iter().chain(&left).flat_map(|step| users(&step.act)).cloned().collect();
    Rest { done, steps: left, members, named }
}

fn users(act: &Act) -> &[UserId] {
    match act {
        Act::Join(users) => users,
        Act::Leave(user) | Act::Say { user, .. } => std::slice::from_ref(user),
    }
}

fn apply(members: &mut HashSet<UserId>, act: &Act) {
    match act {
        Act::Join(users) => members.extend(users.iter().cloned()),
        Act::Leave(user) => drop(members.remove(user)),
        Act::Say { .. } => {}
    }
}

impl Rest {
    /// Joins and leaves before the next message: those that may have been done.
    fn doubtful(&self) -> usize {
        self.steps.iter().take_while(|step| !matches!(step.act, Act::Say { .. })).count()
    }

    /// The steps that are left, given who is a member now.
    pub(super) fn settle(mut self, mut now: HashSet<UserId>) -> Vec<Step> {
        now.retain(|user| user.as_str() != ARCHIVE && self.named.contains(user));
        let mut left = self.absent(&now);
        now.extend(left.iter().flat_map(|step| users(&step.act)).cloned());
        let doubtful = self.doubtful();
        let later = self.steps.split_off(doubtful);
        // The latest point that fits: doing something twice would be worse than leaving out that somebody left and
        // came back without a word in between.
        let mut fits = (self.members == now).then_some(0);
        for (done, step) in (1..).zip(&self.steps) {
            apply(&mut self.members, &step.act);
            if self.members == now {
                fits = Some(done);
            }
        }
        left.extend(match fits {
            Some(done) => self.steps.split_off(done),
            // Somebody else has changed the members: do what makes them as they should be.
            None => difference(&self.steps, &now),
        });
        left.extend(later);
        left
    }

    /// Joins of those who should be members at the cut, aren't, and are next heard of by saying something. Whoever leaves
    /// next needn't come for that, and may just have left.
    fn absent(&self, now: &HashSet<UserId>) -> Vec<Step> {
        let (mut heard, mut absent) = (HashSet::new(), Vec::new());
        for Step { line, act } in &self.steps {
            for user in users(act).iter().filter(|user| heard.insert(*user)) {
                if matches!(act, Act::Say { .. }) && self.members.contains(user) && !now.contains(user) {
                    absent.push((*line, user.clone()));
                }
            }
        }
        let calls = absent.chunks(JOINS_MAX).filter_map(|call| {
            let users = call.iter().map(|(_, user)| user.clone()).collect();
            call.first().map(|(line, _)| Step { line: *line, act: Act::Join(users) })
        });
        calls.collect()
    }
}

/// What leads from the members of now to what they are behind `steps`, as far as these speak of them.
fn difference(steps: &[Step], now: &HashSet<UserId>) -> Vec<Step> {
    let mut last: HashMap<&UserId, (u64, bool)> = HashMap::new();
    for Step { line, act } in steps {
        match act {
            Act::Join(users) => last.extend(users.iter().map(|user| (user, (*line, true)))),
            Act::Leave(user) => drop(last.insert(user, (*line, false))),
            Act::Say { .. } => {}
        }
    }
    let wrong = last.into_iter().filter(|(user, (_, is_in))| now.contains(*user) != *is_in);
    let mut left: Vec<Step> = wrong
        .map(|(user, (line, is_in))| {
            let user = user.clone();
            Step { line, act: if is_in { Act::Join(vec![user]) } else { Act::Leave(user) } }
        })
        .collect();
    left.sort_by_key(|step| step.line);
    left
}

#[cfg(test)]
mod tests {
    use super::super::plan::tests::{plan, shape};
    use super::*;

    fn steps(lines: &[(&str, &str)]) -> Vec<Step> {
        let lines: Vec<_> = lines.iter().map(|(kind, user)| ("g", *kind, *user)).collect();
        plan(&lines).remove(0).steps
    }

    fn nth(steps: &[Step], n: usize) -> Option<String> {
        let ids = steps.iter().filter_map(|step| match &step.act {
            Act::Say { id, .. } => Some(id.clone()),
            Act::Join(_) | Act::Leave(_) => None,
        });
        n.checked_sub(1).and_then(|n| ids.clone().nth(n))
    }

    /// What is left behind the `n`th message, if these are members now.
    fn left(steps: &[Step], n: usize, now: &[&str]) -> Vec<String> {
        let rest = behind(steps.to_vec(), nth(steps, n).as_deref());
        assert_eq!(rest.done, n);
        shape(&rest.settle(now.iter().map(|user| UserId::parse(user).unwrap()).collect()))
    }

    #[test]
    fn goes_on_behind_the_newest_message() {
        let steps = steps(&[("message", "a"), ("join", "b"), ("message", "b"), ("leave", "b")]);
        assert_eq!(shape(&steps), ["+a", "a!", "+b", "b!", "-b"]);
        assert_eq!(left(&steps, 0, &["archive"]), ["+a", "a!", "+b", "b!", "-b"]);
        assert_eq!(left(&steps, 0, &["archive", "a"]), ["a!", "+b", "b!", "-b"]);
        assert_eq!(left(&steps, 1, &["archive", "a"]), ["+b", "b!", "-b"]);
        assert_eq!(left(&steps, 1, &["archive", "a", "b"]), ["b!", "-b"]);
        assert_eq!(left(&steps, 2, &["archive", "a", "b"]), ["-b"]);
        assert!(left(&steps, 2, &["archive", "a"]).is_empty(), "a second run has nothing to do");
        assert!(!behind(steps.clone(), Some("unknown")).steps.is_empty());
    }

    #[test]
    fn who_left_and_came_back_does_so_once() {
        let steps =
            steps(&[("message", "a"), ("join", "b"), ("leave", "b"), ("join", "b"), ("message", "a")]);
        assert_eq!(left(&steps, 1, &["a"]), ["+b", "a!"], "the latest point that fits");
        assert_eq!(left(&steps, 1, &["a", "b"]), ["a!"]);
        assert!(left(&steps, 2, &["a", "b"]).is_empty());
    }

    #[test]
    fn others_are_nobodys_business_and_changes_by_hand_are_made_good() {
        let steps = steps(&[("message", "a"), ("join", "b"), ("leave", "a"), ("join", "c"), ("leave", "c")]);
        assert_eq!(left(&steps, 1, &["a", "zoe"]), ["+b", "-a", "+c", "-c"]);
        assert!(left(&steps, 1, &["b", "zoe"]).is_empty());
        assert_eq!(left(&steps, 1, &["a", "c"]), ["+b", "-a", "-c"], "as it never was in the transcript");
    }

    /// By what was added, `c` was there from the beginning, `d` is let in later, and `e` left without a word.
    #[test]
    fn who_first_speaks_in_what_was_added_is_let_in() {
        let day = [("message", "a"), ("join", "b"), ("message", "b")];
        let grown = [
            &day[..],
            &[("leave", "b"), ("message", "c"), ("join", "d"), ("message", "d"), ("message", "a")],
        ]
        .concat();
        let (day, grown) = (steps(&day), steps(&grown));
        assert_eq!(shape(&grown), ["+a,c", "a!", "+b", "b!", "-b", "c!", "+d", "d!", "a!"]);
        assert_eq!(nth(&day, 2), nth(&grown, 2), "what was there keeps its ids");
        assert_eq!(left(&grown, 2, &["archive", "a", "b"]), ["+c", "-b", "c!", "+d", "d!", "a!"]);
        assert_eq!(left(&grown, 2, &["archive", "a"]), ["+c", "c!", "+d", "d!", "a!"], "interrupted");
        assert_eq!(left(&grown, 2, &["archive", "a", "c"]), ["c!", "+d", "d!", "a!"], "once more");
        assert_eq!(left(&grown, 3, &["archive", "a", "c"]), ["+d", "d!", "a!"]);
        assert_eq!(left(&grown, 4, &["archive", "c", "d"]), ["+a", "a!"], "removed by hand");
        assert_eq!(
            left(&grown, 4, &["archive", "d"]),
            ["+a", "a!"],
            "who says nothing more isn't brought back"
        );
    }

    #[test]
    fn those_who_are_let_in_are_a_thousand_a_call() {
        let names: Vec<String> = (0..1_500).map(|n| format!("u{n}")).collect();
        let all = |kind: &'static str| names.iter().map(move |name| (kind, name.as_str()));
        let lines: Vec<_> = all("join").chain([("message", "a")]).chain(all("message")).collect();
        let steps = steps(&lines);
        let rest = behind(steps.clone(), nth(&steps, 1).as_deref());
        let left = rest.settle(HashSet::from([UserId::parse("a").unwrap()]));
        let joins = left.iter().filter_map(|step| match &step.act {
            Act::Join(users) => Some(users.len()),
            Act::Leave(_) | Act::Say { .. } => None,
        });
        assert_eq!(joins.collect::<Vec<_>>(), [1_000, 500]);
    }
}

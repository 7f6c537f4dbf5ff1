//! Random histories: what some people wish of one group, one after the other, and what came of it.

use parley_domain::{
    ClientMessageId, Command, Context, CreateGroup, CursorAdvance, CursorWish, Decision, Event, Fact, Group,
    Role, SendMessage, Seq, UserId, advance_cursors, decide,
};
use proptest::prelude::*;
use proptest::strategy::ValueTree as _;

use crate::given::{GROUP, LIMITS, at, create, event_id, message_id, roll_back, send};

/// More than fit into a group, so that groups fill up.
const PEOPLE: [&str; 10] = ["ann", "bob", "cat", "dan", "eve", "fay", "gus", "hal", "ida", "jan"];

/// A history is a hundred values of ordinary ones, so fewer of them; `PROPTEST_CASES` makes it more.
pub(crate) fn config() -> ProptestConfig {
    let default = ProptestConfig::default();
    ProptestConfig { cases: default.cases.div_ceil(3), ..default }
}

/// Who asks. By chance alone most would be strangers, and most wishes refused.
#[derive(Debug, Clone)]
pub(crate) enum Actor {
    Owner,
    /// The nth member, by name.
    Member(usize),
    Person(UserId),
}

/// One wish.
#[derive(Debug, Clone)]
pub(crate) enum Step {
    Command {
        actor: Actor,
        command: Command,
    },
    Leave(Actor),
    RollBack {
        nth: usize,
    },
    /// What each acknowledges, delivered and read counted back from the head, and how much of the head isn't durable yet.
    Acknowledge {
        wishes: Vec<(Actor, Option<Seq>, Option<Seq>, bool)>,
        unconfirmed: Seq,
    },
}

/// What came of the steps.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    pub(crate) facts: Vec<Fact>,
    /// Entries of `parley.acks`, in the order of their decisions.
    pub(crate) advances: Vec<CursorAdvance>,
    /// Accepted acknowledgements with the stay (by its joining) that was the user's present or last one then.
    pub(crate) acknowledged: Vec<(CursorWish, Seq)>,
    pub(crate) group: Option<Group>,
}

pub(crate) fn person() -> impl Strategy<Value = UserId> {
    prop::sample::select(&PEOPLE[..]).prop_map(|name| UserId::parse(name).unwrap())
}

fn people(most: usize) -> impl Strategy<Value = Vec<UserId>> {
    prop::collection::vec(person(), 0..=most)
}

fn role() -> impl Strategy<Value = Role> {
    prop::sample::select(vec![Role::Owner, Role::Admin, Role::Member])
}

fn command() -> impl Strategy<Value = Command> {
    prop_oneof![
        1 => people(4).prop_map(|members| Command::Create(CreateGroup { members, ..create(&[]) })),
        1 => "[ab]?".prop_map(|name| Command::Update { name: Some(name), description: None }),
        6 => prop::collection::vec(person(), 1..4).prop_map(|users| Command::AddMembers { users }),
        8 => person().prop_map(|user| Command::RemoveMember { user }),
        2 => person().prop_map(|user| Command::TransferOwnership { user }),
        2 => (person(), role()).prop_map(|(user, role)| Command::SetRole { user, role }),
        12 => "[a-z]{1,4}".prop_map(|id| {
            let client_message_id = ClientMessageId::parse(&id).unwrap();
            Command::Send(Box::new(SendMessage { client_message_id, ..send() }))
        }),
    ]
}

fn actor() -> impl Strategy<Value = Actor> {
    prop_oneof![
        4 => Just(Actor::Owner),
        4 => (0..8usize).prop_map(Actor::Member),
        1 => person().prop_map(Actor::Person),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let back = || prop::option::weighted(0.7, 0..12u64);
    let wish = (actor(), back(), back(), any::<bool>());
    prop_oneof![
        20 => (actor(), command()).prop_map(|(actor, command)| Step::Command { actor, command }),
        1 => actor().prop_map(Step::Leave),
        1 => (0..40usize).prop_map(|nth| Step::RollBack { nth }),
        10 => (prop::collection::vec(wish, 1..4), 0..3u64)
            .prop_map(|(wishes, unconfirmed)| Step::Acknowledge { wishes, unconfirmed }),
    ]
}

/// Steps that begin with a group and may end with its dissolution.
pub(crate) fn steps() -> impl Strategy<Value = Vec<Step>> {
    let begin = people(6).prop_map(|members| Step::Command {
        actor: Actor::Person(UserId::parse("ann").unwrap()),
        command: Command::Create(CreateGroup { members, ..create(&[]) }),
    });
    let end = prop::option::weighted(0.2, actor());
    (begin, prop::collection::vec(step(), 0..70), end).prop_map(|(begin, middle, end)| {
        let end = end.map(|actor| Step::Command { actor, command: Command::Dissolve });
        std::iter::once(begin).chain(middle).chain(end).collect()
    })
}

/// A history with everything that was accepted.
pub(crate) fn histories() -> impl Strategy<Value = History> {
    steps().prop_map(|steps| {
        let mut history = History::default();
        for step in &steps {
            history.take(step);
        }
        history
    })
}

impl History {
    pub(crate) fn head(&self) -> Seq {
        self.group.as_ref().map_or(0, |group| group.head)
    }

    fn who(&self, actor: &Actor) -> UserId {
        match (actor, &self.group) {
            (Actor::Person(user), _) => user.clone(),
            (_, None) => UserId::parse("ann").unwrap(),
            (Actor::Owner, Some(group)) => group.owner.clone(),
            (Actor::Member(nth), Some(group)) => {
                let current = group.members.iter().filter(|(_, membership)| membership.is_current());
                let mut current: Vec<&UserId> = current.map(|(user, _)| user).collect();
                current.sort();
                current[nth % current.len()].clone()
            }
        }
    }

    /// Decides one step and folds what comes of it, as the owner of a partition does.
    pub(crate) fn take(&mut self, step: &Step) {
        match step {
            Step::Command { actor, command } => {
                let actor = self.who(actor);
                self.command(&actor, command);
            }
            Step::Leave(actor) => {
                let user = self.who(actor);
                self.command(&user, &Command::RemoveMember { user: user.clone() });
            }
            Step::RollBack { nth } => {
                let messages: Vec<(Seq, UserId)> = self.messages().collect();
                if let Some((seq, sender)) = messages.get(nth % messages.len().max(1)) {
                    let command = roll_back(*seq, sender.as_str());
                    self.command(sender, &command);
                }
            }
            Step::Acknowledge { wishes, unconfirmed } => {
                let upto = |back: &Option<Seq>| back.map_or(0, |back| self.head().saturating_sub(back));
                let wishes = wishes.iter().map(|(actor, delivered, read, notified)| CursorWish {
                    user: self.who(actor),
                    delivered: upto(delivered),
                    read: upto(read),
                    notified: *notified,
                });
                let wishes: Vec<CursorWish> = wishes.collect();
                self.acknowledge(&wishes, *unconfirmed);
            }
        }
    }

    fn command(&mut self, actor: &UserId, command: &Command) {
        let next = self.head() + 1;
        let (now, event_id) = (at(next), event_id(next));
        let context = Context { group_id: GROUP, actor: actor.clone(), now, event_id, limits: LIMITS };
        if let Ok(Decision::Append(fact)) = decide(self.group.as_ref(), command, &context) {
            Group::evolve(&mut self.group, &fact);
            self.facts.push(fact.as_ref().clone());
        }
    }

    fn acknowledge(&mut self, wishes: &[CursorWish], unconfirmed: Seq) {
        let head = self.head().saturating_sub(unconfirmed);
        let outcome = advance_cursors(self.group.as_ref(), wishes, head, at(head));
        let Some(group) = &mut self.group else { return };
        for (wish, answer) in wishes.iter().zip(&outcome.answers) {
            if answer.is_ok() {
                let joined = group.members[&wish.user].stay.joined;
                self.acknowledged.push((wish.clone(), joined));
            }
        }
        for advance in &outcome.advances {
            group.apply_cursor(advance);
        }
        self.advances.extend(outcome.advances);
    }

    /// Places and senders of all messages.
    pub(crate) fn messages(&self) -> impl Iterator<Item = (Seq, UserId)> {
        self.facts.iter().filter_map(|fact| match &fact.event {
            Event::MessageSent(message) => {
                assert_eq!(message.message_id, message_id(fact.seq));
                Some((fact.seq, message.sender.clone()))
            }
            _ => None,
        })
    }

    /// Whether the message was rolled back.
    pub(crate) fn is_rolled_back(&self, seq: Seq) -> bool {
        let of_it = |fact: &Fact| matches!(&fact.event, Event::MessageRolledBack { message_seq, .. } if *message_seq == seq);
        self.facts.iter().any(of_it)
    }

    /// All times of membership by a plain walk over the facts: who, from, and until which event, if that has ended.
    pub(crate) fn stays(&self) -> Vec<(UserId, Seq, Option<Seq>)> {
        let mut stays: Vec<(UserId, Seq, Option<Seq>)> = Vec::new();
        for fact in &self.facts {
            match &fact.event {
                Event::GroupCreated { members: users, .. } | Event::MembersAdded { users, .. } => {
                    stays.extend(users.iter().map(|user| (user.clone(), fact.seq, None)));
                }
                Event::MembersRemoved { users, .. } => {
                    for (_, _, left) in
                        stays.iter_mut().filter(|(user, _, left)| left.is_none() && users.contains(user))
                    {
                        *left = Some(fact.seq);
                    }
                }
                _ => {}
            }
        }
        stays
    }

    /// Delivered and read of a stay, by what was acknowledged during it and nothing else.
    pub(crate) fn cursors(&self, user: &UserId, joined: Seq) -> (Seq, Seq) {
        let wishes = self.acknowledged.iter().filter(|(wish, stay)| wish.user == *user && *stay == joined);
        wishes.fold((joined, joined), |(delivered, read), (wish, _)| {
            let read = read.max(wish.read);
            (delivered.max(wish.delivered).max(read), read)
        })
    }
}

/// The generator is worth its name: what the properties are about does happen.
#[test]
fn histories_are_eventful() {
    let mut runner = proptest::test_runner::TestRunner::deterministic();
    let mut counts = [0; 7];
    for _ in 0..100 {
        let history = histories().new_tree(&mut runner).unwrap().current();
        let group = history.group.as_ref().unwrap();
        let seen = [
            history.facts.len(),
            history.messages().count(),
            history.advances.len(),
            group.rolled_back.len(),
            group.members.values().filter(|membership| !membership.past.is_empty()).count(),
            history.stays().iter().filter(|(_, _, left)| left.is_some()).count(),
            usize::from(group.dissolved.is_some()),
        ];
        counts.iter_mut().zip(seen).for_each(|(count, one)| *count += one);
    }
    let least = [1_000, 500, 500, 30, 20, 100, 3];
    assert!(counts.iter().zip(least).all(|(count, least)| *count >= least), "{counts:?} in 100 histories");
}

//! The open requests of one partition, in their order. Values only: what to send where, and what to answer.

use std::collections::BTreeMap;

use parley_domain::{Code, Rejection};
use parley_wire::service::{Reply, ReplyTo, Request, outcome_unknown};
use tokio::time::Instant;

use super::nobody;

/// A request that has no answer yet.
pub(super) struct Open {
    pub(super) request: Request,
    reply_to: ReplyTo,
    /// Until when an owner is looked for.
    deadline: Instant,
    /// It was sent, and that may have had an effect.
    may_have_happened: bool,
    /// The same of an earlier attempt.
    happened_before: bool,
}

/// Where the requests of a lane were sent: the number of the link, and the term.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct SentTo {
    pub(super) link: u64,
    pub(super) term: u64,
}

/// The requests of a partition.
#[derive(Default)]
pub(super) struct Lane {
    /// By number, and so in their order.
    open: BTreeMap<u64, Open>,
    /// The term that refused: its owner is asked again only under another.
    pub(super) refused_term: Option<u64>,
    /// Everything open was sent here, but for what is [unsent](Self::unsent).
    pub(super) sent_to: Option<SentTo>,
    /// The first that the link had no room for yet; nothing behind it was sent either.
    unsent: Option<u64>,
}

/// What an answer means for its lane.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// Nothing more.
    Done,
    /// Everything that is open must be sent again.
    SendAgain,
}

impl Lane {
    /// A request that was not sent yet.
    pub(super) fn add(&mut self, number: u64, request: Request, reply_to: ReplyTo, deadline: Instant) {
        let open = Open { request, reply_to, deadline, may_have_happened: false, happened_before: false };
        self.open.insert(number, open);
    }

    /// Takes a request back that was never sent, and refuses it.
    pub(super) fn refuse(&mut self, number: u64, rejection: Rejection) {
        if let Some(open) = self.open.remove(&number) {
            open.reply_to.answer(Err(rejection));
        }
    }

    /// Whether something waits for room in the link that the rest was sent over.
    pub(super) fn waits_for_room(&self) -> bool {
        self.unsent.is_some()
    }

    /// Sends what wasn't sent yet, in order, until there is no more room.
    pub(super) fn send_rest(&mut self, mut send: impl FnMut(u64, &Request) -> bool) {
        let from = self.unsent.take().unwrap_or_default();
        for (number, open) in self.open.range_mut(from..) {
            if !send(*number, &open.request) {
                self.unsent = Some(*number);
                return;
            }
            open.may_have_happened = true;
        }
    }

    /// How many are open.
    pub(super) fn len(&self) -> usize {
        self.open.len()
    }

    /// The request of this number, which is sent now.
    pub(super) fn sent(&mut self, number: u64) -> Option<&Request> {
        let open = self.open.get_mut(&number)?;
        open.may_have_happened = true;
        Some(&open.request)
    }

    /// An answer to a request. One to an earlier attempt has a number that nobody knows any more.
    pub(super) fn answered(&mut self, number: u64, result: Result<Reply, Rejection>) -> Step {
        let Some(open) = self.open.get_mut(&number) else { return Step::Done };
        match result {
            Ok(Reply::NotOwner) => {
                // It had no effect under this term.
                open.may_have_happened = false;
                Step::SendAgain
            }
            Err(rejection) if rejection.code == Code::OutcomeUnknown && open.request.wish.is_repeatable() => {
                Step::SendAgain
            }
            result => {
                if let Some(open) = self.open.remove(&number) {
                    open.reply_to.answer(result);
                }
                Step::Done
            }
        }
    }

    /// Takes back what was sent, to be sent again under fresh numbers in the same order. What may have happened and can't be
    /// repeated is answered.
    pub(super) fn take_back(&mut self, mut fresh: impl FnMut() -> u64) {
        (self.sent_to, self.unsent) = (None, None);
        for (_, mut open) in std::mem::take(&mut self.open) {
            if open.may_have_happened && !open.request.wish.is_repeatable() {
                open.reply_to.answer(Err(outcome_unknown()));
            } else {
                open.happened_before |= std::mem::take(&mut open.may_have_happened);
                self.open.insert(fresh(), open);
            }
        }
    }

    /// Answers what has waited for too long.
    pub(super) fn expire(&mut self, now: Instant) {
        for (_, open) in self.open.extract_if(.., |_, open| open.deadline <= now) {
            let unknown = open.may_have_happened || open.happened_before;
            let rejection = if unknown { outcome_unknown() } else { nobody() };
            open.reply_to.answer(Err(rejection));
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use parking_lot::Mutex;
    use parley_domain::{ClientMessageId, GroupId, MessageKind, UserId};
    use parley_wire::event::Content;
    use parley_wire::service::{Send, Wish};

    use super::*;

    type Answers = Arc<Mutex<Vec<(u64, Result<Reply, Rejection>)>>>;

    fn request(wish: Wish) -> Request {
        Request { group_id: GroupId::from_bytes([1; 16]), actor: UserId::parse("ann").unwrap(), wish }
    }

    fn send(number: u64) -> Wish {
        Wish::Send(Box::new(Send {
            client_message_id: ClientMessageId::parse(&number.to_string()).unwrap(),
            kind: MessageKind::Text,
            content: Content::default(),
            media: None,
            over_rate: None,
            trace: None,
        }))
    }

    fn lane(wishes: Vec<Wish>) -> (Lane, Answers) {
        let (mut lane, answers) = (Lane::default(), Answers::default());
        for (number, wish) in (1..).zip(wishes) {
            let told = answers.clone();
            let reply_to = ReplyTo::new(move |result| told.lock().push((number, result)));
            lane.add(number, request(wish), reply_to, Instant::now() + Duration::from_secs(1));
            lane.sent(number).unwrap();
        }
        (lane, answers)
    }

    fn numbers_of(lane: &mut Lane) -> Vec<String> {
        let mut ids = Vec::new();
        lane.send_rest(|_, request| {
            if let Wish::Send(send) = &request.wish {
                ids.push(send.client_message_id.as_str().to_owned());
            }
            true
        });
        ids
    }

    #[test]
    fn what_finds_no_room_follows_later_under_the_same_numbers() {
        let (mut lane, answers) = lane(vec![send(1), send(2), send(3)]);
        let mut next = 10;
        lane.take_back(|| {
            next += 1;
            next
        });
        let mut sent = Vec::new();
        lane.send_rest(|number, _| {
            sent.push(number);
            sent.len() < 3
        });
        assert_eq!(sent, [11, 12, 13], "the last was tried");
        assert!(lane.waits_for_room());
        assert_eq!(lane.answered(11, Ok(Reply::Done)), Step::Done);
        sent.clear();
        lane.send_rest(|number, _| {
            sent.push(number);
            true
        });
        assert_eq!(sent, [13]);
        assert!(!lane.waits_for_room());
        assert_eq!(answers.lock().len(), 1);
    }

    #[test]
    fn what_was_refused_goes_again_in_its_order_and_old_answers_are_nobodys() {
        let (mut lane, answers) = lane(vec![send(1), send(2), send(3)]);
        assert_eq!(lane.answered(2, Ok(Reply::Done)), Step::Done);
        assert_eq!(lane.answered(1, Ok(Reply::NotOwner)), Step::SendAgain);
        let mut next = 10;
        lane.take_back(|| {
            next += 1;
            next
        });
        assert_eq!(numbers_of(&mut lane), ["1", "3"]);
        assert_eq!(lane.answered(3, Ok(Reply::Done)), Step::Done, "of an earlier attempt");
        assert_eq!(answers.lock().len(), 1);
        assert_eq!(lane.answered(11, Ok(Reply::Done)), Step::Done);
        assert_eq!(lane.answered(12, Ok(Reply::Done)), Step::Done);
        assert_eq!(answers.lock().iter().map(|(number, _)| *number).collect::<Vec<_>>(), [2, 1, 3]);
        assert_eq!(lane.len(), 0);
    }

    #[test]
    fn what_cannot_be_repeated_is_unknown_once_it_may_have_happened() {
        let user = UserId::parse("bob").unwrap();
        let (mut lane, answers) = lane(vec![Wish::RemoveMember(user), send(2)]);
        lane.take_back(|| 20);
        assert_eq!(answers.lock().len(), 1);
        let (number, result) = answers.lock().remove(0);
        assert_eq!((number, result.unwrap_err().code), (1, Code::OutcomeUnknown));
        assert_eq!(numbers_of(&mut lane), ["2"]);
    }

    #[test]
    fn not_owner_is_certain_and_so_anything_may_go_again() {
        let (mut lane, answers) = lane(vec![Wish::Dissolve]);
        assert_eq!(lane.answered(1, Ok(Reply::NotOwner)), Step::SendAgain);
        lane.take_back(|| 2);
        assert!(answers.lock().is_empty());
        let mut numbers = Vec::new();
        lane.send_rest(|number, _| {
            numbers.push(number);
            true
        });
        assert_eq!(numbers, [2]);
    }

    #[test]
    fn a_send_of_unknown_outcome_goes_again_and_a_late_one_is_answered() {
        let (mut lane, answers) = lane(vec![send(1)]);
        assert_eq!(lane.answered(1, Err(outcome_unknown())), Step::SendAgain);
        lane.expire(Instant::now());
        assert!(answers.lock().is_empty());
        lane.expire(Instant::now() + Duration::from_secs(2));
        assert_eq!(answers.lock().remove(0).1.unwrap_err().code, Code::OutcomeUnknown);
    }
}

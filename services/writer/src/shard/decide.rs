//! From requests to a flight: decisions on the state as it will be, records in the order of the decisions.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{
    Code, Command, Context, CreateGroup, CursorWish, Decision, Earlier, Event, EventId, Fact, Group, GroupId,
    MessageKind, NotificationKind, Position, ProfileChanged, ReceiptCounts, Rejection, SealedContent,
    SendMessage, Stamp, Timestamp, UserId, advance_cursors, decide, partition_of,
};
use parley_eventlog::{Record, Topic, TopicPartition};
use parley_keys::{DataKey, Place};
use parley_wire::decoded::Decoded;
use parley_wire::event::{self, CursorsAdvanced};
use parley_wire::service::{Audience, Notice, Reply, ReplyTo, Request, Send, Wish};
use parley_wire::trace::{self, SpanKind, TraceContext};
use parley_wire::{clock, code};
use uuid::Uuid;

use super::notices::summary;
use super::prepare::{Fetched, Named, cannot_decide, mac};
use super::{Deferred, Queued, Shard, Slot};
use crate::dedupe::{Hashed, Sent};
use crate::flight::{Answer, Flight};
use crate::options::Plant;

/// What a record holds of an event.
struct What {
    kind: &'static str,
    value: Bytes,
    id: EventId,
    time: Timestamp,
    decoded: Decoded,
    trace: Option<TraceContext>,
}

/// What a batch is decided with.
#[derive(Clone, Copy)]
struct Known<'a> {
    now: Timestamp,
    /// Whether further ids can be remembered.
    room: bool,
    fetched: &'a Fetched,
}

impl Shard {
    pub(super) async fn decide_all(&mut self, batch: &mut Vec<Queued>) -> Flight {
        let now = clock::now();
        // Before anything is looked up: what is projected meanwhile is in neither if the look-up came first.
        let projected = |partition| self.engines.progress.projected(partition);
        let room = self.state.dedupe.has_room(batch.len(), projected);
        let batch: Vec<Named> = batch.drain(..).map(|queued| self.named(queued)).collect();
        let fetched = self.fetch(&batch, now).await;
        let mut flight = Flight::default();
        let known = Known { now, room, fetched: &fetched };
        for (queued, name) in batch {
            match queued {
                Queued::Profile(profile, reply_to) => self.profile(&profile, reply_to, now, &mut flight),
                Queued::Group(request, reply_to) => {
                    self.request(*request, name, reply_to, known, &mut flight);
                }
            }
        }
        flight
    }

    /// Acknowledgements that waited for events in flight.
    pub(super) fn decide_cursors_again(&mut self, deferred: Vec<Deferred>) -> Flight {
        let mut flight = Flight::default();
        let now = clock::now();
        for (group_id, wishes, reply_to) in deferred {
            self.rest_on(group_id, true, &mut flight);
            self.cursors(group_id, wishes, reply_to, now, &mut flight);
        }
        flight
    }

    fn request(
        &mut self,
        request: Request,
        name: Option<Hashed>,
        reply_to: ReplyTo,
        known: Known<'_>,
        flight: &mut Flight,
    ) {
        let Request { group_id, actor, wish } = request;
        let now = known.now;
        self.rest_on(group_id, matches!(wish, Wish::AdvanceCursors(_) | Wish::CountReceipts(_)), flight);
        let command = match wish {
            Wish::Send(send) => {
                let name = name.unwrap_or_else(|| self.name(group_id, &actor, &send));
                return self.send(name, *send, reply_to, known, flight);
            }
            Wish::AdvanceCursors(wishes) => return self.cursors(group_id, wishes, reply_to, now, flight),
            Wish::NotifyCreated => return self.notify_created(group_id, &actor, reply_to, flight),
            Wish::CountReceipts(messages) => {
                let group = self.state.groups.get(&group_id).and_then(|slot| slot.group.as_ref());
                let result = group.ok_or_else(Rejection::group_not_found).map(|group| {
                    // Who is no member any more learns nothing of the others; only here that is known for certain.
                    let may_know =
                        |sender: &UserId| group.dissolved.is_none() && group.member(sender).is_some();
                    let mut counts = group.receipts(&messages);
                    for ((_, sender), counts) in messages.iter().zip(&mut counts) {
                        if !may_know(sender) {
                            *counts = ReceiptCounts::default();
                        }
                    }
                    Reply::Receipts(counts)
                });
                return flight.answers.push(Answer::Plain(reply_to, result));
            }
            Wish::Create { name, description, members, recipe } => {
                Command::Create(CreateGroup { name, description, members, recipe })
            }
            Wish::Update { name, description } => Command::Update { name, description },
            Wish::AddMembers(users) => Command::AddMembers { users },
            Wish::RemoveMember(user) => Command::RemoveMember { user },
            Wish::TransferOwnership(user) => Command::TransferOwnership { user },
            Wish::SetRole(user, role) => Command::SetRole { user, role },
            Wish::Dissolve => Command::Dissolve,
            Wish::RollBack { message_id, message_seq, sender, reason } => {
                Command::RollBack { message_id, message_seq, sender, reason }
            }
        };
        let context = self.context(group_id, actor, now);
        let result = self.decide(&command, &context).map(|decision| {
            let created = matches!(command, Command::Create(_)) && matches!(decision, Decision::Append(_));
            if let Decision::Append(fact) = decision {
                self.append(&fact, None, flight);
                self.hang_on(&fact, flight);
            }
            let group = self.state.groups.get(&group_id).and_then(|slot| slot.group.as_ref());
            group.map_or(Reply::Done, |group| Reply::Group { group: summary(group), created })
        });
        flight.answers.push(Answer::Plain(reply_to, result));
    }

    /// What is answered of a group rests on its events, and where cursors count, on these.
    fn rest_on(&self, group_id: GroupId, cursors: bool, flight: &mut Flight) {
        let mut text = [0; 36];
        let key: &str = group_id.0.hyphenated().encode_lower(&mut text);
        let partition = partition_of(key.as_bytes(), self.engines.log.partitions());
        let topics: &[Topic] = if cursors { &[Topic::Events, Topic::Acks] } else { &[Topic::Events] };
        for topic in topics {
            let at = TopicPartition { topic: *topic, partition };
            if let Some(lane) = self.state.lanes.get(&at) {
                // The lowest one counts; the first is the lowest.
                flight.rests_on.entry(at).or_insert(lane.next_offset());
            }
        }
    }

    fn context(&self, group_id: GroupId, actor: UserId, now: Timestamp) -> Context {
        Context { group_id, actor, now, event_id: EventId(Uuid::now_v7()), limits: self.options.limits }
    }

    fn decide(&self, command: &Command, context: &Context) -> Result<Decision, Rejection> {
        let group = self.state.groups.get(&context.group_id).and_then(|slot| slot.group.as_ref());
        decide(group, command, context)
    }

    fn send(
        &mut self,
        name: Hashed,
        send: Send,
        reply_to: ReplyTo,
        Known { now, room, fetched }: Known<'_>,
        flight: &mut Flight,
    ) {
        let (group_id, actor) = (name.key.0, name.key.1.clone());
        let span = trace::below(send.trace, "append", SpanKind::Producer);
        let context_of_span = span.as_ref().map(|span| span.context);
        let reply_to = traced(reply_to, span);
        let before = self.state.dedupe.recent(&name).or_else(|| fetched.earlier.get(&name.key)).copied();
        let before = before.filter(|_| !self.options.is_planted(Plant::NoDedupe));
        let sealing = fetched.sealing.get(&group_id);
        let may_send = || {
            let group = self.state.groups.get(&group_id).and_then(|slot| slot.group.as_ref());
            group.is_some_and(|group| group.dissolved.is_none() && group.member(&actor).is_some())
        };
        let lacks_key = match &before {
            Some(sent) => fetched.unread.contains(&sent.key_id),
            // Who may not send has nothing to be sealed, and the decision says so.
            None => sealing.is_none() && may_send(),
        };
        if lacks_key || fetched.undecidable.contains(&name.key) {
            return reply_to.answer(Err(cannot_decide()));
        }
        if !room {
            let why = "the read models are too far behind to tell repeats: nothing was stored, try again";
            return reply_to.answer(Err(Rejection::new(Code::Busy, why).retry_after(1_000)));
        }
        let context = self.context(group_id, actor, now);
        let text_bytes = send.content.text.as_ref().map_or(0, String::len);
        let content = event::encode_content(send.content);
        let is_repeat = before.is_some();
        let earlier = before.map(|sent| Earlier {
            message_id: sent.message_id,
            seq: sent.seq,
            position: sent.position,
            at: sent.at,
            same_content: same_content(&sent, sealing, fetched, send.kind, &content),
        });
        let content = match (earlier, sealing) {
            (None, Some(key)) => seal(key, &context, send.kind, &content, text_bytes),
            // A repeat is not sealed.
            _ => Ok(SealedContent {
                key_id: parley_domain::KeyId(Uuid::nil()),
                sealed: Bytes::new(),
                mac: [0; 32],
                text_bytes: 0,
            }),
        };
        let result = content.and_then(|content| {
            let command = Command::Send(Box::new(SendMessage {
                client_message_id: send.client_message_id,
                kind: send.kind,
                content,
                media: send.media,
                earlier,
                over_rate: send.over_rate,
            }));
            self.decide(&command, &context)
        });
        let result = result.map(|decision| self.accept(decision, name, context_of_span, flight));
        if is_repeat && self.options.is_planted(Plant::DupInFlight) {
            return reply_to.answer(result);
        }
        flight.answers.push(Answer::Plain(reply_to, result));
    }

    fn accept(
        &mut self,
        decision: Decision,
        name: Hashed,
        trace: Option<TraceContext>,
        flight: &mut Flight,
    ) -> Reply {
        match decision {
            Decision::Append(fact) => {
                let position = self.append(&fact, trace, flight);
                if let Event::MessageSent(message) = &fact.event {
                    self.state.dedupe.remember(name, Sent::of(message, fact.seq, fact.at, position));
                }
                self.counters.accepted.increment(1);
                let (seq, message_id) = (fact.seq, parley_domain::MessageId(fact.event_id.0));
                Reply::Accepted { message_id, seq, position, created_at: fact.at, duplicate: false }
            }
            Decision::Repeat(Earlier { message_id, seq, position, at, .. }) => {
                self.counters.repeats.increment(1);
                Reply::Accepted { message_id, seq, position, created_at: at, duplicate: true }
            }
            Decision::Unchanged => Reply::Done,
        }
    }

    fn cursors(
        &mut self,
        group_id: GroupId,
        wishes: Vec<CursorWish>,
        reply_to: ReplyTo,
        now: Timestamp,
        flight: &mut Flight,
    ) {
        let slot = self.state.groups.get_mut(&group_id);
        let (durable, decided) = slot
            .as_ref()
            .map_or((0, 0), |slot| (slot.durable_head, slot.group.as_ref().map_or(0, |g| g.head)));
        // Any of them: they are of different members, and one that asks for what there isn't must not spoil the others'.
        if wishes.iter().any(|wish| (durable + 1..=decided).contains(&wish.delivered.max(wish.read))) {
            // What it acknowledges is in flight; it is decided once that has landed.
            return self.deferred.push((group_id, wishes, reply_to));
        }
        let group = slot.and_then(|slot| slot.group.as_mut());
        let outcome = advance_cursors(group.as_deref(), &wishes, durable, now);
        if let Some(group) = group {
            outcome.advances.iter().for_each(|advance| group.apply_cursor(advance));
        }
        if !outcome.advances.is_empty() {
            let event_id = EventId(Uuid::now_v7());
            let cursors = CursorsAdvanced { group_id, event_id, at: now, advances: outcome.advances };
            let value = event::encode_cursors(&cursors, &mut self.buffer);
            let what = What {
                kind: event::CURSORS_TYPE,
                value,
                id: event_id,
                time: now,
                decoded: Arc::new(cursors).into(),
                trace: None,
            };
            let mut text = [0; 36];
            let key: &str = group_id.0.hyphenated().encode_lower(&mut text);
            self.record(Topic::Acks, key, what, flight);
        }
        flight.answers.push(Answer::Plain(reply_to, Ok(Reply::Cursors(outcome.answers))));
    }

    fn notify_created(&mut self, group_id: GroupId, actor: &UserId, reply_to: ReplyTo, flight: &mut Flight) {
        let group = self.state.groups.get(&group_id).and_then(|slot| slot.group.as_ref());
        let refused = match group {
            None => Some(Rejection::group_not_found()),
            Some(group) if !group.members.contains_key(actor) => Some(Rejection::not_a_member()),
            Some(group) if group.dissolved.is_some() => Some(Rejection::group_dissolved()),
            Some(group) if group.member(actor).is_none() => Some(Rejection::not_a_member()),
            Some(group) if group.creator != *actor => Some(Rejection::new(
                Code::Forbidden,
                "only the creator of the group may notify of its creation",
            )),
            Some(_) => None,
        };
        flight.answers.push(match (refused, self.creation_notice(group_id)) {
            (None, Some(notice)) => Answer::AfterNotice(reply_to, notice),
            (refused, _) => Answer::Plain(reply_to, Err(refused.unwrap_or_else(Rejection::group_not_found))),
        });
    }

    fn profile(&mut self, profile: &ProfileChanged, reply_to: ReplyTo, now: Timestamp, flight: &mut Flight) {
        let event_id = EventId(Uuid::now_v7());
        let value = event::encode_profile(profile, event_id);
        let kind = event::PROFILE_TYPE;
        let what = What { kind, value, id: event_id, time: now, decoded: Decoded::default(), trace: None };
        self.record(Topic::Users, profile.user.as_str(), what, flight);
        flight.answers.push(Answer::Plain(reply_to, Ok(Reply::Done)));
    }

    /// Makes a fact part of the state and of the flight.
    fn append(&mut self, fact: &Arc<Fact>, trace: Option<TraceContext>, flight: &mut Flight) -> Position {
        let slot: &mut Slot = self.state.groups.entry(fact.group_id).or_default();
        Group::evolve(&mut slot.group, fact);
        flight.heads.push((fact.group_id, fact.seq));
        let what = What {
            kind: event::fact_type(&fact.event),
            value: event::encode_fact(fact, &mut self.buffer),
            id: fact.event_id,
            time: fact.at,
            decoded: fact.clone().into(),
            trace,
        };
        let mut text = [0; 36];
        let key: &str = fact.group_id.0.hyphenated().encode_lower(&mut text);
        self.record(Topic::Events, key, what, flight)
    }

    fn record(
        &mut self,
        topic: Topic,
        key: &str,
        What { kind, value, id, time, decoded, trace }: What,
        flight: &mut Flight,
    ) -> Position {
        let partition = partition_of(key.as_bytes(), self.engines.log.partitions());
        let at = TopicPartition { topic, partition };
        let (stamp, offset) = match self.state.lanes.get_mut(&at) {
            Some(lane) => {
                let (stamp, offset) = lane.next(id);
                (stamp, Some(offset))
            }
            None => {
                debug_assert!(
                    !self.engines.log.is_fenced(topic),
                    "a request for a partition of another shard"
                );
                (Stamp::Unclaimed, None)
            }
        };
        let source = self.options.instance.clone();
        self.buffer.extend_from_slice(key.as_bytes());
        let key = Some(self.buffer.split().freeze());
        let (kind, trace) = (kind.into(), trace.map(Box::new));
        let record = Record { key, value, id, kind, source, time, stamp, trace, decoded };
        flight.records.push((at, record));
        flight.expected.push((at, offset));
        Position { partition, offset: offset.unwrap_or_default() }
    }

    /// What follows from a change of a group once it is durable.
    fn hang_on(&self, fact: &Fact, flight: &mut Flight) {
        let (actor, users) = match &fact.event {
            Event::GroupCreated { .. } => return flight.created.push(fact.group_id),
            Event::MembersAdded { actor, users, .. } => (actor, users),
            Event::MembersRemoved { .. }
            | Event::RoleChanged { .. }
            | Event::OwnerTransferred { .. }
            | Event::GroupUpdated { .. }
            | Event::GroupDissolved { .. }
            | Event::MessageSent(_)
            | Event::MessageRolledBack { .. } => return,
        };
        if let Some(group) = self.state.groups.get(&fact.group_id).and_then(|slot| slot.group.as_ref()) {
            flight.notices.push(Notice {
                group: summary(group),
                kind: NotificationKind::Added,
                added_by: actor.clone(),
                seq: fact.seq,
                at: fact.at,
                users: users.as_slice().into(),
                audience: Audience::All,
            });
        }
    }
}

/// Ends a span with the answer, which comes when the log has it.
fn traced(reply_to: ReplyTo, span: Option<trace::Begun>) -> ReplyTo {
    let Some(span) = span else { return reply_to };
    ReplyTo::new(move |result| {
        match &result {
            Ok(Reply::Accepted { seq, position, .. }) => span.end(
                vec![
                    ("parley.seq", i64::try_from(*seq).unwrap_or(i64::MAX)),
                    ("messaging.destination.partition.id", position.partition.into()),
                    ("messaging.kafka.offset", i64::try_from(position.offset).unwrap_or(i64::MAX)),
                ],
                None,
            ),
            Ok(_) => span.end(Vec::new(), Some("not_owner")),
            Err(rejection) => span.end(Vec::new(), Some(code::name(rejection.code))),
        }
        reply_to.answer(result);
    })
}

/// Whether a repeat says the same as what was accepted. What was erased can't be compared, and then counts as the same.
fn same_content(
    sent: &Sent,
    sealing: Option<&Arc<DataKey>>,
    fetched: &Fetched,
    kind: MessageKind,
    content: &[u8],
) -> bool {
    let key = match sealing {
        Some(key) if key.id() == sent.key_id => Some(key),
        _ => fetched.comparing.get(&sent.key_id).and_then(Option::as_ref),
    };
    key.is_none_or(|key| mac(key, kind, content) == sent.mac)
}

fn seal(
    key: &DataKey,
    context: &Context,
    kind: MessageKind,
    content: &[u8],
    text_bytes: usize,
) -> Result<SealedContent, Rejection> {
    let message_id = parley_domain::MessageId(context.event_id.0);
    let place = Place { group_id: context.group_id, message_id, sender: &context.actor };
    let sealed = key.seal(place, content).map_err(|_| cannot_decide())?;
    let text_bytes = u32::try_from(text_bytes).unwrap_or(u32::MAX);
    Ok(SealedContent { key_id: key.id(), sealed: sealed.into(), mac: mac(key, kind, content), text_bytes })
}

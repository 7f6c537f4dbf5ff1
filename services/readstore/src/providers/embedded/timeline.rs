//! Events and messages.

use std::collections::HashSet;

use bytes::Bytes;
use parley_domain::{GroupId, MediaId, Seq, UserId};

use super::codec::{RolledBack, decode, decode_event, decode_u64};
use super::engine::View;
use super::keys::{Key, Table, group_and_seq, last_seq, parse_user};
use crate::{Error, EventRow, MessageKey, UNREAD_MAX};

/// Group events between messages that are walked over before the next message is looked up.
const GROUP_EVENTS_PASSED_MAX: u32 = 64;

impl View {
    pub(super) fn events(
        &self,
        group: GroupId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<EventRow>, Error> {
        let timeline = Key::in_group(Table::Timeline, group);
        let mut scan = self.scan(&timeline.clone().seq(from), timeline.seq(to).past())?;
        let mut events = Vec::new();
        while events.len() < limit
            && let Some((key, value)) = scan.head()
        {
            events.push(event_row(last_seq(key)?, value)?);
            scan.advance()?;
        }
        self.mark_rolled_back(group, &mut events)?;
        Ok(events)
    }

    pub(super) fn messages(
        &self,
        group: GroupId,
        after: Seq,
        before: Seq,
        newest: bool,
        limit: usize,
    ) -> Result<(Vec<EventRow>, bool), Error> {
        let Some(from) = after.checked_add(1) else { return Ok((Vec::new(), false)) };
        let wanted = limit.saturating_add(1);
        let mut events = if newest {
            let mut events = self.messages_back(group, from, before, wanted)?;
            events.reverse();
            events
        } else {
            self.messages_on(group, from, before, wanted)?
        };
        let more = events.len() > limit;
        if more && newest {
            events.remove(0);
        }
        events.truncate(limit);
        self.mark_rolled_back(group, &mut events)?;
        Ok((events, more))
    }

    /// Messages of a range in rising order. However many group events lie between them, only some are read: then the
    /// running count of messages says where the next one is.
    fn messages_on(
        &self,
        group: GroupId,
        from: Seq,
        before: Seq,
        wanted: usize,
    ) -> Result<Vec<EventRow>, Error> {
        let timeline = Key::in_group(Table::Timeline, group);
        let mut scan = self.scan(&timeline.clone().seq(from), timeline.clone().seq(before))?;
        let (mut events, mut passed) = (Vec::new(), 0);
        while events.len() < wanted
            && let Some((key, value)) = scan.head()
        {
            let (seq, header) = (last_seq(key)?, decode_event(value)?.0);
            if header.is_message {
                events.push(event_row(seq, value)?);
                passed = 0;
            } else {
                passed += 1;
            }
            if passed == GROUP_EVENTS_PASSED_MAX {
                let next = self.first_with_count(group, header.message_count + 1, seq + 1, before)?;
                scan.jump(timeline.clone().seq(next).as_slice())?;
                passed = 0;
            } else {
                scan.advance()?;
            }
        }
        Ok(events)
    }

    /// The same in falling order.
    fn messages_back(
        &self,
        group: GroupId,
        from: Seq,
        before: Seq,
        wanted: usize,
    ) -> Result<Vec<EventRow>, Error> {
        let timeline = Key::in_group(Table::Timeline, group);
        let first = timeline.clone().seq(from);
        let (mut events, mut end) = (Vec::new(), before);
        'ranges: loop {
            let mut passed = 0;
            for pair in self.range(first.as_slice(), timeline.clone().seq(end).as_slice()).rev() {
                if events.len() == wanted {
                    return Ok(events);
                }
                let (key, value) = pair?;
                let (seq, header) = (last_seq(&key)?, decode_event(&value)?.0);
                if header.is_message {
                    events.push(event_row(seq, &value)?);
                    passed = 0;
                    continue;
                }
                passed += 1;
                if passed == GROUP_EVENTS_PASSED_MAX {
                    end = self.first_with_count(group, header.message_count, from, seq)?.saturating_add(1);
                    continue 'ranges;
                }
            }
            return Ok(events);
        }
    }

    /// The first event in `[from, end)` at which the group had so many messages; `end` if there is none. Events are dense, so
    /// it is found by halving.
    fn first_with_count(&self, group: GroupId, count: u64, from: Seq, end: Seq) -> Result<Seq, Error> {
        let head = self.head(group)?.map_or(0, |(head, _)| head);
        let (mut low, mut high) = (from, end.min(head.saturating_add(1)).max(from));
        while low < high {
            let middle = low + (high - low) / 2;
            if self.messages_up_to(group, middle)? < count {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Ok(low)
    }

    /// The newest message of a group.
    pub(super) fn last_message(&self, group: GroupId) -> Result<Option<Seq>, Error> {
        Ok(self.messages_back(group, 1, Seq::MAX, 1)?.first().map(|event| event.seq))
    }

    pub(super) fn find(&self, group: GroupId, key: &MessageKey) -> Result<Option<Seq>, Error> {
        let key = match key {
            MessageKey::Id(id) => Key::in_group(Table::MessageIds, group).bytes(id.as_bytes()),
            MessageKey::Client { sender, client_message_id } => {
                let sender = Key::in_group(Table::ClientIds, group).user(sender);
                sender.bytes(client_message_id.as_str().as_bytes())
            }
        };
        self.get(&key)?.as_deref().map(decode_u64).transpose()
    }

    pub(super) fn media(&self, media: MediaId, limit: usize) -> Result<Vec<(GroupId, Seq)>, Error> {
        let mut scan = self.prefix(Key::of(Table::Media).bytes(media.as_bytes()))?;
        let mut places = Vec::new();
        while places.len() < limit
            && let Some((key, _)) = scan.head()
        {
            places.push(group_and_seq(key)?);
            scan.advance()?;
        }
        Ok(places)
    }

    pub(super) fn is_rolled_back(&self, group: GroupId, seq: Seq) -> Result<bool, Error> {
        Ok(self.get(&Key::in_group(Table::RolledBack, group).seq(seq))?.is_some())
    }

    fn mark_rolled_back(&self, group: GroupId, events: &mut [EventRow]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
        let table = Key::in_group(Table::RolledBack, group);
        let mut scan = self.scan(&table.clone().seq(first.seq), table.seq(last.seq).past())?;
        let mut seqs = HashSet::new();
        while let Some((key, _)) = scan.head() {
            seqs.insert(last_seq(key)?);
            scan.advance()?;
        }
        for event in events.iter_mut().filter(|event| seqs.contains(&event.seq)) {
            event.rolled_back = true;
        }
        Ok(())
    }

    /// Messages in `(read, head]` that others sent and that weren't rolled back, by subtraction of running counts.
    pub(super) fn unread(
        &self,
        group: GroupId,
        user: &UserId,
        read: Seq,
        head: Seq,
        message_count: u64,
    ) -> Result<u32, Error> {
        // An acknowledgement may be projected before the events that it is about.
        if read >= head {
            return Ok(0);
        }
        let all = message_count.saturating_sub(self.messages_up_to(group, read)?);
        if all == 0 {
            return Ok(0);
        }
        let own = self.sent_up_to(group, user, head)?.saturating_sub(self.sent_up_to(group, user, read)?);
        let others = all.saturating_sub(own);
        let withheld = if others == 0 { 0 } else { self.rolled_back_by_others(group, user, read, head)? };
        let unread = others.saturating_sub(withheld).min(u64::from(UNREAD_MAX));
        Ok(u32::try_from(unread).unwrap_or(UNREAD_MAX))
    }

    /// How many messages a group had up to an event.
    fn messages_up_to(&self, group: GroupId, seq: Seq) -> Result<u64, Error> {
        let timeline = Key::in_group(Table::Timeline, group);
        let key = timeline.clone().seq(seq);
        if let Some(value) = self.get(&key)? {
            return Ok(decode_event(&value)?.0.message_count);
        }
        let before = self.last(&timeline.seq(0), key)?;
        before.map_or(Ok(0), |(_, value)| Ok(decode_event(&value)?.0.message_count))
    }

    /// How many messages a sender had sent up to an event.
    fn sent_up_to(&self, group: GroupId, sender: &UserId, seq: Seq) -> Result<u64, Error> {
        let sent = Key::in_group(Table::Senders, group).user(sender);
        let last = self.last(&sent.clone().seq(0), sent.seq(seq))?;
        last.map_or(Ok(0), |(_, value)| decode_u64(&value))
    }

    fn rolled_back_by_others(
        &self,
        group: GroupId,
        user: &UserId,
        read: Seq,
        head: Seq,
    ) -> Result<u64, Error> {
        let table = Key::in_group(Table::RolledBack, group);
        let mut scan = self.scan(&table.clone().seq(read).past(), table.seq(head).past())?;
        let mut count = 0;
        while let Some((_, value)) = scan.head() {
            let RolledBack { sender } = decode(value)?;
            // The user's own are subtracted already.
            count += u64::from(parse_user(sender.as_bytes())? != *user);
            scan.advance()?;
        }
        Ok(count)
    }
}

fn event_row(seq: Seq, value: &[u8]) -> Result<EventRow, Error> {
    let (header, value) = decode_event(value)?;
    let value = Bytes::copy_from_slice(value);
    Ok(EventRow { seq, position: header.position, value, rolled_back: false })
}

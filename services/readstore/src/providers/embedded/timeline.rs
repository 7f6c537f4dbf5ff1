//! Events and messages.

use std::collections::HashSet;

use bytes::Bytes;
use parley_domain::{GroupId, MediaId, Seq, UserId};

use super::codec::{RolledBack, decode, decode_event, decode_u64};
use super::engine::View;
use super::keys::{Key, Table, group_and_seq, last_seq, parse_user};
use crate::{Error, EventRow, MessageKey, UNREAD_MAX};

impl View {
    pub(super) fn events(
        &self,
        group: GroupId,
        from: Seq,
        to: Seq,
        limit: usize,
    ) -> Result<Vec<EventRow>, Error> {
        let timeline = Key::of(Table::Timeline).group(group);
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
        let (seqs, more) = self.message_seqs(group, after, before, newest, limit)?;
        let timeline = Key::of(Table::Timeline).group(group);
        let mut events = Vec::with_capacity(seqs.len());
        for seq in seqs {
            let value = self.get(&timeline.clone().seq(seq))?;
            let value = value.ok_or(Error::Damaged("a message without its event"))?;
            events.push(event_row(seq, &value)?);
        }
        self.mark_rolled_back(group, &mut events)?;
        Ok((events, more))
    }

    /// The places of messages, in rising order, found in their own index: however many group events lie between them,
    /// this reads `limit` rows and one more.
    fn message_seqs(
        &self,
        group: GroupId,
        after: Seq,
        before: Seq,
        newest: bool,
        limit: usize,
    ) -> Result<(Vec<Seq>, bool), Error> {
        let Some(from) = after.checked_add(1) else { return Ok((Vec::new(), false)) };
        let index = Key::of(Table::Messages).group(group);
        let range = self.range(index.clone().seq(from).as_slice(), index.seq(before).as_slice());
        let key_of = |guard: fjall::Guard| {
            let key = guard.key().map_err(super::engine::engine_error)?;
            last_seq(&key)
        };
        let wanted = limit.saturating_add(1);
        let found: Result<Vec<Seq>, Error> = if newest {
            range.rev().take(wanted).map(key_of).collect()
        } else {
            range.take(wanted).map(key_of).collect()
        };
        let mut seqs = found?;
        let more = seqs.len() > limit;
        seqs.truncate(limit);
        if newest {
            seqs.reverse();
        }
        Ok((seqs, more))
    }

    pub(super) fn find(&self, group: GroupId, key: &MessageKey) -> Result<Option<Seq>, Error> {
        let key = match key {
            MessageKey::Id(id) => Key::of(Table::MessageIds).group(group).bytes(id.as_bytes()),
            MessageKey::Client { sender, client_message_id } => {
                let sender = Key::of(Table::ClientIds).group(group).user(sender);
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
        Ok(self.get(&Key::of(Table::RolledBack).group(group).seq(seq))?.is_some())
    }

    fn mark_rolled_back(&self, group: GroupId, events: &mut [EventRow]) -> Result<(), Error> {
        let (Some(first), Some(last)) = (events.first(), events.last()) else { return Ok(()) };
        let table = Key::of(Table::RolledBack).group(group);
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
        let timeline = Key::of(Table::Timeline).group(group);
        let key = timeline.clone().seq(seq);
        if let Some(value) = self.get(&key)? {
            return Ok(decode_event(&value)?.0.message_count);
        }
        let before = self.last(&timeline.seq(0), &key)?;
        before.map_or(Ok(0), |(_, value)| Ok(decode_event(&value)?.0.message_count))
    }

    /// How many messages a sender had sent up to an event.
    fn sent_up_to(&self, group: GroupId, sender: &UserId, seq: Seq) -> Result<u64, Error> {
        let sent = Key::of(Table::Senders).group(group).user(sender);
        let last = self.last(&sent.clone().seq(0), &sent.seq(seq))?;
        last.map_or(Ok(0), |(_, value)| decode_u64(&value))
    }

    fn rolled_back_by_others(
        &self,
        group: GroupId,
        user: &UserId,
        read: Seq,
        head: Seq,
    ) -> Result<u64, Error> {
        let table = Key::of(Table::RolledBack).group(group);
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

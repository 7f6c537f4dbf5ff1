//! Rows as pairs. Every row is a pure overwrite of keys that it names itself; nothing is read.

use std::collections::BTreeSet;

use parley_domain::{ProfileChanged, Row};

use super::codec::{
    Cell, EventHeader, Profile, RolledBack, encode, encode_checkpoints, encode_event, encode_time, encode_u64,
};
use super::keys::{DELIVERED, Key, MEMBERSHIP, NOTIFIED, READ, Table};
use super::model::Checkpoints;
use super::staged::{Run, StagedRow};
use crate::providers::stay::Step;
use crate::{Checkpoint, CheckpointKey, Error, Write};

/// Partitions whose checkpoints lie in one row.
const CHECKPOINTS_PER_ROW: u32 = 64;

/// The pairs of some rows and of the checkpoints that moved, among all; each key once: of several rows with one key the
/// last one counts.
pub(super) fn pairs(
    writes: &[Write],
    moved: &[(CheckpointKey, Checkpoint)],
    all: &Checkpoints,
) -> Result<Run, Error> {
    let mut pairs = Vec::with_capacity(writes.len() * 2 + moved.len());
    for write in writes {
        push(write, &mut pairs)?;
    }
    let rows: BTreeSet<(u8, u32)> =
        moved.iter().map(|((topic, partition), _)| (*topic, partition / CHECKPOINTS_PER_ROW)).collect();
    for (topic, row) in rows {
        let first = row * CHECKPOINTS_PER_ROW;
        let those = all.range((topic, first)..=(topic, first.saturating_add(CHECKPOINTS_PER_ROW - 1)));
        let those: Vec<_> = those.map(|((_, partition), checkpoint)| (*partition, *checkpoint)).collect();
        let key = Key::of(Table::Checkpoints).tag(topic).bytes(&row.to_be_bytes());
        pairs.push(row_of(&key, &encode_checkpoints(&those)?));
    }
    // The sort is stable, so of equal keys the later one ends up behind; dedup_by keeps the first of a run and is
    // given the later one as `a`, whose value is moved over.
    pairs.sort_by(StagedRow::cmp_key);
    pairs.dedup_by(|later, kept| {
        let same = later.pair.0 == kept.pair.0;
        if same {
            std::mem::swap(&mut later.pair.1, &mut kept.pair.1);
        }
        same
    });
    Ok(pairs)
}

fn row_of(key: &Key, value: &[u8]) -> StagedRow {
    StagedRow::new(key.as_slice(), value)
}

fn push(write: &Write, pairs: &mut Run) -> Result<(), Error> {
    let mut put = |key: Key, value: Vec<u8>| pairs.push(row_of(&key, &value));
    match &write.row {
        Row::Timeline { group_id, seq, message_count, is_message } => {
            let (position, value) =
                write.event.as_ref().ok_or(Error::Damaged("a timeline row without its event"))?;
            let header =
                EventHeader { is_message: *is_message, message_count: *message_count, position: *position };
            put(Key::in_group(Table::Timeline, *group_id).seq(*seq), encode_event(&header, value));
        }
        Row::Message { .. } => push_message(&write.row, pairs),
        Row::Media { media_id, group_id, seq } => {
            let key = Key::of(Table::Media).bytes(media_id.as_bytes()).group(*group_id).seq(*seq);
            put(key, Vec::new());
        }
        Row::RolledBack { group_id, seq, sender } => {
            let value = encode(&RolledBack { sender: sender.as_str() })?;
            put(Key::in_group(Table::RolledBack, *group_id).seq(*seq), value);
        }
        Row::Membership { group_id, user, seq, at, change } => {
            let value = encode(&Step::of(*at, change))?;
            let by_group = Key::in_group(Table::Members, *group_id).user(user);
            let by_user = Key::of(Table::UserGroups).user(user).group(*group_id);
            put(by_group.seq(*seq), value.clone());
            put(by_user.tag(MEMBERSHIP).seq(*seq), value);
        }
        Row::Cursor { group_id, user, delivered, read, at } => {
            // A read step says all that a delivered step at the same place would.
            let delivered = if delivered == read { 0 } else { *delivered };
            for (tag, value) in [(DELIVERED, delivered), (READ, *read)].into_iter().filter(|step| step.1 > 0)
            {
                let by_user = Key::in_group(Table::Cursors, *group_id).user(user);
                let by_value = Key::in_group(Table::CursorsByValue, *group_id).tag(tag).seq(value);
                put(by_user.tag(tag).seq(value), encode_time(*at));
                put(by_value.bytes(user.as_str().as_bytes()), Vec::new());
            }
        }
        Row::Notified { group_id, user, seq } => {
            let key = Key::of(Table::UserGroups).user(user).group(*group_id).tag(NOTIFIED).seq(*seq);
            put(key, Vec::new());
        }
        Row::Profile(profile) => {
            let ProfileChanged { user, display_name, avatar_url, at } = profile;
            let value = Profile { display_name, avatar_url: avatar_url.as_deref(), at: at.as_millis() };
            put(Key::of(Table::Profiles).user(user), encode(&value)?);
        }
        Row::Origin { .. }
        | Row::Description { .. }
        | Row::Owner { .. }
        | Row::MemberCount { .. }
        | Row::Changed { .. }
        | Row::Head { .. }
        | Row::LastMessage { .. }
        | Row::Dissolved { .. } => push_cell(&write.row, pairs)?,
    }
    Ok(())
}

fn push_message(row: &Row, pairs: &mut Run) {
    let Row::Message { group_id, seq, message_id, sender, client_message_id, sender_nth } = row else {
        return;
    };
    let mut put = |key: Key, value: Vec<u8>| pairs.push(row_of(&key, &value));
    put(Key::in_group(Table::MessageIds, *group_id).bytes(message_id.as_bytes()), encode_u64(*seq));
    let by_client = Key::in_group(Table::ClientIds, *group_id).user(sender);
    put(by_client.bytes(client_message_id.as_str().as_bytes()), encode_u64(*seq));
    put(Key::in_group(Table::Senders, *group_id).user(sender).seq(*seq), encode_u64(*sender_nth));
}

fn push_cell(row: &Row, pairs: &mut Run) -> Result<(), Error> {
    let (group, cell) = match row {
        Row::Origin { group_id, creator, created_at } => {
            (group_id, Cell::Origin { creator: creator.as_str(), created_at: created_at.as_millis() })
        }
        Row::Description { group_id, name, description } => {
            (group_id, Cell::Description { name, description })
        }
        Row::Owner { group_id, owner } => (group_id, Cell::Owner { owner: owner.as_str() }),
        Row::MemberCount { group_id, member_count } => {
            (group_id, Cell::MemberCount { member_count: *member_count })
        }
        Row::Changed { group_id, updated_at } => {
            (group_id, Cell::Changed { updated_at: updated_at.as_millis() })
        }
        Row::Dissolved { group_id, seq } => (group_id, Cell::Dissolved { seq: *seq }),
        // The timeline says these.
        Row::Head { .. } | Row::LastMessage { .. } => return Ok(()),
        Row::Timeline { .. }
        | Row::Message { .. }
        | Row::Media { .. }
        | Row::RolledBack { .. }
        | Row::Membership { .. }
        | Row::Cursor { .. }
        | Row::Notified { .. }
        | Row::Profile(_) => return Ok(()),
    };
    let key = Key::in_group(Table::Groups, *group).tag(cell.tag());
    pairs.push(row_of(&key, &encode(&cell)?));
    Ok(())
}

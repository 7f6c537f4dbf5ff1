//! From the port's rows to those of the database. Every row is a pure overwrite of keys that it names itself; nothing is read.

use std::collections::BTreeSet;

use parley_domain::{ProfileChanged, Row};

use super::codec::{
    Cell, EventHeader, Profile, RolledBack, encode, encode_checkpoints, encode_header, encode_time,
    encode_u64,
};
use super::keys::{DELIVERED, Key, MEMBERSHIP, NOTIFIED, READ, Table};
use super::model::Checkpoints;
use super::run::{Run, Unsorted};
use crate::providers::stay::Step;
use crate::{Checkpoint, CheckpointKey, Error, Source, Write};

/// Partitions whose checkpoints lie in one row.
const CHECKPOINTS_PER_ROW: u32 = 64;

/// The rows of some writes and of the checkpoints that moved, among all, gathered where there are none.
pub(super) fn sorted(
    rows: &mut Unsorted,
    writes: &[Write],
    moved: &[(CheckpointKey, Checkpoint)],
    all: &Checkpoints,
) -> Result<Run, Error> {
    for write in writes {
        push(write, rows)?;
    }
    let places: BTreeSet<(u8, u32)> =
        moved.iter().map(|((topic, partition), _)| (*topic, partition / CHECKPOINTS_PER_ROW)).collect();
    for (topic, place) in places {
        let first = place * CHECKPOINTS_PER_ROW;
        let those = all.range((topic, first)..=(topic, first.saturating_add(CHECKPOINTS_PER_ROW - 1)));
        let those: Vec<_> = those.map(|((_, partition), checkpoint)| (*partition, *checkpoint)).collect();
        let value = encode_checkpoints(&those)?;
        rows.put(Table::Checkpoints, |key| key.tag(topic).bytes(&place.to_be_bytes()), &[&value])?;
    }
    Ok(rows.sorted())
}

fn push(write: &Write, rows: &mut Unsorted) -> Result<(), Error> {
    match &write.row {
        Row::Timeline { group_id, seq, message_count, is_message } => {
            let Source { position, tag, value } =
                write.event.as_ref().ok_or(Error::Damaged("a timeline row without its event"))?;
            let header =
                EventHeader { is_message: *is_message, message_count: *message_count, position: *position };
            let (header, tag) = (encode_header(&header), [*tag]);
            let value: [&[u8]; 3] = [&header, &tag, value];
            rows.put(Table::Timeline, |key| key.leading(*group_id).seq(*seq), &value)?;
        }
        Row::Message { .. } => push_message(&write.row, rows)?,
        Row::Media { media_id, group_id, seq } => {
            rows.put(Table::Media, |key| key.bytes(media_id.as_bytes()).group(*group_id).seq(*seq), &[])?;
        }
        Row::RolledBack { group_id, seq, sender } => {
            let value = encode(&RolledBack { sender: sender.as_str() })?;
            rows.put(Table::RolledBack, |key| key.leading(*group_id).seq(*seq), &[&value])?;
        }
        Row::Membership { group_id, user, seq, at, change } => {
            let value = encode(&Step::of(*at, change))?;
            rows.put(Table::Members, |key| key.leading(*group_id).user(user).seq(*seq), &[&value])?;
            let of_user = |key: Key| key.user(user).group(*group_id).tag(MEMBERSHIP).seq(*seq);
            rows.put(Table::UserGroups, of_user, &[&value])?;
        }
        Row::Cursor { group_id, user, delivered, read, at } => {
            // A read step says all that a delivered step at the same place would.
            let delivered = if delivered == read { 0 } else { *delivered };
            for (tag, seq) in [(DELIVERED, delivered), (READ, *read)].into_iter().filter(|step| step.1 > 0) {
                let of_user = |key: Key| key.leading(*group_id).user(user).tag(tag).seq(seq);
                rows.put(Table::Cursors, of_user, &[&encode_time(*at)])?;
                let by_value =
                    |key: Key| key.leading(*group_id).tag(tag).seq(seq).bytes(user.as_str().as_bytes());
                rows.put(Table::CursorsByValue, by_value, &[])?;
            }
        }
        Row::Notified { group_id, user, seq } => {
            let of_user = |key: Key| key.user(user).group(*group_id).tag(NOTIFIED).seq(*seq);
            rows.put(Table::UserGroups, of_user, &[])?;
        }
        Row::Profile(profile) => {
            let ProfileChanged { user, display_name, avatar_url, at } = profile;
            let value = Profile { display_name, avatar_url: avatar_url.as_deref(), at: at.as_millis() };
            rows.put(Table::Profiles, |key| key.user(user), &[&encode(&value)?])?;
        }
        Row::Origin { .. }
        | Row::Description { .. }
        | Row::Owner { .. }
        | Row::MemberCount { .. }
        | Row::Changed { .. }
        | Row::Head { .. }
        | Row::LastMessage { .. }
        | Row::Dissolved { .. } => push_cell(&write.row, rows)?,
    }
    Ok(())
}

fn push_message(row: &Row, rows: &mut Unsorted) -> Result<(), Error> {
    let Row::Message { group_id, seq, message_id, sender, client_message_id, sender_nth } = row else {
        return Ok(());
    };
    let by_id = |key: Key| key.leading(*group_id).bytes(message_id.as_bytes());
    rows.put(Table::MessageIds, by_id, &[&encode_u64(*seq)])?;
    let client_id = client_message_id.as_str().as_bytes();
    let by_client = |key: Key| key.leading(*group_id).user(sender).bytes(client_id);
    rows.put(Table::ClientIds, by_client, &[&encode_u64(*seq)])?;
    let by_sender = |key: Key| key.leading(*group_id).user(sender).seq(*seq);
    rows.put(Table::Senders, by_sender, &[&encode_u64(*sender_nth)])
}

fn push_cell(row: &Row, rows: &mut Unsorted) -> Result<(), Error> {
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
    rows.put(Table::Groups, |key| key.leading(*group).tag(cell.tag()), &[&encode(&cell)?])
}

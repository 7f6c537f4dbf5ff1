//! All rows in order, for comparing two versions; and the checkpoints, which are no rows.

use super::codec::decode_checkpoints;
use super::engine::View;
use super::keys::{Key, Table};
use crate::{Checkpoint, CheckpointKey, Error, Page};

/// The names of the tables. A page of one has keys without the table's byte.
pub(super) const TABLES: &[&str] = &[
    "groups",
    "members",
    "cursors",
    "cursors_by_value",
    "user_groups",
    "timeline",
    "message_ids",
    "client_ids",
    "senders",
    "media",
    "rolled_back",
    "profiles",
];

/// A page that has as many bytes gets no further row.
const PAGE_BYTES: usize = 1024 * 1024;

fn table(name: &str) -> Option<Table> {
    Some(match name {
        "groups" => Table::Groups,
        "members" => Table::Members,
        "cursors" => Table::Cursors,
        "cursors_by_value" => Table::CursorsByValue,
        "user_groups" => Table::UserGroups,
        "timeline" => Table::Timeline,
        "message_ids" => Table::MessageIds,
        "client_ids" => Table::ClientIds,
        "senders" => Table::Senders,
        "media" => Table::Media,
        "rolled_back" => Table::RolledBack,
        "profiles" => Table::Profiles,
        _ => return None,
    })
}

impl View {
    pub(super) fn canonical(
        &self,
        name: &str,
        after: Option<&[u8]>,
        limit: usize,
        mut page: Page,
    ) -> Result<Page, Error> {
        page.clear();
        let Some(table) = table(name) else { return Ok(page) };
        let all = Key::of(table);
        // The first key behind `after` is `after` and a zero byte.
        let from = after.map_or_else(|| all.clone(), |after| all.clone().bytes(after).tag(0));
        for pair in self.range(from.as_slice(), all.past().as_slice()).take(limit) {
            let (key, value) = pair?;
            page.push(key.get(1..).unwrap_or_default(), &value);
            if page.bytes() >= PAGE_BYTES {
                break;
            }
        }
        Ok(page)
    }

    pub(super) fn checkpoints(&self) -> Result<Vec<(CheckpointKey, Checkpoint)>, Error> {
        let mut checkpoints = Vec::new();
        let mut scan = self.prefix(Key::of(Table::Checkpoints))?;
        while let Some((key, value)) = scan.take()? {
            let Some(topic) = key.get(1) else { return Err(Error::Damaged("a checkpoint's key")) };
            let those = decode_checkpoints(&value)?;
            checkpoints.extend(those.into_iter().map(|(partition, at)| ((*topic, partition), at)));
        }
        Ok(checkpoints)
    }
}

#[cfg(test)]
mod tests {
    use parley_domain::Epoch;
    use tempfile::TempDir;

    use super::super::Options;
    use super::super::engine::Engine;
    use super::super::run::Unsorted;
    use super::*;

    #[test]
    fn pages_are_bounded_in_rows_and_in_bytes_and_leave_nothing_out() {
        let dir = TempDir::new().unwrap();
        let path = dir.path().join("v1");
        let engine = Engine::create(&path, Epoch::from_bytes([7; 16]), &Options::default()).unwrap();
        let (value, mut rows) = (vec![1; PAGE_BYTES / 3], Unsorted::default());
        for number in 0..10 {
            rows.put(Table::Media, |key| key.bytes(&[number]), &[&value]).unwrap();
        }
        engine.write(rows.sorted()).unwrap();
        let lengths = |limit| {
            let (mut keys, mut lengths, mut page) = (Vec::new(), Vec::new(), Page::default());
            loop {
                let after = keys.last().map(|key| [*key]);
                page = engine
                    .view()
                    .canonical("media", after.as_ref().map(<[u8; 1]>::as_slice), limit, page)
                    .unwrap();
                if page.is_empty() {
                    break;
                }
                lengths.push(page.len());
                keys.extend(page.iter().map(|(key, _)| key[0]));
            }
            assert_eq!(keys, (0..10).collect::<Vec<u8>>());
            lengths
        };
        assert_eq!(lengths(100), [3, 3, 3, 1]);
        assert_eq!(lengths(2), [2; 5]);
    }
}

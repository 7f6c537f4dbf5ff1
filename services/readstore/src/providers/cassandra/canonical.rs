//! All rows in order, for comparing two versions: the order of a scan, which is by the token of the partition key, then by
//! partition key and clustering columns. Keys are made so that their bytes have that order.

use std::collections::HashMap;

use scylla::deserialize::row::{ColumnIterator, DeserializeRow};
use scylla::deserialize::value::DeserializeValue;
use scylla::deserialize::{DeserializationError, TypeCheckError};
use scylla::frame::response::result::ColumnSpec;
use scylla::statement::prepared::PreparedStatement;

use super::cluster::Cluster;
use super::directory::limit_of;
use super::model::CassandraModel;
use super::value::{Raw, Value};
use crate::{Error, Page};

/// Rows of one answer, which may be events of some tens of KiB each.
const PAGE_ROWS_MAX: usize = 500;

/// How a clustering column sorts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Order {
    /// By its bytes, of which there are as many as in any other.
    Fixed,
    /// By its bytes; it holds no zero byte, or is the last column.
    Text,
    /// As a signed number.
    Number,
}

/// A table as the comparison sees it: the columns of its key, and the others.
struct Table {
    name: &'static str,
    partition: &'static [&'static str],
    clustering: &'static [(&'static str, Order)],
    cells: &'static [&'static str],
}

macro_rules! tables {
    ($($name:literal: [$($partition:literal)*] [$($clustering:literal $order:ident)*] [$($cell:literal)*];)*) => {
        /// The names of the tables.
        pub(super) const TABLES: &[&str] = &[$($name,)*];

        const ALL: &[Table] = &[$(Table {
            name: $name,
            partition: &[$($partition,)*],
            clustering: &[$(($clustering, Order::$order),)*],
            cells: &[$($cell,)*],
        },)*];
    };
}

tables! {
    "groups": ["group_id"] [] ["creator" "created_at" "name" "description" "owner" "member_count" "updated_at"
        "head" "message_count" "last_message" "dissolved"];
    "timeline": ["group_id" "bucket"] ["seq" Number] ["partition" "offset" "message_count" "event" "rolled_back"];
    "rolled_back": ["group_id" "bucket"] ["seq" Number] ["sender"];
    "messages": ["group_id" "bucket"] ["nth" Number] ["seq"];
    "message_ids": ["group_id" "bucket"] ["message_id" Fixed] ["seq"];
    "sent": ["group_id" "sender" "bucket"] ["seq" Number] ["nth"];
    "client_ids": ["group_id" "sender" "bucket"] ["client_message_id" Text] ["seq"];
    "members": ["group_id" "bucket"] ["user_id" Text "seq" Number] ["step" "at" "role" "added_by" "kind"];
    "user_groups": ["user_id"] ["group_id" Fixed "notified" Fixed "seq" Number]
        ["step" "at" "role" "added_by" "kind"];
    "cursors": ["group_id"] ["user_id" Text] ["delivered" "read"];
    "cursor_steps": ["group_id" "user_id" "bucket"] ["cursor" Number "value" Number] ["at"];
    "media": ["media_id"] ["group_id" Fixed "seq" Number] [];
    "profiles": ["user_id"] [] ["display_name" "has_avatar" "avatar_url" "at"];
}

/// The statements of a table: the rest of a partition, and all behind a token.
struct Scan {
    within: Option<PreparedStatement>,
    beyond: PreparedStatement,
}

/// The statements of all tables.
pub(super) struct Scans(HashMap<&'static str, Scan>);

impl Scans {
    async fn prepare(cluster: &Cluster, version: u64) -> Result<Self, Error> {
        let mut scans = HashMap::new();
        for table in ALL {
            let beyond = cluster.prepare(&table.beyond(), version).await?;
            let within = match table.within() {
                Some(cql) => Some(cluster.prepare(&cql, version).await?),
                None => None,
            };
            scans.insert(table.name, Scan { within, beyond });
        }
        Ok(Self(scans))
    }
}

impl Table {
    fn select(&self) -> String {
        let partition = self.partition.join(", ");
        let clustering = self.clustering.iter().map(|(name, _)| *name);
        let columns: Vec<_> =
            self.partition.iter().copied().chain(clustering).chain(self.cells.iter().copied()).collect();
        format!("SELECT token({partition}), {} FROM {{k}}.{}_{{v}}", columns.join(", "), self.name)
    }

    fn beyond(&self) -> String {
        format!("{} WHERE token({}) > ? LIMIT ?", self.select(), self.partition.join(", "))
    }

    fn within(&self) -> Option<String> {
        if self.clustering.is_empty() {
            return None;
        }
        let partition: Vec<_> = self.partition.iter().map(|name| format!("{name} = ?")).collect();
        let names: Vec<_> = self.clustering.iter().map(|(name, _)| *name).collect();
        let marks = vec!["?"; names.len()].join(", ");
        let (names, partition) = (names.join(", "), partition.join(" AND "));
        Some(format!("{} WHERE {partition} AND ({names}) > ({marks}) LIMIT ?", self.select()))
    }
}

/// A row as it is on the wire: the token, then the columns.
struct RawRow {
    token: i64,
    columns: Vec<Option<Raw>>,
}

impl<'frame, 'metadata> DeserializeRow<'frame, 'metadata> for RawRow {
    fn type_check(_: &[ColumnSpec<'_>]) -> Result<(), TypeCheckError> {
        Ok(())
    }

    fn deserialize(mut row: ColumnIterator<'frame, 'metadata>) -> Result<Self, DeserializationError> {
        let mut token = 0;
        if let Some(column) = row.next() {
            let column = column?;
            token = i64::deserialize(column.spec.typ(), column.slice)?;
        }
        let columns = row.map(|column| {
            let column = column?;
            Option::<Raw>::deserialize(column.spec.typ(), column.slice)
        });
        Ok(Self { token, columns: columns.collect::<Result<_, _>>()? })
    }
}

/// Flips the sign of a big-endian number, so that its bytes sort as it does, or back.
fn flip(mut bytes: Vec<u8>) -> Vec<u8> {
    if let Some(first) = bytes.first_mut() {
        *first ^= 0x80;
    }
    bytes
}

const DAMAGED: Error = Error::Damaged("a key of the comparison");

/// The key of a row, from the values of the columns of its key.
fn encode_key(table: &Table, token: i64, columns: &[Raw]) -> Result<Vec<u8>, Error> {
    let mut key = flip(token.to_be_bytes().to_vec());
    let (partition, clustering) = columns.split_at_checked(table.partition.len()).ok_or(DAMAGED)?;
    for Raw(bytes) in partition {
        key.extend_from_slice(&u16::try_from(bytes.len()).map_err(|_| DAMAGED)?.to_be_bytes());
        key.extend_from_slice(bytes);
    }
    let last = table.clustering.len().saturating_sub(1);
    for (index, ((_, order), Raw(bytes))) in table.clustering.iter().zip(clustering).enumerate() {
        match order {
            Order::Number => key.extend(flip(bytes.clone())),
            Order::Fixed => key.extend_from_slice(bytes),
            Order::Text => {
                key.extend_from_slice(bytes);
                if index < last {
                    key.push(0);
                }
            }
        }
    }
    Ok(key)
}

/// The reverse. How long what sorts by a fixed number of bytes is, is said by `table`'s column names.
fn decode_key(table: &Table, key: &[u8]) -> Result<(i64, Vec<Raw>), Error> {
    let (token, mut rest) = key.split_first_chunk::<8>().ok_or(DAMAGED)?;
    let token = flip(token.to_vec()).as_slice().try_into().map(i64::from_be_bytes).map_err(|_| DAMAGED)?;
    let mut columns = Vec::new();
    for _ in table.partition {
        let (len, behind) = rest.split_first_chunk::<2>().ok_or(DAMAGED)?;
        let (bytes, behind) =
            behind.split_at_checked(usize::from(u16::from_be_bytes(*len))).ok_or(DAMAGED)?;
        columns.push(Raw(bytes.to_vec()));
        rest = behind;
    }
    let last = table.clustering.len().saturating_sub(1);
    for (index, (name, order)) in table.clustering.iter().enumerate() {
        let len = match order {
            Order::Text if index < last => rest.iter().position(|byte| *byte == 0).ok_or(DAMAGED)?,
            Order::Text => rest.len(),
            Order::Number | Order::Fixed => width(name),
        };
        let (bytes, behind) = rest.split_at_checked(len).ok_or(DAMAGED)?;
        let end = usize::from(*order == Order::Text && index < last);
        columns.push(Raw(if *order == Order::Number { flip(bytes.to_vec()) } else { bytes.to_vec() }));
        rest = behind.get(end..).ok_or(DAMAGED)?;
    }
    Ok((token, columns))
}

/// Bytes of a clustering column of fixed length.
fn width(column: &str) -> usize {
    match column {
        "group_id" | "message_id" => 16,
        "notified" | "cursor" => 1,
        _ => 8,
    }
}

/// The cells of a row: each absent, or its length and its bytes.
fn encode_cells(cells: &[Option<Raw>]) -> Result<Vec<u8>, Error> {
    let mut value = Vec::new();
    for cell in cells {
        match cell {
            None => value.push(0),
            Some(Raw(bytes)) => {
                value.push(1);
                value.extend_from_slice(&u32::try_from(bytes.len()).map_err(|_| DAMAGED)?.to_be_bytes());
                value.extend_from_slice(bytes);
            }
        }
    }
    Ok(value)
}

impl CassandraModel {
    pub(super) async fn canonical_page(
        &self,
        name: &str,
        after: Option<&[u8]>,
        limit: usize,
        mut page: Page,
    ) -> Result<Page, Error> {
        page.clear();
        let Some(table) = ALL.iter().find(|table| table.name == name) else { return Ok(page) };
        let scans = self.scans().get_or_try_init(|| Scans::prepare(self.cluster(), self.version())).await?;
        let scan = scans.0.get(table.name).ok_or(DAMAGED)?;
        let limit = limit.min(PAGE_ROWS_MAX);
        let mut rows = Vec::new();
        // No key has the least token.
        let mut token = i64::MIN;
        if let Some(after) = after {
            let (at, columns) = decode_key(table, after)?;
            token = at;
            if let Some(within) = &scan.within {
                let limit = Raw(limit_of(limit).to_be_bytes().to_vec());
                let values: Vec<Raw> = columns.into_iter().chain([limit]).collect();
                rows.extend(self.cluster().rows::<RawRow>(within, values).await?);
            }
        }
        if rows.len() < limit {
            let values = vec![Value::Big(token), Value::Int(limit_of(limit - rows.len()))];
            rows.extend(self.cluster().rows::<RawRow>(&scan.beyond, values).await?);
        }
        for row in rows {
            let (key, value) = pair(table, row)?;
            page.push(&key, &value);
        }
        Ok(page)
    }
}

fn pair(table: &Table, row: RawRow) -> Result<(Vec<u8>, Vec<u8>), Error> {
    let mut key = row.columns;
    let cells = key.split_off((table.partition.len() + table.clustering.len()).min(key.len()));
    let key: Option<Vec<Raw>> = key.into_iter().collect();
    Ok((encode_key(table, row.token, &key.ok_or(DAMAGED)?)?, encode_cells(&cells)?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_come_apart_and_sort_as_their_values() {
        let table = ALL.iter().find(|table| table.name == "members").unwrap();
        let key = |token: i64, user: &str, seq: i64| {
            let columns = [vec![7; 16], vec![0; 8], user.as_bytes().to_vec(), seq.to_be_bytes().to_vec()];
            encode_key(table, token, &columns.map(Raw)).unwrap()
        };
        let keys = [key(-5, "z", 9), key(-1, "a", 2), key(-1, "a", 256), key(-1, "a b", 1), key(3, "", 0)];
        assert!(keys.is_sorted_by(|a, b| a < b));
        for bytes in keys {
            let (token, columns) = decode_key(table, &bytes).unwrap();
            assert_eq!(encode_key(table, token, &columns).unwrap(), bytes);
            assert!(decode_key(table, &bytes[..bytes.len() - 1]).is_err());
        }
    }

    #[test]
    fn a_last_text_may_hold_anything() {
        let table = ALL.iter().find(|table| table.name == "client_ids").unwrap();
        let columns = [vec![7; 16], b"ann".to_vec(), vec![0; 8], b"\0a\0".to_vec()].map(Raw);
        let key = encode_key(table, 1, &columns).unwrap();
        assert_eq!(decode_key(table, &key).unwrap(), (1, columns.to_vec()));
    }
}

//! Values on their way to and from the driver.

use bytes::Bytes;
use parley_domain::{Seq, Timestamp, UserId};
use scylla::cluster::metadata::ColumnType;
use scylla::deserialize::value::DeserializeValue;
use scylla::deserialize::{DeserializationError, FrameSlice, TypeCheckError};
use scylla::serialize::SerializationError;
use scylla::serialize::value::SerializeValue;
use scylla::serialize::writers::{CellWriter, WrittenCellProof};
use scylla::value::CqlTimestamp;
use uuid::Uuid;

use crate::Error;

/// A value of a row that is written. Cheap to clone.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Id(Uuid),
    User(UserId),
    Text(String),
    Blob(Bytes),
    Big(i64),
    Int(i32),
    Tiny(i8),
    Bool(bool),
    Time(Timestamp),
}

impl Value {
    /// A number that is never negative.
    pub(super) fn seq(seq: Seq) -> Self {
        Self::Big(big(seq))
    }

    /// About how many bytes it takes on the wire.
    pub(super) fn len(&self) -> usize {
        const HEADER: usize = 4;
        HEADER
            + match self {
                Self::Id(_) => 16,
                Self::User(user) => user.as_str().len(),
                Self::Text(text) => text.len(),
                Self::Blob(bytes) => bytes.len(),
                Self::Big(_) | Self::Time(_) => 8,
                Self::Int(_) => 4,
                Self::Tiny(_) | Self::Bool(_) => 1,
            }
    }
}

impl SerializeValue for Value {
    fn serialize<'b>(
        &self,
        typ: &ColumnType<'_>,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        match self {
            Self::Id(id) => id.serialize(typ, writer),
            Self::User(user) => user.as_str().serialize(typ, writer),
            Self::Text(text) => text.serialize(typ, writer),
            Self::Blob(bytes) => bytes.serialize(typ, writer),
            Self::Big(number) => number.serialize(typ, writer),
            Self::Int(number) => number.serialize(typ, writer),
            Self::Tiny(number) => number.serialize(typ, writer),
            Self::Bool(flag) => flag.serialize(typ, writer),
            Self::Time(at) => CqlTimestamp(at.as_millis()).serialize(typ, writer),
        }
    }
}

/// A cell's bytes as they are on the wire, whatever its type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Raw(pub(super) Vec<u8>);

impl<'frame, 'metadata> DeserializeValue<'frame, 'metadata> for Raw {
    fn type_check(_: &ColumnType<'_>) -> Result<(), TypeCheckError> {
        Ok(())
    }

    fn deserialize(
        _: &'metadata ColumnType<'metadata>,
        slice: Option<FrameSlice<'frame>>,
    ) -> Result<Self, DeserializationError> {
        let slice = slice.ok_or_else(|| DeserializationError::new(Null))?;
        Ok(Self(slice.as_slice().to_vec()))
    }
}

impl SerializeValue for Raw {
    fn serialize<'b>(
        &self,
        _: &ColumnType<'_>,
        writer: CellWriter<'b>,
    ) -> Result<WrittenCellProof<'b>, SerializationError> {
        writer.set_value(&self.0).map_err(SerializationError::new)
    }
}

#[derive(Debug, thiserror::Error)]
#[error("a null where there is none")]
struct Null;

/// A number as CQL has it.
pub(super) fn big(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

/// The reverse of [`big`].
pub(super) fn number(big: i64) -> Result<u64, Error> {
    u64::try_from(big).map_err(|_| Error::Damaged("a number below zero"))
}

/// A cell that must be there.
pub(super) fn present<T>(cell: Option<T>) -> Result<T, Error> {
    cell.ok_or(Error::Damaged("a row without all of its cells"))
}

/// A time from a cell.
pub(super) fn time(cell: Option<CqlTimestamp>) -> Result<Timestamp, Error> {
    present(cell).map(|at| Timestamp(at.0))
}

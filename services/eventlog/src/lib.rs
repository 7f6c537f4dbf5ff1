//! The log: the durable, partitioned record of everything that happened, and the only source of truth.
//!
//! - [`EventLog`] and [`Tail`] are the port. What a provider owes is written there, and checked by [`conformance`].
//! - [`providers`] hold the engines; [`providers::embedded`] is one write-ahead log in a directory.
//! - [`Record`] and [`StoredRecord`] are what goes in and what lies there; [`headers`] gives a record's CloudEvents
//!   headers, the same whichever engine stands behind.
//!
//! Architecture invariant: nothing in here knows what a value means. Values are bytes, and `kind` is a string.

mod assignment;
pub mod conformance;
mod headers;
mod port;
pub mod providers;
mod record;

pub use assignment::Assignment;
pub use headers::headers;
pub use port::{
    AppendError, Appending, Bound, EventLog, Key, Offsets, ReadError, RecordTime, Tail, Topic, TopicPartition,
};
pub use record::{
    CE_SPECVERSION, CLAIM_HEADER, CONTENT_TYPE, EventType, INDEX_HEADER, Record, StoredRecord, admit,
};

//! What lies in the log: key, value and headers.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{EventId, Fact, Stamp, Timestamp, Validity, Verdict};
use parley_wire::decoded::Decoded;
use parley_wire::event::{CursorsAdvanced, DecodeError};
use parley_wire::trace::TraceContext;

use crate::port::{Topic, TopicPartition};

/// What an event is, by the name of its protobuf message (`ce_type`).
///
/// A string, since readers must carry types that a newer writer made; the names are in the `wire` crate.
pub type EventType = &'static str;

/// The header that names the claim: decimal offset.
pub const CLAIM_HEADER: &str = "parley_claim";
/// The header that holds the index within the claim, decimal.
pub const INDEX_HEADER: &str = "parley_index";
/// `content-type` of every value.
pub const CONTENT_TYPE: &str = "application/protobuf";
/// `ce_specversion`.
pub const CE_SPECVERSION: &str = "1.0";

/// A record to append.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The id of the group (or the user, on `parley.users`) as text; none on claims. Also `ce_subject`.
    pub key: Option<Bytes>,
    /// Protobuf.
    pub value: Bytes,
    /// `ce_id`.
    pub id: EventId,
    /// `ce_type`: the value's protobuf message name.
    pub kind: std::borrow::Cow<'static, str>,
    /// `ce_source`: which writer instance.
    pub source: Arc<str>,
    /// `ce_time`.
    pub time: Timestamp,
    /// The claim rule's part.
    pub stamp: Stamp,
    /// `ce_traceparent`: the span that wrote it, if that was traced. Boxed, since most weren't.
    pub trace: Option<Box<TraceContext>>,
    /// What the value says, where that is known without decoding it. Not stored.
    pub decoded: Decoded,
}

impl Record {
    /// What a record of `parley.events` says.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn fact(&self) -> Result<Arc<Fact>, DecodeError> {
        self.decoded.fact(&self.kind, &self.value)
    }

    /// What a record of `parley.acks` says.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn cursors(&self) -> Result<Arc<CursorsAdvanced>, DecodeError> {
        self.decoded.cursors(&self.value)
    }
}

/// A record that lies in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Topic and partition.
    pub at: TopicPartition,
    /// Offset.
    pub offset: u64,
    /// What was appended.
    pub record: Record,
}

/// Takes the next record of a partition and says whether it counts. Where a topic is under no claim rule
/// ([`crate::EventLog::is_fenced`]), everything does.
pub fn admit(validity: &mut Validity, stored: &StoredRecord) -> Verdict {
    if stored.record.stamp == Stamp::Unclaimed && stored.at.topic == Topic::Users {
        return Verdict::Valid;
    }
    validity.admit(stored.offset, stored.record.stamp)
}

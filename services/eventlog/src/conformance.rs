//! What every provider must do, as checks that run against any of them.
//!
//! A provider's test gives a [`Fixture`] and calls [`conformance_suite!`](crate::conformance_suite), which makes one
//! test of each check; with `ignore = "why",` before the fixture they are run on demand only. Each check gets a fixture of
//! its own, whose log is empty at first.

// This is a test suite that lies in the library so that each provider's tests can run it: it fails by panicking.
#![expect(
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test suite: a panic is how a check fails"
)]

pub mod appends;
pub mod lifecycle;
pub mod offsets;
pub mod reads;
pub mod tails;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use parley_domain::{EventId, Stamp, Timestamp};
use parley_wire::decoded::Decoded;
use parley_wire::trace::TraceContext;

use crate::{AppendError, EventLog, Record, StoredRecord, Tail, Topic, TopicPartition};

/// A place for one log that can be opened again.
#[async_trait]
pub trait Fixture: Send + Sync {
    /// Opens the log: empty the first time, and afterwards with all that lay in it. The former handle was dropped or
    /// closed before. It must have at least four partitions.
    async fn open(&self) -> Arc<dyn EventLog>;
}

/// Makes a `#[tokio::test]` of each check. The argument is an expression that makes a fresh [`Fixture`].
#[macro_export]
macro_rules! conformance_suite {
    (ignore = $why:literal, $fixture:expr) => {
        $crate::conformance_suite! { @all [#[ignore = $why]] $fixture }
    };
    (@all $attributes:tt $fixture:expr) => {
        $crate::conformance_suite! { @each $attributes $fixture;
            appends: offsets_are_dense_in_the_order_given;
            appends: each_partition_of_each_topic_counts_for_itself;
            appends: calls_that_are_not_awaited_land_in_their_order;
            appends: many_appenders_at_once_lose_and_double_nothing;
            appends: what_lies_there_is_what_was_appended;
            appends: large_records_are_kept_whole;
            appends: an_append_of_nothing_has_no_offsets;
            appends: a_partition_that_is_not_there_is_refused;
            reads: a_read_gives_what_was_asked_for;
            reads: the_end_is_empty_and_beyond_it_is_out_of_range;
            reads: a_sparse_partition_is_read_among_busy_ones;
            tails: a_tail_gives_each_record_once_in_order;
            tails: a_tail_begins_in_the_middle;
            tails: a_tail_waits_at_the_end_and_is_woken;
            tails: a_tail_gives_no_other_partition;
            tails: a_tail_of_nothing_gives_nothing;
            tails: a_tail_beyond_the_end_is_out_of_range;
            tails: a_cancelled_wait_loses_nothing;
            tails: tails_do_not_disturb_each_other;
            tails: a_tail_gives_only_what_is_in_the_log;
            tails: an_added_partition_is_given_from_its_offset_on;
            tails: an_added_partition_may_lie_further_back;
            tails: adding_again_or_beyond_the_end_changes_nothing;
            tails: a_removed_partition_gives_nothing_more;
            tails: a_removed_partition_can_be_added_again;
            tails: nothing_now_means_that_all_was_given;
            offsets: offsets_come_in_the_order_given;
            offsets: offsets_show_what_was_answered_before;
            offsets: offsets_are_the_logs_not_the_handles;
            lifecycle: a_reopened_log_has_everything_and_goes_on;
            lifecycle: the_epoch_stays;
            lifecycle: closing_makes_what_was_queued_durable;
            lifecycle: a_closed_log_refuses_and_its_tails_end;
            lifecycle: a_healthy_log_has_no_trouble;
        }
    };
    (@each $attributes:tt $fixture:expr; $($part:ident: $check:ident;)*) => {
        $($crate::conformance_suite! { @one $attributes $fixture; $part: $check })*
    };
    (@one [$(#[$attribute:meta])*] $fixture:expr; $part:ident: $check:ident) => {
        $(#[$attribute])*
        #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
        async fn $check() {
            $crate::conformance::$part::$check(&$fixture).await;
        }
    };
    ($fixture:expr) => {
        $crate::conformance_suite! { @all [] $fixture }
    };
}

/// How long anything may take before a check gives up.
const PATIENCE: Duration = Duration::from_secs(30);
/// How long a check waits for something that should not come.
const SILENCE: Duration = Duration::from_millis(100);

const fn events(partition: u32) -> TopicPartition {
    TopicPartition { topic: Topic::Events, partition }
}

const fn acks(partition: u32) -> TopicPartition {
    TopicPartition { topic: Topic::Acks, partition }
}

/// An event that can be told from others by its number.
fn record(number: u64) -> Record {
    Record {
        key: Some(Bytes::from(format!("key-{}", number % 7))),
        value: Bytes::from(number.to_be_bytes().to_vec()),
        id: EventId::from_bytes(u128::from(number).to_be_bytes()),
        kind: "parley.conformance.counted.v1".into(),
        source: "conformance".into(),
        time: Timestamp(1_700_000_000_000 + i64::try_from(number).unwrap_or_default()),
        stamp: Stamp::Event { claim: 0, index: number },
        trace: number
            .is_multiple_of(3)
            .then(|| Box::new(TraceContext { trace_id: [7; 16], span_id: [8; 8] })),
        decoded: Decoded::default(),
    }
}

/// The number of such an event.
fn number(stored: &StoredRecord) -> u64 {
    u64::from_be_bytes(stored.record.value.as_ref().try_into().expect("made by `record`"))
}

/// Appends and waits. Also for those whose tests need a log with something in it.
///
/// # Errors
/// The log's.
pub async fn append(
    log: &Arc<dyn EventLog>,
    records: Vec<(TopicPartition, Record)>,
) -> Result<Vec<u64>, AppendError> {
    let appending = log.append(records);
    tokio::time::timeout(PATIENCE, appending).await.expect("an append ends").expect("an append is answered")
}

/// Appends events with the given numbers to one partition, each in an append of its own, and waits for all.
async fn fill(log: &Arc<dyn EventLog>, at: TopicPartition, numbers: std::ops::Range<u64>) {
    let appendings: Vec<_> = numbers.map(|number| log.append(vec![(at, record(number))])).collect();
    for appending in appendings {
        appending.await.expect("answered").expect("appended");
    }
}

/// Takes records until there are as many as wanted.
async fn take(tail: &mut Box<dyn Tail>, wanted: usize) -> Vec<Arc<StoredRecord>> {
    let mut taken = Vec::new();
    while taken.len() < wanted {
        let next = tokio::time::timeout(PATIENCE, tail.next(wanted - taken.len())).await;
        let records =
            next.unwrap_or_else(|_| panic!("{} of {wanted} came in time", taken.len())).expect("a tail");
        assert!(!records.is_empty(), "`next` gives at least one");
        assert!(records.len() <= wanted - taken.len(), "`next` gives at most what was asked for");
        taken.extend(records);
    }
    taken
}

/// Nothing comes now, nor for a while.
async fn assert_silent(tail: &mut Box<dyn Tail>) {
    assert!(tail.next_now(10).await.expect("a tail").is_empty());
    assert!(tokio::time::timeout(SILENCE, tail.next(10)).await.is_err(), "nothing may come");
}

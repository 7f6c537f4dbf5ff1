//! What each metric counts, in the words that `/metrics` has for it.

use metrics::{describe_counter, describe_gauge, describe_histogram};

/// Counters that exist from the start, so that a dashboard shows 0 and not nothing, and an alert sees the first increase.
const FROM_THE_START: [(&str, &str); 12] = [
    (
        "parley_messages_accepted_total",
        "Messages that were made durable and acknowledged to their senders, repeats not among them.",
    ),
    (
        "parley_dedupe_hits_total",
        "Requests that had been accepted before, and were answered as the first time.",
    ),
    ("parley_log_lost_total", "Times that the log refused appends from then on, until a restart."),
    ("parley_deliveries_total", "Events handed over to sessions, once for each session."),
    ("parley_replay_records_read_total", "Records read from the log to bring sessions up."),
    ("parley_replay_rows_total", "Rows read from the read models to bring sessions up."),
    ("parley_replays_from_memory_total", "Sessions that were brought up from what was in memory."),
    (
        "parley_replays_held_up_total",
        "Times that a session couldn't be brought up and it was to be tried again.",
    ),
    (
        "parley_statuses_dropped_total",
        "Advances of cursors whose senders weren't told, since too many waited; the read models have them.",
    ),
    (
        "parley_requests_sent_again_total",
        "Requests sent to another owner, since the first one no longer was it.",
    ),
    ("parley_projector_records_total", "Records that the projector applied to the read models."),
    (
        "parley_projector_unprojectable_total",
        "Records that couldn't be applied to the read models, and were left out.",
    ),
];

/// The other counters: those of each label or role, which are begun where that is known.
const COUNTERS: [(&str, &str); 4] = [
    ("parley_log_records_appended_total", "Records made durable in the log."),
    ("parley_delivery_records_read_total", "Records that the delivery read from the log."),
    ("parley_disconnects_total", "WebSockets that ended, by close code."),
    ("parley_http_requests_total", "HTTP requests, by route, method and status."),
];

const GAUGES: [(&str, &str); 5] = [
    ("parley_sockets", "WebSockets that are open."),
    ("parley_outbox_bytes", "Bytes that wait for clients to take them."),
    ("parley_partitions_followed", "Partitions that the delivery of an edge among several follows."),
    ("parley_projector_lag_records", "Records of the log that the read models lack."),
    ("parley_reads_trouble", "1 once the read models' tables aren't merged any more, until a restart."),
];

const HISTOGRAMS: [(&str, &str); 4] = [
    ("parley_log_fsync_seconds", "Duration of the log's fsyncs, in seconds."),
    ("parley_log_batch_records", "Records that one fsync of the log made durable."),
    ("parley_writer_batch_requests", "Requests that the owner of a partition decided in one go."),
    (
        "parley_delivery_seconds",
        "From the time of an event to its being handed over to sessions, in seconds.",
    ),
];

/// Describes all of them, and begins those that exist from the start.
pub(super) fn describe() {
    for (name, _) in FROM_THE_START {
        metrics::counter!(name).increment(0);
    }
    FROM_THE_START.into_iter().chain(COUNTERS).for_each(|(name, help)| describe_counter!(name, help));
    GAUGES.into_iter().for_each(|(name, help)| describe_gauge!(name, help));
    HISTOGRAMS.into_iter().for_each(|(name, help)| describe_histogram!(name, help));
}

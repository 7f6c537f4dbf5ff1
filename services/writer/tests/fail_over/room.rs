//! How many ids of messages are remembered until the read models have them.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use async_trait::async_trait;
use parley_domain::{Code, GroupId};
use parley_eventlog::{Offsets as _, Topic, TopicPartition};
use parley_wire::service::Progress;
use parley_writer::{Engines, Options};

use crate::support::{Writer, create, engines, group, place, send, seq_of};

/// Projectors that have come so far, in each partition.
#[derive(Default)]
struct StandsAt(AtomicU64);

#[async_trait]
impl Progress for StandsAt {
    async fn caught_up(&self, _: Option<GroupId>, _: Duration) -> bool {
        false
    }

    fn projected(&self, _: u32) -> u64 {
        self.0.load(Ordering::Relaxed)
    }
}

/// Invariant: `busy` means that nothing was stored.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_could_not_be_told_from_a_repeat_later_is_refused_and_not_stored() {
    let dir = tempfile::tempdir().unwrap();
    let progress = Arc::new(StandsAt::default());
    let engines = Engines { progress: progress.clone(), ..engines(dir.path()) };
    let options = Options { instance: "one".into(), recent_ids_max: 3, ..Options::default() };
    let writer = Writer::start_with(options, &engines);
    let terms = writer.assign_all(1).await;
    writer.ask(&terms, create(group(1))).await.unwrap();
    for (id, seq) in [("a", 2), ("b", 3), ("c", 4)] {
        assert_eq!(seq_of(writer.ask(&terms, send(group(1), "ann", id)).await), (seq, false));
    }
    let at = TopicPartition { topic: Topic::Events, partition: place(group(1)) };
    let end = engines.log.end_offset(at).await.unwrap();
    let refused = writer.ask(&terms, send(group(1), "ann", "d")).await.unwrap_err();
    assert_eq!(refused.code, Code::Busy);
    assert!(refused.retry_after_ms.is_some(), "{refused:?}");
    assert_eq!(engines.log.end_offset(at).await.unwrap(), end, "nothing was stored");

    progress.0.store(u64::MAX, Ordering::Relaxed);
    assert_eq!(seq_of(writer.ask(&terms, send(group(1), "ann", "d")).await), (5, false), "it is new");
    writer.task.shut_down().await;
}

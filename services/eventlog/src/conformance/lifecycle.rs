//! Checks of opening, closing and what stays.

use super::*;
use crate::{Offsets as _, ReadError};

/// Everything is there after opening again, and offsets go on.
pub async fn a_reopened_log_has_everything_and_goes_on(fixture: &dyn Fixture) {
    for round in 0..5 {
        let log = fixture.open().await;
        assert_eq!(log.end_offset(events(0)).await.expect("an end"), round * 10);
        fill(&log, events(0), round * 10..round * 10 + 10).await;
        fill(&log, acks(1), round..round + 1).await;
        // By turns in an orderly way, and by just letting go.
        if round % 2 == 0 {
            log.close().await;
        }
    }
    let log = fixture.open().await;
    let stored = log.read(events(0), 0, 100).await.expect("read");
    assert!(stored.iter().map(number).eq(0..50));
    assert!(log.read(acks(1), 0, 100).await.expect("read").iter().map(number).eq(0..5));
}

/// The epoch and the number of partitions are the log's, not the process's.
pub async fn the_epoch_stays(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let (epoch, partitions) = (log.epoch(), log.partitions());
    assert!(partitions.get() >= 4, "the suite needs four partitions");
    fill(&log, events(0), 0..1).await;
    drop(log);
    let log = fixture.open().await;
    assert_eq!((log.epoch(), log.partitions()), (epoch, partitions));
}

/// Appends that nobody has awaited yet are durable once `close` returns.
pub async fn closing_makes_what_was_queued_durable(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let appendings: Vec<_> = (0..200).map(|number| log.append(vec![(events(0), record(number))])).collect();
    log.close().await;
    for (expected, appending) in (0..).zip(appendings) {
        assert_eq!(appending.await.expect("answered").expect("appended"), [expected]);
    }
    drop(log);
    let log = fixture.open().await;
    assert!(log.read(events(0), 0, 1_000).await.expect("read").iter().map(number).eq(0..200));
}

/// After `close`: appends are refused, tails give the rest and then say `Closed`, waiting ones too, and closing again
/// is fine.
pub async fn a_closed_log_refuses_and_its_tails_end(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    fill(&log, events(0), 0..10).await;
    let mut behind = log.tail(vec![(events(0), 4)]).await.expect("a tail");
    let mut at_end = log.tail(vec![(events(0), 10)]).await.expect("a tail");
    let waiting = tokio::spawn(async move { at_end.next(10).await });
    tokio::time::sleep(SILENCE).await;
    log.close().await;
    log.close().await;
    let refused = append(&log, vec![(events(0), record(10))]).await;
    assert!(matches!(refused, Err(AppendError::NotAppended(_))), "{refused:?}");
    assert!(matches!(waiting.await.expect("a task ends"), Err(ReadError::Closed)));
    assert!(take(&mut behind, 6).await.iter().map(|stored| number(stored)).eq(4..10));
    assert!(matches!(behind.next(10).await, Err(ReadError::Closed)));
    assert!(matches!(behind.next_now(10).await, Err(ReadError::Closed)));
}

/// Nothing to report while all is well.
pub async fn a_healthy_log_has_no_trouble(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    fill(&log, events(0), 0..10).await;
    assert_eq!(log.trouble(), None);
}

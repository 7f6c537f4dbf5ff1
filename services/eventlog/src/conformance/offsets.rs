//! Checks of `offsets`.

use super::*;
use crate::{Bound, ReadError};

/// Each place's, in the order given, of any number of places.
pub async fn offsets_come_in_the_order_given(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    fill(&log, events(2), 0..3).await;
    fill(&log, acks(2), 0..5).await;
    let places = [acks(2), events(0), events(2), acks(0), events(2)];
    assert_eq!(log.offsets(&places, Bound::End).await.expect("ends"), [5, 0, 3, 0, 3]);
    assert_eq!(log.offsets(&places, Bound::Start).await.expect("starts"), [0; 5]);
    assert!(log.offsets(&[], Bound::End).await.expect("none").is_empty());
    let beyond = log.offsets(&[events(0), events(log.partitions().get())], Bound::End).await;
    assert!(matches!(beyond, Err(ReadError::OutOfRange { .. })), "{beyond:?}");
}

/// Whatever anybody was told before the call is in the answer, however many ask at the same time.
pub async fn offsets_show_what_was_answered_before(fixture: &dyn Fixture) {
    const TASKS: u32 = 8;
    const EACH: u64 = 40;
    let log = fixture.open().await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let log = Arc::clone(&log);
            let at = events(task % 4);
            tokio::spawn(async move {
                for number in 0..EACH {
                    let given = append(&log, vec![(at, record(number))]).await.expect("appended")[0];
                    let ends = log.offsets(&[at, acks(0)], Bound::End).await.expect("ends");
                    assert!(ends[0] > given, "{} after {given}", ends[0]);
                    assert_eq!(ends[1], 0);
                }
            })
        })
        .collect();
    for task in tasks {
        task.await.expect("a task ends");
    }
    let ends = log.offsets(&[events(0), events(1)], Bound::End).await.expect("ends");
    assert_eq!(ends, [2 * EACH, 2 * EACH]);
}

/// Of another handle on the same log, if the engine lets several processes hold it, or after opening again.
pub async fn offsets_are_the_logs_not_the_handles(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    fill(&log, events(1), 0..9).await;
    drop(log);
    let log = fixture.open().await;
    assert_eq!(log.offsets(&[events(1), events(0)], Bound::End).await.expect("ends"), [9, 0]);
}

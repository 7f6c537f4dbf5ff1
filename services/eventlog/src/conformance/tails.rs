//! Checks of `tail`.

use super::*;
use crate::{Offsets as _, ReadError};

/// All partitions in one stream: each record once, each partition in its order, from the first to what comes later.
pub async fn a_tail_gives_each_record_once_in_order(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let partitions = [events(0), events(1), acks(0), acks(3)];
    let spread = |numbers: std::ops::Range<u64>| {
        numbers.flat_map(|n| partitions.map(|at| (at, record(n)))).collect::<Vec<_>>()
    };
    append(&log, spread(0..100)).await.expect("appended");
    let mut tail = log.tail(partitions.map(|at| (at, 0)).to_vec()).await.expect("a tail");
    let mut taken = take(&mut tail, 150).await;
    append(&log, spread(100..150)).await.expect("appended");
    taken.extend(take(&mut tail, 450).await);
    for at in partitions {
        let own: Vec<_> = taken.iter().filter(|stored| stored.at == at).collect();
        assert!(own.iter().map(|stored| stored.offset).eq(0..150), "{at:?}");
        assert!(own.iter().map(|stored| number(stored)).eq(0..150), "{at:?}");
    }
    assert_silent(&mut tail).await;
}

/// Each partition from an offset of its own, also on a log that was opened again.
pub async fn a_tail_begins_in_the_middle(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    for numbers in [0..30, 30..60] {
        fill(&log, events(0), numbers.clone()).await;
        fill(&log, events(1), numbers).await;
    }
    let check = async |log: &Arc<dyn EventLog>| {
        let mut tail = log.tail(vec![(events(0), 45), (events(1), 10)]).await.expect("a tail");
        let taken = take(&mut tail, 65).await;
        let of = |at| taken.iter().filter(move |stored| stored.at == at).map(|stored| stored.offset);
        assert!(of(events(0)).eq(45..60));
        assert!(of(events(1)).eq(10..60));
        assert_silent(&mut tail).await;
    };
    check(&log).await;
    drop(log);
    check(&fixture.open().await).await;
}

/// At the end there is nothing now; what is appended then arrives.
pub async fn a_tail_waits_at_the_end_and_is_woken(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    fill(&log, events(0), 0..5).await;
    let mut tail = log.tail(vec![(events(0), 5)]).await.expect("a tail");
    assert_silent(&mut tail).await;
    let waiting = tokio::spawn(async move {
        let taken = take(&mut tail, 1).await;
        (tail, taken)
    });
    tokio::time::sleep(SILENCE).await;
    fill(&log, events(0), 5..6).await;
    let (mut tail, taken) = waiting.await.expect("a task ends");
    assert_eq!(number(&taken[0]), 5);
    // Answered means that it can be read: the record is there without waiting, on an engine or two after a moment.
    fill(&log, events(0), 6..7).await;
    assert_eq!(number(&take(&mut tail, 1).await[0]), 6);
}

/// Records of other partitions and topics don't come, and don't end a wait.
pub async fn a_tail_gives_no_other_partition(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut tail = log.tail(vec![(events(1), 0)]).await.expect("a tail");
    fill(&log, events(0), 0..50).await;
    fill(&log, acks(1), 0..50).await;
    assert_silent(&mut tail).await;
    fill(&log, events(1), 7..8).await;
    assert_eq!(number(&take(&mut tail, 1).await[0]), 7);
}

/// No partitions, no records, no error.
pub async fn a_tail_of_nothing_gives_nothing(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    fill(&log, events(0), 0..5).await;
    let mut tail = log.tail(Vec::new()).await.expect("a tail");
    assert_silent(&mut tail).await;
}

/// An offset beyond the end is an error at once.
pub async fn a_tail_beyond_the_end_is_out_of_range(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    fill(&log, events(0), 0..5).await;
    drop(log.tail(vec![(events(0), 5)]).await.expect("the end itself is fine"));
    let beyond = log.tail(vec![(events(1), 0), (events(0), 6)]).await.err();
    assert!(matches!(beyond, Some(ReadError::OutOfRange { offset: 6, .. })), "{beyond:?}");
}

/// A `next` that is dropped at any moment takes no record with it.
pub async fn a_cancelled_wait_loses_nothing(fixture: &dyn Fixture) {
    const RECORDS: u64 = 2_000;
    let log = fixture.open().await;
    fill(&log, events(0), 0..RECORDS / 2).await;
    drop(log);
    let log = fixture.open().await;
    let mut tail = log.tail(vec![(events(0), 0)]).await.expect("a tail");
    let appender = {
        let log = Arc::clone(&log);
        tokio::spawn(async move {
            for number in RECORDS / 2..RECORDS {
                fill(&log, events(0), number..number + 1).await;
            }
        })
    };
    let mut taken = Vec::new();
    let mut round = 0u64;
    let began = std::time::Instant::now();
    while taken.len() < usize::try_from(RECORDS).unwrap_or_default() {
        assert!(began.elapsed() < PATIENCE, "{} came", taken.len());
        round += 1;
        let patience = Duration::from_micros(round % 7 * 40);
        if let Ok(records) = tokio::time::timeout(patience, tail.next(10)).await {
            taken.extend(records.expect("a tail").iter().map(|stored| number(stored)));
        }
    }
    appender.await.expect("a task ends");
    assert!(taken.into_iter().eq(0..RECORDS));
}

/// Slow and quick tails over the same partition each see all.
pub async fn tails_do_not_disturb_each_other(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut first = log.tail(vec![(events(0), 0)]).await.expect("a tail");
    let mut second = log.tail(vec![(events(0), 0)]).await.expect("a tail");
    fill(&log, events(0), 0..20).await;
    assert_eq!(take(&mut first, 20).await.len(), 20);
    fill(&log, events(0), 20..40).await;
    assert!(take(&mut second, 40).await.iter().map(|stored| number(stored)).eq(0..40));
    assert!(take(&mut first, 20).await.iter().map(|stored| number(stored)).eq(20..40));
}

/// Whatever a tail gives lies before the end, can be read, and is still there after opening again.
pub async fn a_tail_gives_only_what_is_in_the_log(fixture: &dyn Fixture) {
    const RECORDS: u64 = 300;
    let log = fixture.open().await;
    let mut tail = log.tail(vec![(events(0), 0)]).await.expect("a tail");
    let appendings: Vec<_> =
        (0..RECORDS).map(|number| log.append(vec![(events(0), record(number))])).collect();
    let mut seen = 0;
    while seen < RECORDS {
        let records = tokio::time::timeout(PATIENCE, tail.next(64)).await.expect("in time").expect("a tail");
        let end = log.end_offset(events(0)).await.expect("an end");
        for stored in records {
            assert!(stored.offset < end);
            let read = log.read(events(0), stored.offset, 1).await.expect("read");
            assert_eq!(read, [StoredRecord::clone(&stored)]);
            seen += 1;
        }
    }
    for appending in appendings {
        appending.await.expect("answered").expect("appended");
    }
    drop((tail, log));
    let log = fixture.open().await;
    assert_eq!(log.end_offset(events(0)).await.expect("an end"), RECORDS);
}

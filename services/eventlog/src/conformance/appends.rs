//! Checks of `append`.

use std::collections::HashSet;

use super::*;
use crate::Offsets as _;

/// One call's records get consecutive offsets in their order, and calls go on from each other.
pub async fn offsets_are_dense_in_the_order_given(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let batch = |numbers: std::ops::Range<u64>| numbers.map(|n| (events(1), record(n))).collect::<Vec<_>>();
    assert_eq!(append(&log, batch(0..3)).await.expect("appended"), [0, 1, 2]);
    assert_eq!(append(&log, batch(3..4)).await.expect("appended"), [3]);
    assert_eq!(append(&log, batch(4..6)).await.expect("appended"), [4, 5]);
    assert_eq!(log.end_offset(events(1)).await.expect("an end"), 6);
    let stored = log.read(events(1), 0, 100).await.expect("read");
    assert_eq!(
        stored.iter().map(|s| (s.offset, number(s))).collect::<Vec<_>>(),
        [(0, 0), (1, 1), (2, 2), (3, 3), (4, 4), (5, 5)]
    );
}

/// Offsets are a partition's own, also in one call over several, which answers in the order given.
pub async fn each_partition_of_each_topic_counts_for_itself(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    fill(&log, events(0), 0..2).await;
    let over = vec![
        (events(0), record(2)),
        (events(1), record(3)),
        (acks(0), record(4)),
        (events(0), record(5)),
        (acks(0), record(6)),
    ];
    assert_eq!(append(&log, over).await.expect("appended"), [2, 0, 0, 3, 1]);
    for (at, end) in [(events(0), 4), (events(1), 1), (acks(0), 2), (acks(1), 0), (events(2), 0)] {
        assert_eq!(log.end_offset(at).await.expect("an end"), end, "{at:?}");
        assert_eq!(log.start_offset(at).await.expect("a start"), 0, "{at:?}");
    }
}

/// The order of the calls is the order in the log, whatever their sizes, without waiting between them.
pub async fn calls_that_are_not_awaited_land_in_their_order(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut appendings = Vec::new();
    let mut next = 0;
    for call in 0..500u64 {
        let size = call % 5 + 1;
        appendings.push((
            next,
            size,
            log.append((next..next + size).map(|n| (events(2), record(n))).collect()),
        ));
        next += size;
    }
    for (first, size, appending) in appendings {
        let offsets = appending.await.expect("answered").expect("appended");
        assert_eq!(offsets, (first..first + size).collect::<Vec<_>>());
    }
    let stored = log.read(events(2), 0, usize::MAX).await.expect("read");
    assert!(stored.iter().map(number).eq(0..next), "in the order of the calls");
}

/// Many tasks at once: each record once, each offset once, and each task's records in its order.
pub async fn many_appenders_at_once_lose_and_double_nothing(fixture: &dyn Fixture) {
    const TASKS: u64 = 16;
    const EACH: u64 = 50;
    let log = fixture.open().await;
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let log = Arc::clone(&log);
            tokio::spawn(async move {
                let mut given = Vec::new();
                for index in 0..EACH {
                    let number = task * EACH + index;
                    given.push((
                        number,
                        append(&log, vec![(events(3), record(number))]).await.expect("appended")[0],
                    ));
                }
                given
            })
        })
        .collect();
    let mut given = Vec::new();
    for task in tasks {
        given.extend(task.await.expect("a task ends"));
    }
    let stored = log.read(events(3), 0, usize::MAX).await.expect("read");
    assert_eq!(stored.len() as u64, TASKS * EACH);
    assert_eq!(given.iter().map(|(_, offset)| offset).collect::<HashSet<_>>().len(), stored.len());
    for (number_given, offset) in given {
        let index = usize::try_from(offset).expect("small");
        assert_eq!((stored[index].offset, number(&stored[index])), (offset, number_given));
    }
    for task in 0..TASKS {
        let own = stored.iter().map(number).filter(|number| number / EACH == task);
        assert!(own.eq(task * EACH..(task + 1) * EACH), "task {task} in its order");
    }
}

/// Every field of every kind of record comes back as it was.
pub async fn what_lies_there_is_what_was_appended(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let claim = Record {
        key: None,
        value: Bytes::from_static(b"claim"),
        kind: "parley.writer.claimed.v1".into(),
        source: "writer/ä".into(),
        stamp: Stamp::Claim,
        trace: None,
        time: Timestamp(0),
        ..record(1)
    };
    let empty =
        Record { value: Bytes::new(), key: Some(Bytes::from_static("ключ".as_bytes())), ..record(2) };
    let large = Stamp::Event { claim: u64::from(u32::MAX) + 7, index: 1 << 40 };
    let odd =
        Record { stamp: large, source: "another".into(), value: Bytes::from(vec![0xF7; 300]), ..record(3) };
    let all = [claim, empty, odd];
    append(&log, all.iter().map(|r| (acks(3), r.clone())).collect()).await.expect("appended");
    let mut tail = log.tail(vec![(acks(3), 0)]).await.expect("a tail");
    let tailed = take(&mut tail, 3).await;
    drop((tail, log));
    let read = fixture.open().await.read(acks(3), 0, 10).await.expect("read");
    for (offset, expected) in (0..).zip(all) {
        let index = usize::try_from(offset).expect("small");
        let expected = StoredRecord { at: acks(3), offset, record: expected };
        assert_eq!(*tailed[index], expected, "from the tail");
        assert_eq!(read[index], expected, "read after opening again");
    }
}

/// Records around and beyond 64 KiB, between small ones.
pub async fn large_records_are_kept_whole(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let sizes = [0, 65_535, 3, 65_536, 200_000, 1, 700_000];
    let make = |size: usize| {
        let value: Vec<u8> = (0..size).map(|at| u8::try_from(at % 251).unwrap_or_default()).collect();
        Record { value: value.into(), ..record(size as u64) }
    };
    append(&log, sizes.iter().map(|size| (events(0), make(*size))).collect()).await.expect("appended");
    drop(log);
    let log = fixture.open().await;
    let read = log.read(events(0), 0, 100).await.expect("read");
    let mut tail = log.tail(vec![(events(0), 0)]).await.expect("a tail");
    let tailed = take(&mut tail, sizes.len()).await;
    for (index, size) in sizes.into_iter().enumerate() {
        assert!(read[index].record == make(size), "read, {size} bytes");
        assert!(tailed[index].record == make(size), "tailed, {size} bytes");
    }
}

/// No records, no offsets, no error.
pub async fn an_append_of_nothing_has_no_offsets(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    assert!(append(&log, Vec::new()).await.expect("appended").is_empty());
    fill(&log, events(0), 0..1).await;
}

/// A partition beyond the last: nothing of such a call lands.
pub async fn a_partition_that_is_not_there_is_refused(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let beyond = events(log.partitions().get());
    let outcome = append(&log, vec![(events(0), record(0)), (beyond, record(1))]).await;
    assert!(matches!(outcome, Err(AppendError::NotAppended(_))), "{outcome:?}");
    assert_eq!(log.end_offset(events(0)).await.expect("an end"), 0);
    assert!(log.end_offset(beyond).await.is_err());
    assert!(log.read(beyond, 0, 1).await.is_err());
    assert!(log.tail(vec![(beyond, 0)]).await.is_err());
}

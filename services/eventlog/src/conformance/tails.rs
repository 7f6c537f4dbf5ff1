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

/// A partition that is added in the middle of things is given from its offset on, and what the others were given isn't
/// given again, though it lies between.
pub async fn an_added_partition_is_given_from_its_offset_on(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    // By turns, so that whoever goes back to the early records of one partition passes those of the others.
    for numbers in [0..20, 20..40] {
        for at in [events(0), events(1), acks(2)] {
            fill(&log, at, numbers.clone()).await;
        }
    }
    let mut tail = log.tail(vec![(events(0), 0)]).await.expect("a tail");
    assert_eq!(take(&mut tail, 40).await.len(), 40);
    assert_silent(&mut tail).await;
    tail.add(vec![(events(1), 5), (acks(2), 40)]).await.expect("added");
    let taken = take(&mut tail, 35).await;
    assert!(taken.iter().all(|stored| stored.at == events(1)));
    assert!(taken.iter().map(|stored| stored.offset).eq(5..40));
    assert_silent(&mut tail).await;
    for at in [events(0), events(1), acks(2)] {
        fill(&log, at, 40..50).await;
    }
    let taken = take(&mut tail, 30).await;
    for at in [events(0), events(1), acks(2)] {
        let own = taken.iter().filter(|stored| stored.at == at).map(|stored| number(stored));
        assert!(own.eq(40..50), "{at:?}");
    }
    assert_silent(&mut tail).await;
}

/// One that lies further back than all others, while these are behind themselves.
pub async fn an_added_partition_may_lie_further_back(fixture: &dyn Fixture) {
    const RECORDS: u64 = 600;
    let log = fixture.open().await;
    fill(&log, events(3), 0..RECORDS).await;
    fill(&log, events(0), 0..RECORDS).await;
    drop(log);
    let log = fixture.open().await;
    let mut tail = log.tail(vec![(events(0), 0)]).await.expect("a tail");
    let mut taken = take(&mut tail, 250).await;
    tail.add(vec![(events(3), 0)]).await.expect("added");
    taken.extend(take(&mut tail, usize::try_from(RECORDS).unwrap_or_default() * 2 - 250).await);
    for at in [events(0), events(3)] {
        let own = taken.iter().filter(|stored| stored.at == at).map(|stored| stored.offset);
        assert!(own.eq(0..RECORDS), "{at:?}");
    }
    assert_silent(&mut tail).await;
}

/// What a tail has already goes on as it was; an offset out of range adds nothing, and the tail goes on.
pub async fn adding_again_or_beyond_the_end_changes_nothing(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    fill(&log, events(0), 0..30).await;
    fill(&log, events(1), 0..30).await;
    let mut tail = log.tail(vec![(events(0), 0)]).await.expect("a tail");
    assert!(take(&mut tail, 10).await.iter().map(|stored| number(stored)).eq(0..10));
    tail.add(vec![(events(0), 3)]).await.expect("left as it is");
    assert!(take(&mut tail, 5).await.iter().map(|stored| number(stored)).eq(10..15));
    for from in [
        vec![(events(1), 0), (events(2), 1)],
        vec![(events(1), 31)],
        vec![(events(log.partitions().get()), 0)],
    ] {
        let refused = tail.add(from).await;
        assert!(matches!(refused, Err(ReadError::OutOfRange { .. })), "{refused:?}");
    }
    tail.add(Vec::new()).await.expect("nothing");
    let taken = take(&mut tail, 15).await;
    assert!(taken.iter().all(|stored| stored.at == events(0)));
    assert!(taken.iter().map(|stored| number(stored)).eq(15..30));
    assert_silent(&mut tail).await;
}

/// After a removal nothing of the partition comes, however much of it was read ahead already; the others go on.
pub async fn a_removed_partition_gives_nothing_more(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    for number in 0..300 {
        append(&log, [events(0), events(1), acks(1)].map(|at| (at, record(number))).to_vec())
            .await
            .expect("appended");
    }
    drop(log);
    let log = fixture.open().await;
    let mut tail =
        log.tail([events(0), events(1), acks(1)].map(|at| (at, 0)).to_vec()).await.expect("a tail");
    // Few, so that much is buffered.
    let mut taken = take(&mut tail, 5).await;
    // Of one that it doesn't have, too.
    tail.remove(&[events(1), events(2)]);
    let before = taken.iter().filter(|stored| stored.at == events(1)).count();
    taken.extend(take(&mut tail, 600 - (5 - before)).await);
    assert_eq!(taken.iter().filter(|stored| stored.at == events(1)).count(), before);
    for at in [events(0), acks(1)] {
        assert!(
            taken.iter().filter(|stored| stored.at == at).map(|stored| stored.offset).eq(0..300),
            "{at:?}"
        );
    }
    fill(&log, events(1), 300..310).await;
    assert_silent(&mut tail).await;
    tail.remove(&[events(0), acks(1)]);
    fill(&log, events(0), 300..310).await;
    assert_silent(&mut tail).await;
}

/// A partition that was removed can be added again: further on, further back, and again and again.
pub async fn a_removed_partition_can_be_added_again(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    for number in 0..400 {
        append(&log, [events(0), acks(0)].map(|at| (at, record(number))).to_vec()).await.expect("appended");
    }
    let mut tail = log.tail(vec![(events(0), 0), (acks(0), 0)]).await.expect("a tail");
    let mut other = take(&mut tail, 20).await;
    for from in [200, 0, 399, 100, 100] {
        tail.remove(&[events(0)]);
        tail.add(vec![(events(0), from)]).await.expect("added again");
        let mut own: Vec<Arc<StoredRecord>> = Vec::new();
        let mut rounds = 0;
        while own.len() < 30.min(400 - usize::try_from(from).unwrap_or_default()) {
            rounds += 1;
            assert!(rounds < 1_000, "{} came", own.len());
            for stored in take(&mut tail, 1).await {
                if stored.at == events(0) { own.push(stored) } else { other.push(stored) }
            }
        }
        let expected = from..from + own.len() as u64;
        assert!(own.iter().map(|stored| stored.offset).eq(expected), "from {from}");
    }
    tail.remove(&[events(0)]);
    loop {
        let more = tail.next_now(1_000).await.expect("a tail");
        if more.is_empty() {
            break;
        }
        other.extend(more);
    }
    let other = other.iter().filter(|stored| stored.at == acks(0)).map(|stored| stored.offset);
    assert!(other.eq(0..400), "the other one is undisturbed");
}

/// An empty answer means that all that was there at the time of the call was given.
pub async fn nothing_now_means_that_all_was_given(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let mut tail = log.tail(vec![(events(0), 0), (events(1), 0)]).await.expect("a tail");
    let mut taken = Vec::new();
    for number in 0..100 {
        append(&log, vec![(events(u32::try_from(number % 2).unwrap_or_default()), record(number))])
            .await
            .expect("appended");
        loop {
            let more = tail.next_now(7).await.expect("a tail");
            if more.is_empty() {
                break;
            }
            taken.extend(more);
        }
        assert_eq!(taken.len() as u64, number + 1);
    }
    assert!(taken.iter().map(|stored| number(stored)).eq(0..100));
}

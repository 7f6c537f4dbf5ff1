//! Checks of `read`.

use super::*;
use crate::ReadError;

/// From any offset, any number, in pages.
pub async fn a_read_gives_what_was_asked_for(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    fill(&log, events(1), 0..200).await;
    drop(log);
    let log = fixture.open().await;
    for (from, records_max) in [(0, 1), (0, 200), (7, 50), (150, 1_000), (199, 1), (3, 0)] {
        let stored = log.read(events(1), from, records_max).await.expect("read");
        let to = (from + records_max as u64).min(200);
        assert!(stored.iter().map(number).eq(from..to), "{records_max} from {from}");
        assert!(stored.iter().map(|s| s.offset).eq(from..to));
        assert!(stored.iter().all(|s| s.at == events(1)));
    }
}

/// At the end nothing; beyond it an error, and not an empty answer that looks like the end.
pub async fn the_end_is_empty_and_beyond_it_is_out_of_range(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    assert!(log.read(events(0), 0, 10).await.expect("read").is_empty());
    fill(&log, events(0), 0..3).await;
    assert!(log.read(events(0), 3, 10).await.expect("read").is_empty());
    let beyond = log.read(events(0), 4, 10).await;
    assert!(matches!(beyond, Err(ReadError::OutOfRange { offset: 4, .. })), "{beyond:?}");
}

/// Records of one partition that lie far apart, between many of others.
pub async fn a_sparse_partition_is_read_among_busy_ones(fixture: &dyn Fixture) {
    let log = fixture.open().await;
    let filler = Record { value: Bytes::from(vec![1; 40_000]), ..record(0) };
    for number in 0..6 {
        fill(&log, events(2), number..number + 1).await;
        let busy = (0..40).map(|n| (if n % 2 == 0 { events(1) } else { acks(2) }, filler.clone())).collect();
        append(&log, busy).await.expect("appended");
    }
    drop(log);
    let log = fixture.open().await;
    for from in 0..6 {
        let stored = log.read(events(2), from, 4).await.expect("read");
        assert!(stored.iter().map(number).eq(from..6.min(from + 4)), "from {from}");
    }
    assert_eq!(log.read(events(1), 0, 1_000).await.expect("read").len(), 120);
}

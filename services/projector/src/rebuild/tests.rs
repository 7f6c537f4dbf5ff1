use parley_domain::Epoch;
use parley_eventlog::Topic;
use parley_readstore::conformance::{World, apply, script};
use parley_readstore::providers::embedded::EmbeddedReadStore;

use super::compare::compare;
use super::*;
use crate::fixtures::{USERS, engines, profiles};

async fn compare_in_slices(store: &EmbeddedReadStore, next: &dyn ReadModel) -> (Comparison, usize) {
    let (mut place, mut comparison, mut slices) = (Place::default(), Comparison::default(), 0);
    loop {
        slices += 1;
        let live = store.live();
        let over = compare(live.as_ref(), next, &mut place, &mut comparison, Instant::now()).await;
        if over.unwrap_or_else(|_| panic!("a version can't be read")) {
            return (comparison, slices);
        }
    }
}

#[tokio::test]
async fn a_comparison_in_slices_is_the_same_as_one_without() {
    let dir = tempfile::tempdir().unwrap();
    let store = EmbeddedReadStore::open(dir.path(), Epoch::from_bytes([7; 16]), Default::default()).unwrap();
    let next = store.create_next().await.unwrap();
    let log = World::play(&script(11, 400)).log;
    let (most, more) = log.split_at(log.len() - 5);
    apply(store.live().as_ref(), &log, 64).await.unwrap();
    apply(next.as_ref(), most, 64).await.unwrap();
    let (mut whole, late) = (Comparison::default(), Instant::now() + Duration::from_secs(3_600));
    let live = store.live();
    let over = compare(live.as_ref(), next.as_ref(), &mut Place::default(), &mut whole, late).await;
    assert!(over.is_ok_and(|over| over));
    assert!(whole.different > 0 && whole.rows > 100, "{whole:?}");
    let (sliced, slices) = compare_in_slices(&store, next.as_ref()).await;
    assert_eq!(sliced, whole);
    assert!(slices as u64 > whole.different, "{slices}, {whole:?}");
    assert!(slices as u64 > whole.rows / PAGE_ROWS as u64, "at most a page a slice: {slices}, {whole:?}");

    apply(next.as_ref(), more, 64).await.unwrap();
    let (sliced, _) = compare_in_slices(&store, next.as_ref()).await;
    assert_eq!(sliced.different, 0);
}

/// What comes while the versions are brought to a common position isn't projected yet, and isn't lost either.
#[tokio::test]
async fn what_comes_meanwhile_is_projected_afterwards() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = engines(dir.path());
    profiles(&log, 0..5).await;
    let next = store.create_next().await.unwrap();
    let mut applier = resume(log.as_ref(), next.clone()).await.unwrap();
    assert_eq!(project_all(&mut applier, None, |_| {}).await.unwrap(), 5);
    let mut come = 5;
    for _ in 0..3 {
        profiles(&log, come..come + 3).await;
        let goal = ends(log.as_ref()).await.unwrap();
        profiles(&log, come + 3..come + 7).await;
        assert_eq!(project_upto(&mut applier, &goal, None).await.unwrap(), 3);
        assert_eq!(applier.reached()[&USERS].offset, u64::from(come) + 3, "and not a record more");
        assert_eq!(project_all(&mut applier, None, |_| {}).await.unwrap(), 4);
        come += 7;
    }
    let mut live = resume(log.as_ref(), store.live()).await.unwrap();
    project_all(&mut live, None, |_| {}).await.unwrap();
    let (comparison, _) = compare_in_slices(&store, next.as_ref()).await;
    assert_eq!((comparison.different, comparison.rows), (0, u64::from(come) - 1));
}

/// What the engine fails to do is tried again, a few times; other trouble is told at once.
#[tokio::test(start_paused = true)]
async fn a_slow_answer_ends_no_rebuild() {
    let tries_until = async |failures: usize, error: fn() -> Error| {
        let mut tries = 0;
        let outcome = patiently(|| {
            tries += 1;
            std::future::ready(if tries > failures { Ok(()) } else { Err(error()) })
        });
        (outcome.await.is_ok(), tries)
    };
    let engine = || Error::Engine("timed out".into());
    assert_eq!(tries_until(0, engine).await, (true, 1));
    assert_eq!(tries_until(TRIES_MORE, engine).await, (true, TRIES_MORE + 1));
    assert_eq!(tries_until(TRIES_MORE + 1, engine).await, (false, TRIES_MORE + 1));
    assert_eq!(tries_until(1, || Error::Damaged("timeline")).await, (false, 1));
}

/// Who stood still goes on from the checkpoints, whether they are ahead of what it has read or behind.
#[tokio::test]
async fn who_stood_still_goes_on_where_the_checkpoints_are() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = engines(dir.path());
    let (mut one, mut other) = (
        resume(log.as_ref(), store.live()).await.unwrap(),
        resume(log.as_ref(), store.live()).await.unwrap(),
    );
    let again = async |applier: &mut Applier| {
        let written = store.live().checkpoints().await.unwrap();
        applier.resume_again(log.as_ref(), written).await.unwrap();
        project_all(applier, None, |_| {}).await.unwrap()
    };
    profiles(&log, 0..5).await;
    assert_eq!(project_all(&mut one, None, |_| {}).await.unwrap(), 5);
    assert_eq!(again(&mut other).await, 0, "of what the other wrote");

    profiles(&log, 5..8).await;
    let read = one.next().await.unwrap();
    assert_eq!(read.len(), 3);
    drop(one.admit(read));
    assert_eq!(again(&mut one).await, 3, "what was read and not written is read again");

    profiles(&log, 8..10).await;
    let read = one.next().await.unwrap();
    one.put_back(read);
    assert_eq!(again(&mut other).await, 2);
    assert_eq!(again(&mut one).await, 0, "what was put back is written by now");

    profiles(&log, 10..12).await;
    assert_eq!(project_all(&mut one, None, |_| {}).await.unwrap(), 2);
    let next = store.create_next().await.unwrap();
    project_all(&mut resume(log.as_ref(), next.clone()).await.unwrap(), None, |_| {}).await.unwrap();
    let (comparison, _) = compare_in_slices(&store, next.as_ref()).await;
    assert_eq!((comparison.different, comparison.rows), (0, 11));
}

/// Each halt brings the live version to the end of the log, with the reader of the one before.
#[tokio::test]
async fn a_rebuild_halts_again_and_again() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = engines(dir.path());
    let (reads, mut halted): (Arc<dyn ReadStore>, _) = (store.clone(), None);
    for round in 0..4_u8 {
        profiles(&log, round * 10..round * 10 + 4).await;
        let mut live = resume(log.as_ref(), store.live()).await.unwrap();
        assert_eq!(project_all(&mut live, None, |_| {}).await.unwrap(), 4, "a projector, in between");
        profiles(&log, round * 10 + 4..round * 10 + 10).await;
        assert_eq!(halt(&log, &reads, &mut halted, None).await.unwrap()[&USERS], u64::from(round) * 10 + 10);
        if round == 2 {
            // Another version is live from now on: it is that which is brought to the end.
            let next = store.create_next().await.unwrap();
            project_all(&mut resume(log.as_ref(), next).await.unwrap(), None, |_| {}).await.unwrap();
            store.switch().await.unwrap();
        }
    }
    let stood = store.live().checkpoints().await.unwrap();
    assert!(
        stood.iter().any(|(key, checkpoint)| key.0 == Topic::Users as u8 && checkpoint.offset == 40),
        "{stood:?}"
    );
}

/// Who holds projectors up for too long lets go, and loses nothing by that.
#[tokio::test]
async fn what_takes_too_long_is_given_up_and_tried_again() {
    let dir = tempfile::tempdir().unwrap();
    let (log, store) = engines(dir.path());
    let (reads, mut halted): (Arc<dyn ReadStore>, _) = (store.clone(), None);
    profiles(&log, 0..5).await;
    let next = store.create_next().await.unwrap();
    let mut applier = resume(log.as_ref(), next.clone()).await.unwrap();
    let goal = ends(log.as_ref()).await.unwrap();
    profiles(&log, 5..9).await;
    let over = Some(Instant::now());
    assert!(matches!(project_upto(&mut applier, &goal, over).await, Err(RebuildError::Slow)));
    assert!(matches!(project_all(&mut applier, over, |_| {}).await, Err(RebuildError::Slow)));
    assert!(matches!(halt(&log, &reads, &mut halted, over).await, Err(RebuildError::Slow)));
    assert_eq!(project_upto(&mut applier, &goal, None).await.unwrap(), 5);
    // A goal that the log never comes to: what lies beyond the others is put back.
    let beyond = HashMap::from([(USERS, 100)]);
    let soon = Some(Instant::now() + Duration::from_millis(50));
    assert!(matches!(project_upto(&mut applier, &beyond, soon).await, Err(RebuildError::Slow)));
    assert_eq!(project_all(&mut applier, None, |_| {}).await.unwrap(), 0);
    assert_eq!(applier.reached()[&USERS].offset, 9);
    assert_eq!(halt(&log, &reads, &mut halted, None).await.unwrap()[&USERS], 9);
    let (comparison, _) = compare_in_slices(&store, next.as_ref()).await;
    assert_eq!((comparison.different, comparison.rows), (0, 8));
}

use super::*;

fn numbered(behind: Behind) -> (GroupId, Range) {
    let Behind::Range(group, range) = behind else { panic!("a range was made") };
    (group, range)
}

/// An empty page is the end of a range only if the read models show all of it.
#[tokio::test]
async fn a_range_is_over_once_all_of_it_is_shown() {
    use parley_readstore::ReadStore as _;
    use parley_readstore::conformance::{World, apply};
    use parley_readstore::providers::embedded::EmbeddedReadStore;

    let dir = tempfile::tempdir().unwrap();
    let store =
        EmbeddedReadStore::open(dir.path(), parley_domain::Epoch::from_bytes([7; 16]), Default::default())
            .unwrap();
    let (group, ann) = (GroupId::from_bytes([1; 16]), parley_domain::UserId::parse("ann").unwrap());
    let reads = store.live();
    let rest = async |from, to| match rest_of(reads.as_ref(), group, from, to).await.unwrap() {
        Rest::Rows(rows) => Ok(rows.iter().map(|row| row.seq).collect::<Vec<_>>()),
        other @ (Rest::Nothing | Rest::NotYet) => Err(other),
    };
    assert_eq!(rest(1, 3).await, Err(Rest::NotYet), "there is no such group yet");
    let mut world = World::default();
    world.create(group, &ann, &[]);
    world.send(group, "ann");
    apply(reads.as_ref(), &world.log, 10).await.unwrap();
    assert_eq!(rest(1, 3).await, Ok(vec![1, 2]));
    assert_eq!(rest(3, 3).await, Err(Rest::NotYet), "the head lies before its end");
    assert_eq!(rest(4, 3).await, Err(Rest::Nothing));
    world.send(group, "ann");
    apply(reads.as_ref(), &world.log, 10).await.unwrap();
    assert_eq!(rest(3, 3).await, Ok(vec![3]));
}

#[test]
fn rows_that_begin_beyond_what_was_asked_for_lack_something() {
    let row = |seq| EventRow {
        seq,
        position: parley_domain::Position::default(),
        value: bytes::Bytes::new(),
        rolled_back: false,
    };
    assert_eq!(first_beyond(&[row(4), row(5)], 4), None);
    assert_eq!(first_beyond(&[row(5), row(6)], 4), Some(5));
    assert_eq!(first_beyond(&[], 4), None, "they may come yet");
}

#[test]
fn what_waits_is_not_queued_again_until_it_was_taken() {
    let of = |number| GroupId(uuid::Uuid::from_u128(number));
    let mut queue = Queue::default();
    let mut ranges: Vec<_> = (1..=3).map(|number| queue.range(of(number), 1, 9)).collect();
    for behind in ranges.iter().chain(&ranges) {
        queue.add(behind.clone());
    }
    let first = queue.next().unwrap();
    assert_eq!(first, ranges[0]);
    queue.put(first.clone());
    queue.put(first);
    ranges.rotate_left(1);
    assert_eq!(std::iter::from_fn(|| queue.next()).collect::<Vec<_>>(), ranges);
    assert!(queue.add(ranges.remove(0)), "the task has ended, and is to be started again");
}

#[test]
fn a_groups_range_takes_the_place_of_the_one_before() {
    let (group, other) = (GroupId(uuid::Uuid::from_u128(1)), GroupId(uuid::Uuid::from_u128(2)));
    let mut queue = Queue::default();
    let (_, first) = numbered(queue.range(group, 1, 9));
    assert!(queue.add(Behind::Range(group, first)), "the task is to be started");
    let (_, elsewhere) = numbered(queue.range(other, 1, 9));
    assert!(!queue.add(Behind::Range(other, elsewhere)));
    let (_, second) = numbered(queue.range(group, 4, 9));
    queue.add(Behind::Range(group, second));
    assert!(!queue.counts(group, first) && queue.counts(group, second) && queue.counts(other, elsewhere));
    assert_eq!(queue.next(), Some(Behind::Range(other, elsewhere)), "what doesn't count doesn't wait");
    queue.end_range(group);
    assert!(!queue.counts(group, second));
    assert_eq!(queue.next(), None);
}

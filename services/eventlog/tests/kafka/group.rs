//! Processes share the partitions out among them.

use std::collections::BTreeSet;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use parley_domain::PartitionCount;
use parley_eventlog::Assignment;
use parley_eventlog::providers::kafka::{AssignmentOptions, Assignments, KafkaLog, KafkaOptions};
use tokio::sync::watch;

use crate::options;

const PATIENCE: Duration = Duration::from_secs(40);
const PREFIX: &str = "PARLEY_TEST_KAFKA_PREFIX";

fn all() -> BTreeSet<u32> {
    (0..8).collect()
}

async fn opened() -> KafkaOptions {
    let mut options = options();
    options.partitions = PartitionCount::new(8).unwrap();
    drop(KafkaLog::open(options.clone()).await.unwrap());
    options
}

fn join(options: &KafkaOptions) -> Assignments {
    Assignments::join(options, AssignmentOptions::new("parley.test")).unwrap()
}

/// Waits for an assignment, and releases each on the way.
async fn until(
    member: &Assignments,
    watch: &mut watch::Receiver<Assignment>,
    is_wanted: impl Fn(&BTreeSet<u32>) -> bool,
) -> Assignment {
    let wanted = async {
        loop {
            let assignment = watch.borrow_and_update().clone();
            member.release(assignment.generation);
            if assignment.generation > 0 && is_wanted(&assignment.partitions) {
                return assignment;
            }
            watch.changed().await.expect("a member");
        }
    };
    tokio::time::timeout(PATIENCE, wanted).await.expect("an assignment in time")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn members_share_all_partitions_and_a_leaver_gives_its_own_back_at_once() {
    let options = opened().await;
    let first = join(&options);
    let mut firsts = first.watch();
    let alone = until(&first, &mut firsts, |partitions| *partitions == all()).await;

    let second = join(&options);
    let mut seconds = second.watch();
    let (one, other) = tokio::join!(
        until(&first, &mut firsts, |partitions| partitions.len() == 4),
        until(&second, &mut seconds, |partitions| partitions.len() == 4)
    );
    assert_eq!(&one.partitions | &other.partitions, all());
    assert!(one.partitions.is_disjoint(&other.partitions));
    assert!(one.generation > alone.generation, "each change has a generation of its own");

    // Whoever leaves is told to stop, waits for its release, and is gone; the other has everything soon.
    let began = Instant::now();
    let leaving = async {
        let empty = until(&second, &mut seconds, BTreeSet::is_empty).await;
        assert!(empty.generation > other.generation);
    };
    let everything = until(&first, &mut firsts, |partitions| *partitions == all());
    let ((), (), again) = tokio::join!(second.leave(), leaving, everything);
    assert!(again.generation > one.generation);
    println!("a planned hand-over took {:?}", began.elapsed());
    assert!(seconds.changed().await.is_err(), "the channel closes");
    first.leave().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn a_partition_moves_only_once_it_was_released() {
    let options = opened().await;
    let mut patient = AssignmentOptions::new("parley.test");
    patient.release_patience = Duration::from_secs(5);
    let first = Assignments::join(&options, patient).unwrap();
    let mut firsts = first.watch();
    until(&first, &mut firsts, |partitions| *partitions == all()).await;
    let second = join(&options);
    let mut seconds = second.watch();
    // Told to give some away, but it doesn't release them yet.
    tokio::time::timeout(PATIENCE, firsts.changed()).await.unwrap().unwrap();
    let reduced = firsts.borrow_and_update().clone();
    assert_eq!(reduced.partitions.len(), 4);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert!(seconds.borrow_and_update().partitions.is_empty(), "nobody else has them meanwhile");
    first.release(reduced.generation);
    let gained = until(&second, &mut seconds, |partitions| !partitions.is_empty()).await;
    assert!(gained.partitions.is_disjoint(&reduced.partitions));
}

/// Not a test: the process that the next one kills.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn a_member_that_will_be_killed() {
    let Ok(prefix) = std::env::var(PREFIX) else {
        return;
    };
    let mut options = options();
    options.prefix = Some(prefix);
    options.partitions = PartitionCount::new(8).unwrap();
    let _member = join(&options);
    std::future::pending::<()>().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn what_a_dead_member_had_moves_after_its_session() {
    let options = opened().await;
    let first = join(&options);
    let mut firsts = first.watch();
    until(&first, &mut firsts, |partitions| *partitions == all()).await;
    let mut other = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--ignored", "group::a_member_that_will_be_killed"])
        .env(PREFIX, options.prefix.as_ref().unwrap())
        .stdout(Stdio::null())
        .spawn()
        .unwrap();
    until(&first, &mut firsts, |partitions| partitions.len() == 4).await;
    // The other one has the rest now, or is about to get it.
    tokio::time::sleep(Duration::from_secs(1)).await;
    other.kill().unwrap();
    other.wait().unwrap();
    let began = Instant::now();
    until(&first, &mut firsts, |partitions| *partitions == all()).await;
    println!("a dead member's partitions took {:?}", began.elapsed());
    first.leave().await;
}

//! Instances see each other.

use std::time::Duration;

use bytes::Bytes;
use parley_eventlog::EventLog as _;
use parley_eventlog::ReadError;
use parley_eventlog::providers::kafka::{KafkaLog, RosterWatch, Sighting};

use crate::options;

const PATIENCE: Duration = Duration::from_secs(20);

async fn one(watch: &mut RosterWatch) -> Sighting {
    let mut next = tokio::time::timeout(PATIENCE, watch.next()).await.expect("in time").expect("a roster");
    assert_eq!(next.len(), 1, "{next:?}");
    next.remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn instances_see_each_other_come_change_and_go() {
    let options = options();
    let (first, second) =
        (KafkaLog::open(options.clone()).await.unwrap(), KafkaLog::open(options).await.unwrap());
    let (here, there) = (first.roster(), second.roster());
    here.publish("writer-1", Bytes::from_static(b"{\"v\":1}")).await.unwrap();

    let mut watch = there.watch(Duration::from_secs(60)).await.unwrap();
    let seen = one(&mut watch).await;
    assert_eq!((seen.instance.as_str(), seen.json.as_deref()), ("writer-1", Some(&b"{\"v\":1}"[..])));
    assert!(seen.age < PATIENCE, "{seen:?}");
    assert!(watch.next_now().await.unwrap().is_empty(), "nothing more");

    // Who begins to watch now sees nothing of what was long ago.
    tokio::time::sleep(Duration::from_millis(300)).await;
    let mut late = there.watch(Duration::from_millis(100)).await.unwrap();
    assert!(late.next_now().await.unwrap().is_empty());

    here.publish("writer-1", Bytes::from_static(b"{\"v\":2}")).await.unwrap();
    assert_eq!(one(&mut watch).await.json.as_deref(), Some(&b"{\"v\":2}"[..]));
    assert_eq!(one(&mut late).await.json.as_deref(), Some(&b"{\"v\":2}"[..]));
    here.leave("writer-1").await.unwrap();
    let gone = one(&mut watch).await;
    assert_eq!((gone.instance.as_str(), gone.json), ("writer-1", None));

    // What was published before the call is given by `next_now` before it says none.
    for number in 0..50 {
        here.publish("w", Bytes::from(number.to_string())).await.unwrap();
    }
    let mut seen = Vec::new();
    loop {
        let some = watch.next_now().await.unwrap();
        if some.is_empty() {
            break;
        }
        seen.extend(some.into_iter().map(|sighting| sighting.json.unwrap()));
    }
    assert_eq!(seen, (0..50).map(|number: u32| Bytes::from(number.to_string())).collect::<Vec<_>>());

    second.close().await;
    assert!(matches!(watch.next().await, Err(ReadError::Closed)));
}

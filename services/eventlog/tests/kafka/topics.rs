//! Topics are made as they must be, and refused where they are not.

use std::time::{Duration, Instant};

use parley_domain::PartitionCount;
use parley_eventlog::providers::kafka::{KafkaLog, KafkaOptions, OpenError};
use parley_eventlog::{EventLog as _, Topic};
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, AlterConfig, NewTopic, ResourceSpecifier, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::options;

const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn admin(options: &KafkaOptions) -> AdminClient<DefaultClientContext> {
    ClientConfig::new().set("bootstrap.servers", &options.brokers).create().unwrap()
}

/// Why a log can't be opened.
async fn refusal(options: KafkaOptions) -> OpenError {
    KafkaLog::open(options).await.err().expect("it is refused")
}

/// The message once a log is refused for this setting. The brokers take changes over one after the other.
async fn refused_for(options: &KafkaOptions, wanted: &str) -> String {
    let began = Instant::now();
    loop {
        let outcome = KafkaLog::open(options.clone()).await;
        match &outcome {
            Err(error @ OpenError::Topic { setting, .. }) if *setting == wanted => return error.to_string(),
            _ => assert!(began.elapsed() < PATIENCE, "{wanted}: {outcome:?}"),
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn topics_are_made_to_last() {
    let options = options();
    drop(KafkaLog::open(options.clone()).await.unwrap());
    let admin = admin(&options);
    for (topic, policy) in [(Topic::Events, "delete"), (Topic::Acks, "delete"), (Topic::Users, "compact")] {
        let name = options.topic(topic);
        let resource = [ResourceSpecifier::Topic(&name)];
        let described = admin.describe_configs(&resource, &AdminOptions::new()).await.unwrap();
        let described = described[0].as_ref().unwrap();
        let value = |name| described.get(name).unwrap().value.as_deref().unwrap();
        assert_eq!(value("cleanup.policy"), policy, "{name}");
        assert_eq!((value("retention.ms"), value("retention.bytes")), ("-1", "-1"), "{name}");
        assert_eq!(value("unclean.leader.election.enable"), "false", "{name}");
        assert_eq!(value("min.insync.replicas"), "1", "{name}");
    }
}

#[tokio::test]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn another_number_of_partitions_is_refused() {
    let mut options = options();
    drop(KafkaLog::open(options.clone()).await.unwrap());
    options.partitions = PartitionCount::new(8).unwrap();
    let text = refused_for(&options, "partitions").await;
    assert!(text.contains("= 4") && text.contains('8') && text.contains("fixed"), "{text}");
}

#[tokio::test]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn fewer_replicas_than_configured_are_refused() {
    let mut options = options();
    drop(KafkaLog::open(options.clone()).await.unwrap());
    (options.replication, options.min_insync) = (3, 2);
    refused_for(&options, "replication factor").await;
    options.replication = 2;
    options.allow_single = false;
    let text = refusal(options).await.to_string();
    assert!(text.contains("log.allow_single"), "{text}");
}

#[tokio::test]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn a_topic_that_would_forget_is_refused() {
    for (topic, setting, value) in [
        (Topic::Events, "cleanup.policy", "compact"),
        (Topic::Acks, "cleanup.policy", "compact,delete"),
        (Topic::Users, "cleanup.policy", "delete"),
        (Topic::Events, "retention.ms", "604800000"),
        (Topic::Acks, "retention.bytes", "1000000"),
        (Topic::Users, "unclean.leader.election.enable", "true"),
        (Topic::Events, "max.message.bytes", "1048588"),
    ] {
        let options = options();
        let log = KafkaLog::open(options.clone()).await.unwrap();
        log.close().await;
        drop(log);
        let name = options.topic(topic);
        // Altering sets everything else back to the broker's defaults, so that the rest is said again.
        let kept = [
            ("retention.ms", "-1"),
            ("retention.bytes", "-1"),
            ("unclean.leader.election.enable", "false"),
            ("max.message.bytes", "9000000"),
            ("cleanup.policy", if topic == Topic::Users { "compact" } else { "delete" }),
        ];
        let altered = kept
            .iter()
            .filter(|(name, _)| *name != setting)
            .fold(AlterConfig::new(ResourceSpecifier::Topic(&name)), |alter, (name, value)| {
                alter.set(name, value)
            });
        let altered = [altered.set(setting, value)];
        for outcome in admin(&options).alter_configs(&altered, &AdminOptions::new()).await.unwrap() {
            outcome.unwrap();
        }
        let text = refused_for(&options, setting).await;
        assert!(text.contains(&name) && text.contains(value), "{text}");
    }
}

#[tokio::test]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn nothing_is_made_beside_a_log_that_does_not_fit() {
    let options = options();
    let name = options.topic(Topic::Acks);
    let topic = NewTopic::new(&name, 1, TopicReplication::Fixed(1));
    let admin = admin(&options);
    for outcome in admin.create_topics(&[topic], &AdminOptions::new()).await.unwrap() {
        outcome.unwrap();
    }
    // It isn't there for everybody at once.
    let began = Instant::now();
    while admin.inner().fetch_metadata(Some(&name), PATIENCE).unwrap().topics()[0].error().is_some() {
        assert!(began.elapsed() < PATIENCE);
    }
    refused_for(&options, "partitions").await;
    let metadata = admin.inner().fetch_metadata(None, PATIENCE).unwrap();
    let prefix = options.prefix.as_ref().unwrap();
    let ours = metadata.topics().iter().filter(|topic| topic.name().starts_with(prefix)).count();
    assert_eq!(ours, 1);
}

#[tokio::test]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn two_that_open_at_once_agree_on_the_epoch() {
    let options = options();
    let (one, other) = tokio::join!(KafkaLog::open(options.clone()), KafkaLog::open(options.clone()));
    assert_eq!(one.unwrap().epoch(), other.unwrap().epoch());
}

#[tokio::test]
async fn options_that_promise_too_little_or_make_no_sense_are_refused() {
    let good = || KafkaOptions::new("127.0.0.1:1", PartitionCount::new(4).unwrap());
    let with = |change: fn(&mut KafkaOptions)| {
        let mut options = good();
        change(&mut options);
        options
    };
    let single = refusal(with(|options| options.replication = 1)).await;
    assert!(matches!(single, OpenError::Options(_)), "{single:?}");
    let single = refusal(with(|options| (options.replication, options.min_insync) = (1, 1))).await;
    assert!(matches!(single, OpenError::Single { replication: 1, min_insync: 1 }), "{single:?}");
    assert!(single.to_string().contains("log.allow_single"));
    let single = refusal(with(|options| options.min_insync = 1)).await;
    assert!(matches!(single, OpenError::Single { replication: 3, min_insync: 1 }), "{single:?}");
    for change in [
        (|options| options.brokers.clear()) as fn(&mut KafkaOptions),
        |options| options.prefix = Some("a/b".to_owned()),
        |options| options.prefix = Some(String::new()),
        |options| options.min_insync = 0,
        |options| options.pending_bytes_max = usize::MAX,
    ] {
        let error = refusal(with(change)).await;
        assert!(matches!(error, OpenError::Options(_)), "{error:?}");
    }
}

#[tokio::test]
#[ignore = "needs Kafka: scripts/test starts it"]
async fn a_log_that_must_exist_is_not_made() {
    let making = options();
    let expecting = KafkaOptions { must_exist: true, ..making.clone() };
    let admin = admin(&making);
    let of_it = |topic: &rdkafka::metadata::MetadataTopic| {
        topic.name().starts_with(making.prefix.as_deref().unwrap()).then(|| topic.name().to_owned())
    };
    let topics = || -> Vec<String> {
        let all = admin.inner().fetch_metadata(None, PATIENCE).unwrap();
        all.topics().iter().filter_map(of_it).collect()
    };
    for _ in 0..2 {
        let error = refusal(expecting.clone()).await;
        assert!(matches!(error, OpenError::Absent { .. }), "{error:?}");
    }
    assert_eq!(topics(), [""; 0]);
    // Half of one is none either: what is missing stays so.
    let events = making.topic(Topic::Events);
    let half = NewTopic::new(&events, 4, TopicReplication::Fixed(1));
    admin.create_topics([&half], &AdminOptions::new()).await.unwrap()[0].as_ref().unwrap();
    let error = refusal(expecting.clone()).await;
    assert!(matches!(error, OpenError::Absent { .. }), "{error:?}");
    assert_eq!(topics(), [events]);
    admin.delete_topics(&[&making.topic(Topic::Events)], &AdminOptions::new()).await.unwrap()[0]
        .as_ref()
        .unwrap();
    let began = Instant::now();
    while !topics().is_empty() {
        assert!(began.elapsed() < PATIENCE, "the half stays");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let epoch = KafkaLog::open(making).await.unwrap().epoch();
    assert_eq!(KafkaLog::open(expecting).await.unwrap().epoch(), epoch);
}

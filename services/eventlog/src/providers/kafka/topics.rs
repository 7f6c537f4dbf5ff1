//! Makes the topics that aren't there, and checks those that are: a log with another shape is refused, never bent.

use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, OwnedResourceSpecifier, ResourceSpecifier,
    TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode};

use super::client;
use super::core::signed;
use super::error::OpenError;
use super::options::{KafkaOptions, MESSAGE_BYTES_MAX, RECORD_BYTES_MAX};
use crate::port::Topic;

/// How long the brokers may take for one answer.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long new topics may take until every partition has a leader.
const BIRTH_PATIENCE: Duration = Duration::from_secs(20);
const PAUSE: Duration = Duration::from_millis(50);

type Admin = AdminClient<DefaultClientContext>;

/// What a topic is for, from which follows how it must be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Everything is kept for ever.
    Log,
    /// The last value of each key is kept for ever.
    Compacted,
    /// Kept for an hour.
    Roster,
}

struct Wanted {
    name: String,
    partitions: u32,
    kind: Kind,
}

/// A topic as the brokers describe it.
struct Found {
    partitions: usize,
    /// Partitions that nobody leads.
    leaderless: usize,
    /// Of the partition with the fewest.
    replicas: usize,
}

/// Makes sure that all topics are there and as they must be; makes those that aren't there, unless the log must exist. Blocks.
pub(super) fn ensure(options: &KafkaOptions) -> Result<(), OpenError> {
    let admin: Admin =
        client::config(options).create().map_err(OpenError::kafka(options, "make a client"))?;
    let mut existing = Vec::new();
    let mut missing = Vec::new();
    for wanted in wanted(options) {
        match find(&admin, options, &wanted.name)? {
            Some(found) => existing.push((wanted, found)),
            None if options.must_exist => return Err(OpenError::absent(options, wanted.name)),
            None => missing.push(wanted),
        }
    }
    // First, so that nothing is made beside a log that doesn't fit.
    check(&admin, options, &existing)?;
    if missing.is_empty() {
        return Ok(());
    }
    make(&admin, options, &missing)?;
    let mut born = Vec::new();
    for wanted in missing {
        let found = wait_for(&admin, options, &wanted)?;
        born.push((wanted, found));
    }
    // Somebody else may have made them at the same time.
    check(&admin, options, &born)
}

fn wanted(options: &KafkaOptions) -> Vec<Wanted> {
    let partitions = options.partitions.get();
    let of = |topic| Wanted {
        name: options.topic(topic),
        partitions,
        kind: if topic == Topic::Users { Kind::Compacted } else { Kind::Log },
    };
    let mut all: Vec<_> = Topic::ALL.into_iter().map(of).collect();
    all.push(Wanted { name: options.meta(), partitions: 1, kind: Kind::Log });
    all.push(Wanted { name: options.roster(), partitions: 1, kind: Kind::Roster });
    all
}

impl Wanted {
    /// The settings that it is made with.
    fn settings(&self, options: &KafkaOptions) -> Vec<(&'static str, String)> {
        let (policy, retention) = match self.kind {
            Kind::Log => ("delete", "-1"),
            Kind::Compacted => ("compact", "-1"),
            Kind::Roster => ("delete", "3600000"),
        };
        let mut settings = vec![
            ("cleanup.policy", policy.to_owned()),
            ("retention.ms", retention.to_owned()),
            ("retention.bytes", "-1".to_owned()),
            ("min.insync.replicas", options.min_insync.to_string()),
            ("unclean.leader.election.enable", "false".to_owned()),
            ("max.message.bytes", MESSAGE_BYTES_MAX.to_string()),
            // A writer whose clock is ahead must not be refused.
            ("message.timestamp.after.max.ms", i64::MAX.to_string()),
        ];
        if self.kind == Kind::Roster {
            // The age of what is said there is told by one clock; and old segments go in time.
            settings.push(("message.timestamp.type", "LogAppendTime".to_owned()));
            settings.push(("segment.ms", "600000".to_owned()));
        }
        settings
    }
}

/// `None` if there is no such topic.
fn find(admin: &Admin, options: &KafkaOptions, name: &str) -> Result<Option<Found>, OpenError> {
    let fail = || OpenError::kafka(options, format!("find topic {name}"));
    let metadata = admin.inner().fetch_metadata(Some(name), PATIENCE).map_err(fail())?;
    let Some(topic) = metadata.topics().iter().find(|topic| topic.name() == name) else {
        return Ok(None);
    };
    match topic.error().map(RDKafkaErrorCode::from) {
        None => {}
        Some(RDKafkaErrorCode::UnknownTopicOrPartition | RDKafkaErrorCode::UnknownTopic) => return Ok(None),
        Some(code) => return Err(fail()(KafkaError::MetadataFetch(code))),
    }
    let replicas = topic.partitions().iter().map(|partition| partition.replicas().len()).min();
    Ok(Some(Found {
        partitions: topic.partitions().len(),
        leaderless: topic.partitions().iter().filter(|partition| partition.leader() < 0).count(),
        replicas: replicas.unwrap_or_default(),
    }))
}

fn make(admin: &Admin, options: &KafkaOptions, missing: &[Wanted]) -> Result<(), OpenError> {
    let settings: Vec<_> = missing.iter().map(|wanted| wanted.settings(options)).collect();
    let topics: Vec<_> = missing
        .iter()
        .zip(&settings)
        .map(|(wanted, settings)| {
            let replication = TopicReplication::Fixed(i32::from(options.replication));
            let topic = NewTopic::new(&wanted.name, signed(wanted.partitions), replication);
            settings.iter().fold(topic, |topic, (name, value)| topic.set(name, value))
        })
        .collect();
    let patience = AdminOptions::new().operation_timeout(Some(PATIENCE)).request_timeout(Some(PATIENCE));
    let made = wait(admin.create_topics(&topics, &patience));
    let made = made.map_err(OpenError::kafka(options, "make topics"))?;
    for outcome in made {
        match outcome {
            Ok(name) => tracing::info!(topic = name, "made a topic"),
            Err((_, RDKafkaErrorCode::TopicAlreadyExists)) => {}
            Err((name, code)) => {
                let what = format!("make topic {name} with {} replicas", options.replication);
                return Err(OpenError::kafka(options, what)(KafkaError::AdminOp(code)));
            }
        }
    }
    Ok(())
}

/// Until every partition has a leader.
fn wait_for(admin: &Admin, options: &KafkaOptions, wanted: &Wanted) -> Result<Found, OpenError> {
    let deadline = Instant::now() + BIRTH_PATIENCE;
    loop {
        let found = find(admin, options, &wanted.name)?;
        if let Some(found) = found.filter(|found| found.leaderless == 0) {
            return Ok(found);
        }
        if Instant::now() > deadline {
            let error = KafkaError::MetadataFetch(RDKafkaErrorCode::UnknownTopicOrPartition);
            return Err(OpenError::kafka(options, format!("find topic {} after making it", wanted.name))(
                error,
            ));
        }
        std::thread::sleep(PAUSE);
    }
}

fn check(admin: &Admin, options: &KafkaOptions, topics: &[(Wanted, Found)]) -> Result<(), OpenError> {
    if topics.is_empty() {
        return Ok(());
    }
    let resources: Vec<_> = topics.iter().map(|(wanted, _)| ResourceSpecifier::Topic(&wanted.name)).collect();
    let patience = AdminOptions::new().request_timeout(Some(PATIENCE));
    let fail = || OpenError::kafka(options, "read the settings of topics");
    let described = wait(admin.describe_configs(&resources, &patience)).map_err(fail())?;
    for described in described {
        let described = described.map_err(|code| fail()(KafkaError::AdminOp(code)))?;
        let is_of = |(wanted, _): &&(Wanted, Found)| {
            described.specifier == OwnedResourceSpecifier::Topic(wanted.name.clone())
        };
        if let Some((wanted, found)) = topics.iter().find(is_of) {
            check_shape(options, wanted, found)?;
            check_settings(options, wanted, &described)?;
        }
    }
    Ok(())
}

fn check_shape(options: &KafkaOptions, wanted: &Wanted, found: &Found) -> Result<(), OpenError> {
    let refuse = |setting, is: usize, must: String, remedy| {
        Err(OpenError::Topic { topic: wanted.name.clone(), setting, is: is.to_string(), must, remedy })
    };
    if found.partitions != wanted.partitions as usize {
        return refuse(
            "partitions",
            found.partitions,
            wanted.partitions.to_string(),
            "the number is fixed for the life of a log, since it says where each group lies; configure the one that it has",
        );
    }
    if found.replicas < usize::from(options.replication) {
        return refuse(
            "replication factor",
            found.replicas,
            format!("at least {}", options.replication),
            "add replicas with kafka-reassign-partitions, or configure fewer",
        );
    }
    Ok(())
}

fn check_settings(
    options: &KafkaOptions,
    wanted: &Wanted,
    described: &ConfigResource,
) -> Result<(), OpenError> {
    let value = |name| described.get(name).and_then(|entry| entry.value.as_deref()).unwrap_or_default();
    let number = |name: &'static str| value(name).parse::<i64>().unwrap_or(i64::MIN);
    let refuse = |setting, must: String| {
        let remedy = "alter it with kafka-configs";
        let is = value(setting).to_owned();
        Err(OpenError::Topic { topic: wanted.name.clone(), setting, is, must, remedy })
    };
    match wanted.kind {
        Kind::Log if value("cleanup.policy").contains("compact") => {
            return refuse("cleanup.policy", "delete".to_owned());
        }
        Kind::Compacted if value("cleanup.policy") != "compact" => {
            return refuse("cleanup.policy", "compact".to_owned());
        }
        Kind::Log | Kind::Compacted | Kind::Roster => {}
    }
    if wanted.kind == Kind::Log {
        for setting in ["retention.ms", "retention.bytes"] {
            if number(setting) != -1 {
                return refuse(setting, "-1 (unlimited)".to_owned());
            }
        }
    }
    if wanted.kind == Kind::Roster {
        return Ok(());
    }
    if value("unclean.leader.election.enable") != "false" {
        return refuse("unclean.leader.election.enable", "false".to_owned());
    }
    if number("min.insync.replicas") < i64::from(options.min_insync) {
        return refuse("min.insync.replicas", format!("at least {}", options.min_insync));
    }
    if number("max.message.bytes") < i64::try_from(RECORD_BYTES_MAX).unwrap_or(i64::MAX) {
        return refuse("max.message.bytes", format!("at least {RECORD_BYTES_MAX}"));
    }
    Ok(())
}

/// For an answer of the admin client, on a thread that may block.
fn wait<F: Future>(answer: F) -> F::Output {
    tokio::runtime::Handle::current().block_on(answer)
}

//! Sections for engines and processes of their own. `parley serve` on embedded engines needs none of them.

use std::time::Duration;

use anyhow::Context as _;
use parley_domain::PartitionCount;
use parley_eventlog::providers::kafka::KafkaOptions;
use parley_keys::CassandraKeyOptions;
use parley_media::providers::s3::{S3Credentials, S3Options};
use parley_readstore::providers::cassandra::{CassandraOptions, Credentials, Replication};
use parley_wire::rpc::Tls;
use serde::{Deserialize, Serialize};

use super::{Config, set};
use crate::Usage;

/// The keyspace, unless the URL names one.
const KEYSPACE: &str = "parley";

/// The log on Kafka.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Kafka {
    /// Replicas of each partition, if the topics have to be made.
    pub(crate) replication: u16,
    /// Replicas that must have a record before it is acknowledged.
    pub(crate) min_insync: u16,
    /// Lets fewer than 3 replicas, or 2 in sync, be. Also `log.allow_single`.
    pub(crate) allow_single: bool,
}

/// The read models on Cassandra or ScyllaDB.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cassandra {
    /// Copies of each row, if the keyspace has to be made; 0: as many as `kafka.replication`.
    pub(crate) replication: u8,
    /// The data center whose nodes are asked; empty: any.
    pub(crate) data_center: String,
    pub(crate) user: String,
    pub(crate) password: String,
}

impl std::fmt::Debug for Cassandra {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cassandra").field("user", &self.user).finish_non_exhaustive()
    }
}

/// The right to an S3; empty: from AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN.
#[derive(Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct S3 {
    pub(crate) access_key_id: String,
    pub(crate) secret_access_key: String,
    pub(crate) session_token: String,
}

impl std::fmt::Debug for S3 {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("S3").field("access_key_id", &self.access_key_id).finish_non_exhaustive()
    }
}

/// Processes that share the work.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Cluster {
    /// What this process is called; if empty, its role and something random.
    pub(crate) instance: String,
    /// After so long without a sign of life a process counts as dead, and its partitions move.
    pub(crate) session_timeout_ms: u64,
    /// Records of a partition between two snapshots of its owner.
    pub(crate) snapshot_records: u64,
}

/// How the processes call each other.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Rpc {
    /// Where this one listens for the others, `ADDR:PORT`; port 0 picks one.
    pub(crate) listen: String,
    /// `HOST:PORT` under which the others reach it, if that is another.
    pub(crate) advertise: String,
    /// For mutual TLS, PEM files: the authority, and this process' certificate (for the name `parley`) and key.
    pub(crate) tls_ca: String,
    pub(crate) tls_certificate: String,
    pub(crate) tls_key: String,
}

impl Default for Kafka {
    fn default() -> Self {
        Self { replication: 3, min_insync: 2, allow_single: false }
    }
}

impl Default for Cluster {
    fn default() -> Self {
        Self { instance: String::new(), session_timeout_ms: 6_000, snapshot_records: 5_000 }
    }
}

impl Default for Rpc {
    fn default() -> Self {
        Self {
            listen: "127.0.0.1:0".into(),
            advertise: String::new(),
            tls_ca: String::new(),
            tls_certificate: String::new(),
            tls_key: String::new(),
        }
    }
}

/// Hosts, and what comes behind the slash.
fn places<'a>(url: &'a str, scheme: &str) -> Option<(&'a str, Option<&'a str>)> {
    let rest = url.strip_prefix(scheme)?.strip_prefix("://")?;
    let (hosts, path) = rest.split_once('/').unwrap_or((rest, ""));
    Some((hosts, set(path)))
}

impl Config {
    /// Whether the log is one that several processes can share.
    pub(crate) fn is_shared(&self) -> bool {
        self.log.starts_with("kafka:")
    }

    /// The log on Kafka; `None`: it is embedded.
    pub(crate) fn kafka_options(&self) -> Option<KafkaOptions> {
        let (brokers, prefix) = places(&self.log, "kafka")?;
        let partitions = PartitionCount::new(self.partitions).unwrap_or(PartitionCount::DEFAULT);
        let single = self.kafka.allow_single;
        let replicas = |wanted: u16, least: u16| if single && wanted == least { 1 } else { wanted };
        Some(KafkaOptions {
            prefix: prefix.map(ToOwned::to_owned),
            // With the defaults, one broker is what `allow_single` is meant for.
            replication: replicas(self.kafka.replication, Kafka::default().replication),
            min_insync: replicas(self.kafka.min_insync, Kafka::default().min_insync),
            allow_single: single,
            ..KafkaOptions::new(brokers, partitions)
        })
    }

    /// The read models on Cassandra; `None`: they are embedded.
    pub(crate) fn cassandra_options(&self) -> Option<CassandraOptions> {
        let (nodes, keyspace) = places(&self.reads, "cassandra")?;
        let copies = match (self.cassandra.replication, self.kafka.allow_single) {
            (0, true) => 1,
            (0, false) => u8::try_from(self.kafka.replication).unwrap_or(u8::MAX),
            (copies, _) => copies,
        };
        let data_center = set(&self.cassandra.data_center).map(ToOwned::to_owned);
        let replication = match &data_center {
            Some(name) => Replication::DataCenters(vec![(name.clone(), copies)]),
            None => Replication::Simple(copies),
        };
        let credentials = set(&self.cassandra.user)
            .map(|user| Credentials { user: user.to_owned(), password: self.cassandra.password.clone() });
        let nodes = nodes.split(',').map(ToOwned::to_owned).collect();
        let keyspace = keyspace.unwrap_or(KEYSPACE).to_owned();
        Some(CassandraOptions {
            replication,
            credentials,
            local_data_center: data_center,
            ..CassandraOptions::new(nodes, keyspace)
        })
    }

    /// The wrapped data keys in a keyspace of their own beside the read models'; `None`: these are embedded.
    pub(crate) fn cassandra_key_options(&self) -> Option<CassandraKeyOptions> {
        let reads = self.cassandra_options()?;
        let (data_centers, copies) = match reads.replication {
            Replication::Simple(copies) => (Vec::new(), copies),
            Replication::DataCenters(data_centers) => (data_centers, 1),
        };
        Some(CassandraKeyOptions {
            data_centers,
            copies,
            local_data_center: reads.local_data_center,
            credentials: reads.credentials.map(|credentials| (credentials.user, credentials.password)),
            ..CassandraKeyOptions::new(reads.nodes, format!("{}_keys", reads.keyspace))
        })
    }

    /// The object store on S3; `None`: it is embedded.
    ///
    /// # Errors
    /// A URL that can't be used, or no right to it.
    pub(crate) fn s3_options(&self) -> anyhow::Result<Option<S3Options>> {
        if !self.media.starts_with("s3:") {
            return Ok(None);
        }
        let pick = |configured: &str, name: &str| match set(configured) {
            Some(text) => Some(text.to_owned()),
            None => aws(name),
        };
        let missing = "an S3 needs s3.access_key_id and s3.secret_access_key, or AWS_ACCESS_KEY_ID and \
                       AWS_SECRET_ACCESS_KEY in the environment";
        let credentials = S3Credentials {
            access_key_id: pick(&self.s3.access_key_id, "AWS_ACCESS_KEY_ID")
                .ok_or_else(|| Usage(missing.into()))?,
            secret_access_key: pick(&self.s3.secret_access_key, "AWS_SECRET_ACCESS_KEY")
                .ok_or_else(|| Usage(missing.into()))?,
            session_token: pick(&self.s3.session_token, "AWS_SESSION_TOKEN"),
        };
        let options = S3Options::parse(&self.media, credentials);
        Ok(Some(options.map_err(|error| Usage(format!("media: {error}")))?))
    }

    /// Certificates for the calls between processes; `None`: without TLS.
    ///
    /// # Errors
    /// Files that can't be read.
    pub(crate) fn tls(&self) -> anyhow::Result<Option<Tls>> {
        if self.rpc.tls_ca.is_empty() {
            return Ok(None);
        }
        let read = |path: &str| std::fs::read(path).with_context(|| format!("{path:?} can't be read"));
        let (ca, certificate, key) =
            (read(&self.rpc.tls_ca)?, read(&self.rpc.tls_certificate)?, read(&self.rpc.tls_key)?);
        Ok(Some(Tls::new(&ca, &certificate, &key)))
    }

    /// How long a process may be silent before its work moves.
    pub(crate) fn session_timeout(&self) -> Duration {
        Duration::from_millis(self.cluster.session_timeout_ms)
    }
}

/// A variable of AWS' own, which every tool of theirs reads.
#[allow(clippy::disallowed_methods, reason = "names that AWS gave, read beside the configuration")]
fn aws(name: &str) -> Option<String> {
    std::env::var(name).ok().filter(|value| !value.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(log: &str, reads: &str) -> Config {
        Config { log: log.into(), reads: reads.into(), ..Config::default() }
    }

    #[test]
    fn urls_name_hosts_and_a_place_on_them() {
        let kafka = with("kafka://a:1,b:2/staging", "embedded").kafka_options().unwrap();
        assert_eq!((kafka.brokers.as_str(), kafka.prefix.as_deref()), ("a:1,b:2", Some("staging")));
        assert_eq!((kafka.replication, kafka.min_insync, kafka.allow_single), (3, 2, false));
        let cassandra = with("embedded", "cassandra://a:1,b:2/chat").cassandra_options().unwrap();
        assert_eq!((cassandra.nodes.len(), cassandra.keyspace.as_str()), (2, "chat"));
        assert_eq!(cassandra.replication, Replication::Simple(3));
        assert!(with("embedded", "embedded").kafka_options().is_none());
    }

    #[test]
    fn a_single_broker_is_something_to_ask_for() {
        let mut config = with("kafka://a:1", "cassandra://a:1");
        config.kafka.allow_single = true;
        let kafka = config.kafka_options().unwrap();
        assert_eq!((kafka.replication, kafka.min_insync, kafka.prefix), (1, 1, None));
        assert_eq!(config.cassandra_options().unwrap().replication, Replication::Simple(1));
        assert_eq!(config.cassandra_options().unwrap().keyspace, "parley");
    }
}

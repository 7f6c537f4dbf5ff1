//! The configuration: defaults < file < environment < flags, checked before anything is opened.

mod check;
mod engines;
mod layers;
mod show;
#[cfg(test)]
mod tests;

use std::path::PathBuf;
use std::time::Duration;

use parley_domain::PartitionCount;
use parley_edge::auth::{AuthOptions, JwksSource, LEEWAY_S_MAX, Secret};
use serde::{Deserialize, Serialize};

pub(crate) use engines::{Cassandra, Cluster, Kafka, Rpc, S3};
pub(crate) use layers::{ConfigArgs, Effective, load, load_effective};

/// What is wrong with the configuration. The process ends with exit code 64.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// A key that doesn't exist.
    #[error("{origin}: unknown key {key:?}; `parley config` lists all keys")]
    UnknownKey {
        /// Where it came from.
        origin: String,
        /// The key.
        key: String,
    },
    /// A value of the wrong type or out of range.
    #[error("{origin}: {key}: {why}")]
    BadValue {
        /// Where it came from.
        origin: String,
        /// The key.
        key: String,
        /// What is wrong.
        why: String,
    },
    /// The file can't be read, or is no TOML.
    #[error("{path}: {why}")]
    File {
        /// Which.
        path: String,
        /// What is wrong.
        why: String,
    },
}

/// Everything that can be configured. An empty text means "not set".
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The data directory of the embedded engines.
    pub(crate) data: String,
    /// Where to listen, `ADDR:PORT`; port 0 picks one.
    pub(crate) listen: String,
    /// The log: `embedded:DIR`, `embedded` for the data directory's, or `kafka://HOST:PORT,…/PREFIX`.
    pub(crate) log: String,
    /// The read store: likewise, or `cassandra://HOST:PORT,…/KEYSPACE`.
    pub(crate) reads: String,
    /// The object store: likewise, or `s3://BUCKET/PREFIX?endpoint=…&region=…`.
    pub(crate) media: String,
    /// Partitions of the log, a power of two; fixed for the life of the log.
    pub(crate) partitions: u32,
    pub(crate) auth: Auth,
    pub(crate) http: Http,
    pub(crate) keys: Keys,
    pub(crate) kafka: Kafka,
    pub(crate) cassandra: Cassandra,
    pub(crate) s3: S3,
    pub(crate) cluster: Cluster,
    pub(crate) rpc: Rpc,
    pub(crate) limits: Limits,
    pub(crate) writer: Writer,
    pub(crate) telemetry: Telemetry,
}

/// Whose tokens are taken.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Auth {
    /// Shared secret for HS256; without it and without `jwks` the data directory's own key is used.
    pub(crate) hs256_secret: String,
    /// File or URL of a JWKS.
    pub(crate) jwks: String,
    /// The `iss` that tokens must have.
    pub(crate) issuer: String,
    /// The `aud` that tokens must have.
    pub(crate) audience: String,
    /// How far the issuer's clock may be off.
    pub(crate) leeway_s: u64,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { issuer, audience, .. } = self;
        f.debug_struct("Auth").field("issuer", issuer).field("audience", audience).finish_non_exhaustive()
    }
}

/// How clients reach it.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Http {
    /// Origins that browsers may come from; for CORS too.
    pub(crate) origins: Vec<String>,
    /// Where metrics and probes are served apart, `ADDR:PORT`.
    pub(crate) admin_listen: String,
    /// `scheme://host:port` in pre-signed URLs, if it isn't where we listen.
    pub(crate) public_url: String,
}

/// Who can read message text.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Keys {
    /// The key ring's file; the data directory's own if empty.
    pub(crate) ring: String,
    /// Where the wrapped data keys lie: `embedded`, or `cassandra` beside the read models; if empty, where these are.
    pub(crate) store: String,
}

/// The contract's limits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
#[allow(missing_docs, reason = "as the contract names them; the unit is in the name")]
pub(crate) struct Limits {
    pub(crate) sends_per_second: u32,
    pub(crate) send_burst: u32,
    pub(crate) text_bytes: usize,
    pub(crate) frame_bytes: usize,
    pub(crate) group_members: u32,
    pub(crate) user_groups: usize,
    pub(crate) media_bytes: u64,
    pub(crate) outbox_bytes: usize,
    pub(crate) user_sockets: usize,
    pub(crate) sockets: usize,
    pub(crate) upload_url_seconds: u64,
    pub(crate) download_url_seconds: u64,
    pub(crate) ping_seconds: u64,
}

/// The owner of the partitions.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Writer {
    /// Tasks that share the partitions; 0: one a core.
    pub(crate) shards: usize,
    /// How long it writes under one claim, at most an hour: a reader of the log may start at any claim.
    pub(crate) claim_seconds: u64,
}

/// What is logged and traced.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// As in `RUST_LOG`: `info`, or `parley_edge=debug,warn`.
    pub(crate) filter: String,
    /// `text` or `json`.
    pub(crate) format: String,
    /// URL of an OpenTelemetry collector (OTLP over gRPC), as `http://127.0.0.1:4317`, to which traces go; empty: none.
    pub(crate) otlp: String,
    /// The share of sends that is traced, 0 to 1.
    pub(crate) trace_share: f64,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            data: "parley-data".into(),
            listen: "127.0.0.1:8080".into(),
            log: "embedded".into(),
            reads: "embedded".into(),
            media: "embedded".into(),
            partitions: PartitionCount::DEFAULT.get(),
            auth: Auth::default(),
            http: Http::default(),
            keys: Keys::default(),
            kafka: Kafka::default(),
            cassandra: Cassandra::default(),
            s3: S3::default(),
            cluster: Cluster::default(),
            rpc: Rpc::default(),
            limits: Limits::default(),
            writer: Writer { shards: 0, claim_seconds: parley_writer::Options::default().claim_seconds },
            telemetry: Telemetry {
                filter: "info,fjall=warn,lsm_tree=warn".into(),
                format: "text".into(),
                otlp: String::new(),
                trace_share: 1.0,
            },
        }
    }
}

impl Default for Auth {
    fn default() -> Self {
        Self {
            hs256_secret: String::new(),
            jwks: String::new(),
            issuer: String::new(),
            audience: String::new(),
            leeway_s: LEEWAY_S_MAX,
        }
    }
}

impl Default for Limits {
    fn default() -> Self {
        let edge = parley_edge::Limits::default();
        Self {
            sends_per_second: edge.sends_per_second,
            send_burst: edge.send_burst,
            text_bytes: edge.text_bytes,
            frame_bytes: edge.frame_bytes,
            group_members: edge.group_members,
            user_groups: edge.user_groups,
            media_bytes: edge.media_bytes,
            outbox_bytes: edge.outbox_bytes,
            user_sockets: edge.user_sockets,
            sockets: edge.sockets,
            upload_url_seconds: edge.upload_url_seconds,
            download_url_seconds: edge.download_url_seconds,
            ping_seconds: edge.ping_seconds,
        }
    }
}

impl Limits {
    /// For the edge.
    pub(crate) fn for_edge(&self) -> parley_edge::Limits {
        parley_edge::Limits {
            sends_per_second: self.sends_per_second,
            send_burst: self.send_burst,
            text_bytes: self.text_bytes,
            frame_bytes: self.frame_bytes,
            group_members: self.group_members,
            user_groups: self.user_groups,
            media_bytes: self.media_bytes,
            outbox_bytes: self.outbox_bytes,
            user_sockets: self.user_sockets,
            sockets: self.sockets,
            upload_url_seconds: self.upload_url_seconds,
            download_url_seconds: self.download_url_seconds,
            ping_seconds: self.ping_seconds,
        }
    }
}

/// Client message ids that the owner of one partition remembers exactly.
const ASSIGNED_RECENT_IDS_MAX: usize = 20_000;

/// A promise to break, in binaries that were built to prove the checker of the fault tests.
#[cfg(feature = "planted")]
#[allow(clippy::disallowed_methods, reason = "no configuration: only binaries for tests look at it")]
fn plant() -> Option<parley_writer::Plant> {
    use parley_writer::Plant;
    match std::env::var("PARLEY_PLANT").ok()?.as_str() {
        "ack_before_durable" => Some(Plant::AckBeforeDurable),
        "no_dedupe" => Some(Plant::NoDedupe),
        "no_claim_check" => Some(Plant::NoClaimCheck),
        "dup_in_flight" => Some(Plant::DupInFlight),
        "frozen_refusals" => Some(Plant::FrozenRefusals),
        _ => None,
    }
}

#[cfg(not(feature = "planted"))]
fn plant() -> Option<parley_writer::Plant> {
    None
}

fn set(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

impl Config {
    /// The data directory.
    pub(crate) fn data_dir(&self) -> PathBuf {
        PathBuf::from(&self.data)
    }

    /// Whose tokens are taken, given the development key that counts if nothing else is configured.
    pub(crate) fn auth_options(
        &self,
        development: impl FnOnce() -> anyhow::Result<Secret>,
    ) -> anyhow::Result<AuthOptions> {
        let secret = match (set(&self.auth.hs256_secret), set(&self.auth.jwks)) {
            (Some(secret), _) => Some(Secret::new(secret)),
            (None, Some(_)) => None,
            (None, None) => Some(development()?),
        };
        Ok(AuthOptions {
            hs256_secret: secret,
            jwks: set(&self.auth.jwks).map(JwksSource::parse),
            issuer: set(&self.auth.issuer).map(ToOwned::to_owned),
            audience: set(&self.auth.audience).map(ToOwned::to_owned),
            leeway_s: self.auth.leeway_s,
        })
    }

    /// Whether tokens are signed with the data directory's own key.
    pub(crate) fn is_development(&self) -> bool {
        self.auth.hs256_secret.is_empty() && self.auth.jwks.is_empty()
    }

    /// For the edge.
    pub(crate) fn edge_options(&self) -> parley_edge::Options {
        parley_edge::Options {
            limits: self.limits.for_edge(),
            origins: self.http.origins.clone(),
            read_wait: Duration::from_secs(5),
            ..parley_edge::Options::default()
        }
    }

    /// For the writer.
    pub(crate) fn writer_options(&self) -> parley_writer::Options {
        let cores = std::thread::available_parallelism().map_or(1, std::num::NonZero::get);
        parley_writer::Options {
            instance: format!("parley-{}", std::process::id()).into(),
            shards: if self.writer.shards == 0 { cores.min(8) } else { self.writer.shards },
            limits: parley_domain::Limits {
                group_members_max: self.limits.group_members,
                text_bytes_max: self.limits.text_bytes,
            },
            claim_seconds: self.writer.claim_seconds,
            ..parley_writer::Options::default()
        }
    }

    /// For a writer among several: one shard a partition.
    pub(crate) fn assigned_writer_options(&self, instance: &str) -> parley_writer::Options {
        parley_writer::Options {
            instance: instance.into(),
            recent_ids_max: ASSIGNED_RECENT_IDS_MAX,
            snapshot_records: self.cluster.snapshot_records,
            plant: plant(),
            ..self.writer_options()
        }
    }

    /// The same, logging only what goes wrong, so that a command's outcome stands alone.
    pub(crate) fn quiet(&self) -> Self {
        let telemetry = Telemetry { filter: "warn".into(), ..self.telemetry.clone() };
        Self { telemetry, ..self.clone() }
    }

    /// The key ring's file.
    pub(crate) fn key_ring(&self, own: impl FnOnce() -> PathBuf) -> PathBuf {
        set(&self.keys.ring).map_or_else(own, PathBuf::from)
    }
}

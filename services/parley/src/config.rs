//! The configuration: defaults < file < environment < flags, checked before anything is opened.

mod layers;

use std::path::PathBuf;
use std::time::Duration;

use parley_domain::PartitionCount;
use parley_edge::auth::{AuthOptions, JwksSource, Secret};
use serde::{Deserialize, Serialize};

pub(crate) use layers::{ConfigArgs, load};

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
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Config {
    /// The data directory of the embedded engines.
    pub(crate) data: String,
    /// Where to listen, `ADDR:PORT`; port 0 picks one.
    pub(crate) listen: String,
    /// The log: `embedded:DIR`, or `embedded` for the data directory's.
    pub(crate) log: String,
    /// The read store, likewise.
    pub(crate) reads: String,
    /// The object store, likewise.
    pub(crate) media: String,
    /// Partitions of the log, a power of two; fixed for the life of the log.
    pub(crate) partitions: u32,
    pub(crate) auth: Auth,
    pub(crate) http: Http,
    pub(crate) limits: Limits,
    pub(crate) writer: Writer,
    pub(crate) telemetry: Telemetry,
}

/// Whose tokens are taken.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
}

/// What is logged.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct Telemetry {
    /// As in `RUST_LOG`: `info`, or `parley_edge=debug,warn`.
    pub(crate) filter: String,
    /// `text` or `json`.
    pub(crate) format: String,
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
            limits: Limits::default(),
            writer: Writer { shards: 0 },
            telemetry: Telemetry { filter: "info,fjall=warn,lsm_tree=warn".into(), format: "text".into() },
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
            ..AuthOptions::default()
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
            ..parley_writer::Options::default()
        }
    }

    /// The same with secrets hidden.
    pub(crate) fn redacted(&self) -> Self {
        let mut shown = self.clone();
        if !shown.auth.hs256_secret.is_empty() {
            shown.auth.hs256_secret = "[secret]".into();
        }
        shown
    }

    /// What types can't say.
    fn check(&self) -> Result<(), ConfigError> {
        let bad = |key: &str, why: String| {
            Err(ConfigError::BadValue { origin: "configuration".into(), key: key.into(), why })
        };
        for (key, url) in [("log", &self.log), ("reads", &self.reads), ("media", &self.media)] {
            if url.split(':').next() != Some("embedded") {
                let why = format!("{url:?} is not built into this version: use embedded or embedded:DIR");
                return bad(key, why);
            }
        }
        if PartitionCount::new(self.partitions).is_none() {
            return bad("partitions", "must be a power of two from 1 to 4096".into());
        }
        if !matches!(self.telemetry.format.as_str(), "text" | "json") {
            return bad("telemetry.format", "must be text or json".into());
        }
        if !self.auth.hs256_secret.is_empty() && self.auth.hs256_secret.len() < 32 {
            return bad("auth.hs256_secret", "must have at least 32 bytes".into());
        }
        let limits = self.limits.for_edge().by_name();
        for (name, value) in limits {
            if value == 0 && !matches!(name, "sends_per_second" | "send_burst") {
                return bad(
                    &format!("limits.{name}"),
                    "must be at least 1 (0 means none for the rates only)".into(),
                );
            }
        }
        for (key, text) in
            [("listen", self.listen.as_str()), ("http.admin_listen", self.http.admin_listen.as_str())]
        {
            if !text.is_empty()
                && text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok()).is_none()
            {
                return bad(key, format!("{text:?} is no ADDR:PORT"));
            }
        }
        Ok(())
    }
}

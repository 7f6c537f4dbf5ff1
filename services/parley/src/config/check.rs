//! What a configuration must hold beyond the types of its keys.

use std::path::Path;

use parley_domain::PartitionCount;
use parley_edge::auth::{JwksSource, LEEWAY_S_MAX};
use parley_eventlog::providers::kafka::OpenError;
use parley_media::providers::s3::S3Options;

use super::{Config, Limits, Telemetry, set};

/// The shortest secret of HS256: the length of the hash, as RFC 7518 section 3.2 demands.
const SECRET_BYTES_MIN: usize = 32;

/// The contract promises readers of the log a claim an hour.
const CLAIM_SECONDS_MAX: u64 = 3_600;

/// The longest that a signature of S3 (SigV4, by query) lives.
const URL_SECONDS_MAX: u64 = 7 * 24 * 3_600;

/// The key that is wrong, and why.
type Wrong = (String, String);

/// As browsers write it in `Origin`: no path, not even a slash.
fn is_origin(text: &str) -> bool {
    let Some((scheme, host)) = text.split_once("://") else { return text == "null" };
    let has_scheme = !scheme.is_empty()
        && scheme.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte));
    has_scheme
        && !host.is_empty()
        && host.bytes().all(|byte| byte.is_ascii_graphic() && !b"/?#@*".contains(&byte))
        && !is_never_sent(scheme, host)
}

/// What browsers write otherwise: schemes in small letters, those of the web with their hosts, and without the port that is theirs.
/// What stands behind other schemes they leave as it is.
fn is_never_sent(scheme: &str, host: &str) -> bool {
    let is_large = |text: &str| text.bytes().any(|byte| byte.is_ascii_uppercase());
    let own_port = match scheme {
        "http" => "80",
        "https" => "443",
        _ => return is_large(scheme),
    };
    is_large(host) || host.rsplit_once(':').is_some_and(|(_, port)| port == own_port)
}

/// As much of a URL as is `HOST:PORT,…/NAME`. Neither Kafka's nor Cassandra's has anything behind it, where a password might stand.
fn hosts_of(place: &str) -> &str {
    let is_theirs = |c: char| c.is_ascii_alphanumeric() || ".-_:,/[] ".contains(c);
    place.split(|c| !is_theirs(c)).next().unwrap_or_default()
}

fn is_base_url(text: &str) -> bool {
    text.parse::<http::Uri>().is_ok_and(|url| {
        matches!(url.scheme_str(), Some("http" | "https"))
            && url.authority().is_some_and(|authority| !authority.as_str().contains('@'))
            && matches!(url.path(), "" | "/")
            && url.query().is_none()
    })
}

impl Config {
    /// Checks what types can't say.
    pub(super) fn check(&self) -> Result<(), Wrong> {
        let bad = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
        self.check_engines()?;
        if self.data.is_empty() {
            return bad("data", "must name a directory");
        }
        if PartitionCount::new(self.partitions).is_none() {
            return bad("partitions", "must be a power of two from 1 to 4096");
        }
        if !matches!(self.telemetry.format.as_str(), "text" | "json") {
            return bad("telemetry.format", "must be text or json");
        }
        let Telemetry { otlp, trace_share, .. } = &self.telemetry;
        if !otlp.is_empty() && (!otlp.starts_with("http://") || otlp.contains('@')) {
            return bad(
                "telemetry.otlp",
                "must be a URL that begins with http://, of a collector beside this process, without credentials",
            );
        }
        if !(0.0..=1.0).contains(trace_share) {
            return bad("telemetry.trace_share", "must be 0 to 1");
        }
        if let Err(error) = crate::telemetry::filter(&self.telemetry.filter) {
            return bad("telemetry.filter", &error.to_string());
        }
        if !self.auth.hs256_secret.is_empty() && self.auth.hs256_secret.len() < SECRET_BYTES_MIN {
            return bad("auth.hs256_secret", "must have at least 32 bytes");
        }
        if let Some(Err(error)) = set(&self.auth.jwks).map(|jwks| JwksSource::parse(jwks).check()) {
            return bad("auth.jwks", &error.to_string());
        }
        if self.auth.leeway_s > LEEWAY_S_MAX {
            return bad("auth.leeway_s", &format!("must be at most {LEEWAY_S_MAX}"));
        }
        if !self.http.public_url.is_empty() && !is_base_url(&self.http.public_url) {
            return bad("http.public_url", "must be http:// or https:// with host and port, and no path");
        }
        if let Some(origin) = self.http.origins.iter().find(|origin| !is_origin(origin)) {
            let why = format!(
                "{origin:?} is no origin: write it as browsers do, https://HOST or https://HOST:PORT, in small letters and without \
                 a port that is the scheme's own"
            );
            return bad("http.origins", &why);
        }
        let listens = [
            ("listen", &self.listen),
            ("http.admin_listen", &self.http.admin_listen),
            ("rpc.listen", &self.rpc.listen),
            ("rpc.advertise", &self.rpc.advertise),
        ];
        for (key, text) in listens {
            let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() && (matches!(key, "listen" | "rpc.listen") || !text.is_empty()) {
                return bad(key, &format!("{text:?} is no ADDR:PORT"));
            }
        }
        if !(1..=CLAIM_SECONDS_MAX).contains(&self.writer.claim_seconds) {
            return bad("writer.claim_seconds", &format!("must be from 1 to {CLAIM_SECONDS_MAX}"));
        }
        self.limits.check()
    }

    fn check_engines(&self) -> Result<(), Wrong> {
        let engines =
            [("log", &self.log, "kafka"), ("reads", &self.reads, "cassandra"), ("media", &self.media, "s3")];
        for (key, url, scheme) in engines {
            // Not quoted, however the scheme is written: what stands before the @ is mostly a password. A directory may have one.
            if url.contains('@') && !url.starts_with("embedded:") {
                let why = "must hold no credentials: cassandra.user and cassandra.password, or s3.access_key_id and \
                           s3.secret_access_key, are their place";
                return Err((key.to_owned(), why.to_owned()));
            }
            let dir = url.strip_prefix("embedded:");
            let place = url.strip_prefix(scheme).and_then(|rest| rest.strip_prefix("://"));
            let known = url == "embedded"
                || dir.is_some_and(|dir| !Path::new(dir).as_os_str().is_empty())
                || place.is_some_and(|place| !place.is_empty() && !place.starts_with(['/', '?', ',']));
            if !known {
                let shown = hosts_of(url);
                let why = format!("{shown:?} is no place for it: use embedded, embedded:DIR or {scheme}://…");
                return Err((key.to_owned(), why));
            }
            if let Some(place) = place.filter(|place| scheme != "s3" && hosts_of(place) != *place) {
                let shown = hosts_of(place);
                let why = format!(
                    "must be {scheme}://HOST:PORT,… with one name behind a slash if need be, and nothing else ({shown:?}…): what \
                     else there is to set are keys of their own, which `parley config` lists"
                );
                return Err((key.to_owned(), why));
            }
        }
        let bad = |key: &str, why: &str| Err((key.to_owned(), why.to_owned()));
        if let Some(Err(error)) = self.media.starts_with("s3:").then(|| S3Options::check_url(&self.media)) {
            return bad("media", &error.to_string());
        }
        if let Some(Err(error)) = self.kafka_options().map(|options| options.check()) {
            let is_single = matches!(error, OpenError::Single { .. });
            return bad(if is_single { "kafka.replication" } else { "log" }, &error.to_string());
        }
        if let Some(Err(error)) = self.cassandra_options().map(|options| options.check()) {
            return bad("reads", &error.to_string());
        }
        if self.reads.starts_with("cassandra:") && !self.is_shared() {
            return bad("reads", "Cassandra needs a log that other processes can read: set log to kafka://…");
        }
        if !matches!(self.keys.store.as_str(), "" | "embedded" | "cassandra") {
            return bad(
                "keys.store",
                "must be embedded or cassandra, or empty for where the read models are",
            );
        }
        if self.keys.store == "cassandra" && !self.reads.starts_with("cassandra:") {
            return bad("keys.store", "lies on the Cassandra that reads names: set reads to cassandra://…");
        }
        if !(1_000..=300_000).contains(&self.cluster.session_timeout_ms) {
            return bad("cluster.session_timeout_ms", "must be from 1000 to 300000");
        }
        let tls = [&self.rpc.tls_ca, &self.rpc.tls_certificate, &self.rpc.tls_key];
        if tls.iter().any(|file| file.is_empty()) && !tls.iter().all(|file| file.is_empty()) {
            return bad("rpc.tls_ca", "mutual TLS needs all three of tls_ca, tls_certificate and tls_key");
        }
        Ok(())
    }
}

impl Limits {
    /// Only the rate may be 0, which means none, and its burst, which is then the rate.
    fn check(&self) -> Result<(), Wrong> {
        let seconds = [
            ("sockets", self.sockets as u64),
            ("upload_url_seconds", self.upload_url_seconds),
            ("download_url_seconds", self.download_url_seconds),
            ("ping_seconds", self.ping_seconds),
        ];
        for (name, value) in self.for_edge().by_name().into_iter().chain(seconds) {
            if value == 0 && !matches!(name, "sends_per_second" | "send_burst") {
                let why = "must be at least 1 (0 is for sends_per_second, none, and send_burst, as the rate)";
                return Err((format!("limits.{name}"), why.to_owned()));
            }
            if name.ends_with("_url_seconds") && value > URL_SECONDS_MAX {
                let why = format!(
                    "must be at most {URL_SECONDS_MAX} (7 days): no object store takes a URL that lives longer"
                );
                return Err((format!("limits.{name}"), why));
            }
        }
        Ok(())
    }
}

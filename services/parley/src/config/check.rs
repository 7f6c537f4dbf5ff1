//! What a configuration must hold beyond the types of its keys.

use std::path::Path;

use parley_domain::PartitionCount;
use parley_edge::auth::LEEWAY_S_MAX;

use super::{Config, Limits};

/// The shortest secret of HS256: the length of the hash, as RFC 7518 section 3.2 demands.
const SECRET_BYTES_MIN: usize = 32;

/// The contract promises readers of the log a claim an hour.
const CLAIM_SECONDS_MAX: u64 = 3_600;

/// The key that is wrong, and why.
type Wrong = (String, String);

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
        if let Err(error) = tracing_subscriber::EnvFilter::try_new(&self.telemetry.filter) {
            return bad("telemetry.filter", &error.to_string());
        }
        if !self.auth.hs256_secret.is_empty() && self.auth.hs256_secret.len() < SECRET_BYTES_MIN {
            return bad("auth.hs256_secret", "must have at least 32 bytes");
        }
        if self.auth.leeway_s > LEEWAY_S_MAX {
            return bad("auth.leeway_s", &format!("must be at most {LEEWAY_S_MAX}"));
        }
        if !self.http.public_url.is_empty() && !is_base_url(&self.http.public_url) {
            return bad("http.public_url", "must be http:// or https:// with host and port, and no path");
        }
        for (key, text) in [("listen", &self.listen), ("http.admin_listen", &self.http.admin_listen)] {
            let port = text.rsplit_once(':').and_then(|(_, port)| port.parse::<u16>().ok());
            if port.is_none() && (key == "listen" || !text.is_empty()) {
                return bad(key, &format!("{text:?} is no ADDR:PORT"));
            }
        }
        if !(1..=CLAIM_SECONDS_MAX).contains(&self.writer.claim_seconds) {
            return bad("writer.claim_seconds", &format!("must be from 1 to {CLAIM_SECONDS_MAX}"));
        }
        self.limits.check()
    }

    fn check_engines(&self) -> Result<(), Wrong> {
        for (key, url) in [("log", &self.log), ("reads", &self.reads), ("media", &self.media)] {
            let known = url == "embedded"
                || url.strip_prefix("embedded:").is_some_and(|dir| !Path::new(dir).as_os_str().is_empty());
            if !known {
                let scheme = url.split(':').next().unwrap_or_default();
                let why = format!("{scheme:?} is not built into this version: use embedded or embedded:DIR");
                return Err((key.to_owned(), why));
            }
        }
        Ok(())
    }
}

impl Limits {
    /// Only rates may be 0, which there means none.
    fn check(&self) -> Result<(), Wrong> {
        let seconds = [
            ("sockets", self.sockets as u64),
            ("upload_url_seconds", self.upload_url_seconds),
            ("download_url_seconds", self.download_url_seconds),
            ("ping_seconds", self.ping_seconds),
        ];
        for (name, value) in self.for_edge().by_name().into_iter().chain(seconds) {
            if value == 0 && !matches!(name, "sends_per_second" | "send_burst") {
                let why = "must be at least 1 (0 means none for the rates only)";
                return Err((format!("limits.{name}"), why.to_owned()));
            }
        }
        Ok(())
    }
}

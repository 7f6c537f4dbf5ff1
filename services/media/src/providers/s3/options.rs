//! What an S3 needs to be told.

use std::fmt;
use std::time::Duration;

use aws_sdk_s3::Config;
use aws_sdk_s3::config::retry::RetryConfig;
use aws_sdk_s3::config::timeout::TimeoutConfig;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, SharedHttpClient};

use crate::error::Error;

/// Where the bucket is and how to reach it.
#[derive(Debug, Clone)]
pub struct S3Options {
    /// The bucket. It must exist.
    pub bucket: String,
    /// Put before each key as it is, so usually ending in `/`. May be empty.
    pub prefix: String,
    /// AWS region, also part of every signature.
    pub region: String,
    /// Another endpoint than AWS' own. It is in the signed URLs, so clients must reach it under this name.
    pub endpoint_url: Option<String>,
    /// `https://host/bucket/key` instead of `https://bucket.host/key`.
    pub path_style: bool,
    /// The right to sign, which must cover `s3:PutObject`, `s3:GetObject` and `s3:ListBucket` (without the last,
    /// AWS answers 403 instead of 404 for what isn't there, and a send before its upload looks like a fault).
    pub credentials: S3Credentials,
}

impl S3Options {
    /// The origin of the signed URLs, as `https://bucket.s3.eu-west-1.amazonaws.com`: what a page must be allowed to reach.
    #[must_use]
    pub fn origin(&self) -> String {
        let amazon = || format!("https://s3.{}.amazonaws.com", self.region);
        let endpoint = self.endpoint_url.clone().unwrap_or_else(amazon);
        let (scheme, rest) = endpoint.split_once("://").unwrap_or(("https", &endpoint));
        let authority = rest.split('/').next().unwrap_or(rest);
        match self.path_style {
            true => format!("{scheme}://{authority}"),
            false => format!("{scheme}://{}.{authority}", self.bucket),
        }
    }
}

/// An access key.
#[derive(Clone)]
pub struct S3Credentials {
    /// Names the key; no secret.
    pub access_key_id: String,
    /// The secret.
    pub secret_access_key: String,
    /// For temporary credentials.
    pub session_token: Option<String>,
}

impl fmt::Debug for S3Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("S3Credentials")
            .field("access_key_id", &self.access_key_id)
            .field("secret_access_key", &"<secret>")
            .field("session_token", &self.session_token.as_ref().map(|_| "<secret>"))
            .finish()
    }
}

/// How long a call waits.
pub(super) struct Patience {
    attempt: Duration,
    operation: Duration,
}

impl Patience {
    /// A send waits for `look`, so it must fail in time to be answered `unavailable`.
    pub(super) const SEND: Self = Self { attempt: Duration::from_secs(4), operation: Duration::from_secs(8) };
    /// The bytes of a large blob go through here.
    pub(super) const BLOB: Self =
        Self { attempt: Duration::from_secs(60), operation: Duration::from_secs(120) };
}

impl S3Options {
    pub(super) fn check(&self) -> Result<(), Error> {
        if self.bucket.is_empty() || self.bucket.contains('/') {
            return Err(Error::Configuration { reason: "no bucket name" });
        }
        if self.region.is_empty() {
            return Err(Error::Configuration { reason: "no region" });
        }
        if self.prefix.starts_with('/') {
            return Err(Error::Configuration { reason: "a key prefix must not begin with '/'" });
        }
        if self.credentials.access_key_id.is_empty() || self.credentials.secret_access_key.is_empty() {
            return Err(Error::Configuration { reason: "no credentials" });
        }
        Ok(())
    }

    pub(super) fn client_config(&self, patience: &Patience, transport: Option<SharedHttpClient>) -> Config {
        let credentials = Credentials::new(
            &self.credentials.access_key_id,
            &self.credentials.secret_access_key,
            self.credentials.session_token.clone(),
            None,
            "parley",
        );
        let timeouts = TimeoutConfig::builder()
            .connect_timeout(Duration::from_secs(2))
            .operation_attempt_timeout(patience.attempt)
            .operation_timeout(patience.operation)
            .build();
        let mut config = Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new(self.region.clone()))
            .credentials_provider(credentials)
            .force_path_style(self.path_style)
            .retry_config(RetryConfig::standard().with_max_attempts(2))
            .timeout_config(timeouts);
        if let Some(url) = &self.endpoint_url {
            config = config.endpoint_url(url);
        }
        if let Some(transport) = transport {
            config = config.http_client(transport);
        }
        config.build()
    }
}

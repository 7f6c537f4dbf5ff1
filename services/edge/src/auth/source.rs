//! Where a key set comes from: a file, or a URL that nobody on the way can forge.

use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::{Client, StatusCode, Url, redirect};
use tokio::fs::File;
use tokio::io::AsyncReadExt as _;
use tokio::time::timeout;

use super::error::JwksError;

/// The largest key set that is read.
pub(super) const JWKS_BYTES_MAX: usize = 256 * 1024;

/// The longest that reading one may take, all in all.
pub(super) const READ_TIMEOUT: Duration = Duration::from_secs(5);

/// Where a key set comes from, as configured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JwksSource {
    /// A file.
    File(PathBuf),
    /// An `https` URL, or an `http` one on this machine. Redirects aren't followed.
    Url(String),
}

impl JwksSource {
    /// Tells a URL from a path: what has a `scheme://` is a URL, be it one that is refused later.
    #[must_use]
    pub fn parse(text: &str) -> Self {
        if text.contains("://") { Self::Url(text.to_owned()) } else { Self::File(text.into()) }
    }

    /// Whether it can be trusted, as far as that shows without reading it.
    ///
    /// # Errors
    /// [`JwksError::BadUrl`], [`JwksError::InsecureUrl`].
    pub fn check(&self) -> Result<(), JwksError> {
        match self {
            Self::File(_) => Ok(()),
            Self::Url(text) => trusted(text).map(drop),
        }
    }

    /// How to call it in a message: a URL may hold a password, or a key in its query.
    pub(super) fn name(&self) -> String {
        match self {
            Self::File(path) => path.display().to_string(),
            Self::Url(text) => match Url::parse(text) {
                Ok(url) if url.has_host() => {
                    format!("{}{}", url.origin().ascii_serialization(), url.path())
                }
                Ok(_) | Err(_) => "a URL".to_owned(),
            },
        }
    }
}

/// A source that is ready to be read, again and again.
#[derive(Debug)]
pub(super) enum Source {
    File(PathBuf),
    Url(Client, Url),
}

impl Source {
    pub(super) fn open(source: &JwksSource) -> Result<Self, JwksError> {
        match source {
            JwksSource::File(path) => Ok(Self::File(path.clone())),
            JwksSource::Url(text) => {
                let url = trusted(text)?;
                let client = client_for(&url)?;
                Ok(Self::Url(client, url))
            }
        }
    }

    /// Reads the whole of it.
    pub(super) async fn read(&self) -> Result<Vec<u8>, JwksError> {
        let reading = async {
            match self {
                Self::File(path) => read_file(path).await,
                Self::Url(client, url) => fetch(client, url).await,
            }
        };
        timeout(READ_TIMEOUT, reading).await.map_err(|_| JwksError::Timeout)?
    }
}

/// A URL that nobody on the way can forge the answer of.
fn trusted(text: &str) -> Result<Url, JwksError> {
    let url = Url::parse(text).map_err(|_| JwksError::BadUrl)?;
    match url.scheme() {
        "https" => Ok(url),
        "http" if is_loopback(&url) => Ok(url),
        _ => Err(JwksError::InsecureUrl),
    }
}

/// A client for a [`trusted`] URL.
fn client_for(url: &Url) -> Result<Client, JwksError> {
    let builder = Client::builder().redirect(redirect::Policy::none());
    // A proxy would carry it off this machine.
    let builder = if url.scheme() == "https" { builder.https_only(true) } else { builder.no_proxy() };
    builder.build().map_err(|error| JwksError::Client(error.without_url()))
}

fn is_loopback(url: &Url) -> bool {
    let host = url.host_str().unwrap_or_default();
    let address = host.trim_start_matches('[').trim_end_matches(']');
    host == "localhost" || address.parse().is_ok_and(|address: std::net::IpAddr| address.is_loopback())
}

async fn read_file(path: &Path) -> Result<Vec<u8>, JwksError> {
    let file = File::open(path).await.map_err(JwksError::File)?;
    let mut bytes = Vec::new();
    // One byte more than allowed, so that "too large" shows.
    let bytes_max = u64::try_from(JWKS_BYTES_MAX).unwrap_or(u64::MAX);
    file.take(bytes_max.saturating_add(1)).read_to_end(&mut bytes).await.map_err(JwksError::File)?;
    if bytes.len() > JWKS_BYTES_MAX { Err(JwksError::TooLarge) } else { Ok(bytes) }
}

async fn fetch(client: &Client, url: &Url) -> Result<Vec<u8>, JwksError> {
    // The error would repeat the URL.
    let failed = |error: reqwest::Error| JwksError::Fetch(error.without_url());
    let mut response = client.get(url.clone()).send().await.map_err(failed)?;
    if response.status() != StatusCode::OK {
        return Err(JwksError::Status { status: response.status().as_u16() });
    }
    let mut bytes = Vec::new();
    // Counted as it comes: a length may be missing, or a lie.
    while let Some(chunk) = response.chunk().await.map_err(failed)? {
        if bytes.len() + chunk.len() > JWKS_BYTES_MAX {
            return Err(JwksError::TooLarge);
        }
        bytes.extend_from_slice(&chunk);
    }
    Ok(bytes)
}

//! One object to upload, and the request that does it, for tests to bend.

use std::time::Duration;

use aws_lc_rs::{digest, rand};
use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Response, StatusCode};
use parley_domain::{GroupId, MediaClaims, MediaId, Timestamp, UserId};

use super::{Failure, Http};
use crate::port::MediaStore;

/// How long the suite's URLs live, where it doesn't wait for their end.
pub(super) const VALID_FOR: Duration = Duration::from_secs(60);

/// Content, and claims that fit it.
#[derive(Debug, Clone)]
pub struct Case {
    /// The content.
    pub bytes: Bytes,
    /// What an upload of it is signed for.
    pub claims: MediaClaims,
}

impl Case {
    /// A new object with random ids.
    #[must_use]
    pub fn new(content_type: &str, bytes: impl Into<Bytes>) -> Self {
        let bytes = bytes.into();
        let sha256 = sha256(&bytes);
        // Any printable text is a user id, so an awkward one it is.
        let uploader = UserId::parse("zoë / ☃ \"=?utf-8?\" ;,").unwrap_or_else(|_| unreachable!("a user id"));
        let claims = MediaClaims {
            media_id: MediaId::from_bytes(random()),
            group_id: GroupId::from_bytes(random()),
            uploader,
            content_type: content_type.to_owned(),
            content_length: u64::try_from(bytes.len()).unwrap_or(u64::MAX),
            sha256,
            expires_at: Timestamp(0),
        };
        Self { bytes, claims }
    }

    /// Its signed upload.
    ///
    /// # Errors
    /// As [`MediaStore::presign_upload`], or an answer that makes no request.
    pub async fn sign(&self, store: &dyn MediaStore) -> Result<Put, Failure> {
        self.sign_for(store, VALID_FOR).await
    }

    /// Its signed upload, valid for so long.
    ///
    /// # Errors
    /// As [`MediaStore::presign_upload`], or an answer that makes no request.
    pub async fn sign_for(&self, store: &dyn MediaStore, valid_for: Duration) -> Result<Put, Failure> {
        let signed = store.presign_upload(&self.claims, valid_for).await?;
        let mut request =
            Request::put(&signed.url).body(self.bytes.clone()).map_err(|e| Failure::Http(e.into()))?;
        for (name, value) in &signed.headers {
            let name: HeaderName = name.parse().map_err(|_| Failure::Http("bad header name".into()))?;
            let value: HeaderValue = value.parse().map_err(|_| Failure::Http("bad header value".into()))?;
            request.headers_mut().append(name, value);
        }
        Ok(Put { request })
    }

    /// Uploads it.
    ///
    /// # Errors
    /// If that doesn't succeed.
    pub async fn upload(&self, store: &dyn MediaStore, http: &dyn Http) -> Result<(), Failure> {
        let status = self.sign(store).await?.send(http).await?.status();
        super::must("a correct upload succeeds", status == StatusCode::OK, status)
    }

    /// A signed download's request.
    ///
    /// # Errors
    /// As [`MediaStore::presign_download`], or a URL that makes no request.
    pub async fn get(&self, store: &dyn MediaStore) -> Result<Request<Bytes>, Failure> {
        let claims = &self.claims;
        let signed = store.presign_download(claims.media_id, &claims.content_type, VALID_FOR).await?;
        Request::get(&signed.url).body(Bytes::new()).map_err(|e| Failure::Http(e.into()))
    }
}

/// An upload's request, which a client or a test may change.
#[derive(Clone)]
pub struct Put {
    /// The request as signed, if unchanged.
    pub request: Request<Bytes>,
}

impl Put {
    /// With another header value.
    #[must_use]
    pub fn with(mut self, name: &'static str, value: &str) -> Self {
        if let Ok(value) = value.parse() {
            self.request.headers_mut().insert(name, value);
        }
        self
    }

    /// Without a header.
    #[must_use]
    pub fn without(mut self, name: &str) -> Self {
        self.request.headers_mut().remove(name);
        self
    }

    /// With other bytes, under the header `content-length` that was signed only if they are as many.
    #[must_use]
    pub fn with_bytes(mut self, bytes: impl Into<Bytes>) -> Self {
        *self.request.body_mut() = bytes.into();
        let length = self.request.body().len().to_string();
        self.with("content-length", &length)
    }

    /// With another text in place of one in the URL.
    #[must_use]
    pub fn with_url(mut self, from: &str, to: &str) -> Self {
        if let Ok(url) = self.request.uri().to_string().replace(from, to).parse() {
            *self.request.uri_mut() = url;
        }
        self
    }

    /// Sends it.
    ///
    /// # Errors
    /// If there was no answer.
    pub async fn send(self, http: &dyn Http) -> Result<Response<Bytes>, Failure> {
        http.send(self.request).await.map_err(Failure::Http)
    }
}

/// SHA-256.
pub(super) fn sha256(bytes: &[u8]) -> [u8; 32] {
    digest::digest(&digest::SHA256, bytes).as_ref().try_into().unwrap_or_default()
}

pub(super) fn random() -> [u8; 16] {
    let mut bytes = [0; 16];
    let filled = rand::fill(&mut bytes);
    debug_assert!(filled.is_ok(), "the system has random numbers");
    bytes
}

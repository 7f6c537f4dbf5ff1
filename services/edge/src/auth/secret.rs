//! The shared secret of HS256, and tokens signed with it for development.

use std::fmt;
use std::time::Duration;

use jsonwebtoken::{Algorithm, EncodingKey, Header};
use parley_domain::{Timestamp, UserId};
use serde::Serialize;

use super::claims::EXPIRY_S_MAX;
use super::error::SignError;
use super::{TOKEN_BYTES_MAX, install_crypto};

/// The shortest secret: the length of the hash, as RFC 7518 section 3.2 demands.
pub(super) const SECRET_BYTES_MIN: usize = 32;

/// A secret, which is never shown.
#[derive(Clone)]
pub struct Secret(Vec<u8>);

impl Secret {
    /// Takes the bytes as they are: nothing is decoded or trimmed.
    #[must_use]
    pub fn new(bytes: impl Into<Vec<u8>>) -> Self {
        Self(bytes.into())
    }

    pub(super) fn bytes(&self) -> &[u8] {
        &self.0
    }

    pub(super) fn is_short(&self) -> bool {
        self.0.len() < SECRET_BYTES_MIN
    }
}

impl fmt::Debug for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

impl fmt::Display for Secret {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("[secret]")
    }
}

#[derive(Serialize)]
struct Claims<'a> {
    sub: &'a str,
    iat: i64,
    exp: i64,
    #[serde(skip_serializing_if = "Option::is_none")]
    iss: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    aud: Option<&'a str>,
}

/// A token for `user` for `ttl`, in whole seconds rounded up, from the second that `now` lies in.
///
/// # Errors
/// [`SignError`] for a short secret or a time to live out of range.
pub fn sign_hs256(
    secret: &Secret,
    user: &UserId,
    now: Timestamp,
    ttl: Duration,
    issuer: Option<&str>,
    audience: Option<&str>,
) -> Result<String, SignError> {
    if secret.is_short() {
        return Err(SignError::ShortSecret);
    }
    let iat = now.as_millis().div_euclid(1000);
    let exp = expiry_s(iat, ttl).ok_or(SignError::Ttl)?;
    let claims = Claims { sub: user.as_str(), iat, exp, iss: issuer, aud: audience };
    install_crypto();
    let key = EncodingKey::from_secret(secret.bytes());
    let token =
        jsonwebtoken::encode(&Header::new(Algorithm::HS256), &claims, &key).map_err(SignError::Library)?;
    if token.len() > TOKEN_BYTES_MAX {
        return Err(SignError::TooLong);
    }
    Ok(token)
}

fn expiry_s(issued_s: i64, ttl: Duration) -> Option<i64> {
    if ttl.is_zero() {
        return None;
    }
    let ttl_s = i64::try_from(ttl.as_nanos().div_ceil(1_000_000_000)).ok()?;
    let expiry_s = issued_s.checked_add(ttl_s)?;
    (0..=EXPIRY_S_MAX).contains(&expiry_s).then_some(expiry_s)
}

//! Who is asking: JSON web tokens, verified against the configured keys.
//!
//! ```text
//! token ──parse──▶ algorithm and key from the configuration ──signature──▶ claims ──▶ Identity
//!                        │ unknown kid
//!                        └──▶ ask `run` for a refresh of the JWKS, at most one in 10 s
//! ```
//!
//! Architecture invariants:
//! - A key knows its algorithm. The token's `alg` only selects among configured keys and must equal the
//!   key's, so that no public key is ever used as an HMAC secret; symmetric keys in a JWKS are refused.
//! - Keys come from the configuration alone: `jwk`, `jku`, `x5u` and `x5c` in a header are never read.
//! - No claim is looked at before the signature is good.
//! - The clock is an argument. The library verifies signatures and nothing else.
//! - Nothing here logs a token, a claim or a secret, and no error holds a part of one.

use std::time::Duration;

use jsonwebtoken::{Algorithm, DecodingKey};
use parley_domain::{Timestamp, UserId};
use tokio_util::sync::CancellationToken;

mod bearer;
mod claims;
mod error;
mod jwks;
mod refresh;
mod secret;
mod source;
#[cfg(test)]
mod tests;
mod token;

pub use bearer::bearer;
pub use error::{AuthError, AuthSetupError, JwksError, Reason, SignError};
pub use secret::{Secret, sign_hs256};
pub use source::JwksSource;

use claims::Expected;
use refresh::{Jwks, Pace};
use token::{Alg, Token};

/// The longest token that is looked at.
pub const TOKEN_BYTES_MAX: usize = 8 * 1024;

/// The greatest leeway for `exp` and `nbf`, and the default.
pub const LEEWAY_S_MAX: u64 = 5;

/// What to trust.
#[derive(Debug, Clone)]
pub struct AuthOptions {
    /// The secret for HS256 (development).
    pub hs256_secret: Option<Secret>,
    /// Where the public keys for RS256, ES256 and EdDSA come from.
    pub jwks: Option<JwksSource>,
    /// If given, `iss` is required and equals it.
    pub issuer: Option<String>,
    /// If given, `aud` is required and is it, or an array that holds it.
    pub audience: Option<String>,
    /// How far the issuer's clock may be off, at most [`LEEWAY_S_MAX`].
    pub leeway_s: u64,
}

impl Default for AuthOptions {
    fn default() -> Self {
        Self { hs256_secret: None, jwks: None, issuer: None, audience: None, leeway_s: LEEWAY_S_MAX }
    }
}

/// Whom a good token speaks for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// The token's `sub`.
    pub user_id: UserId,
    /// The token's `exp`, without leeway: so it may lie up to the leeway before the `now` of the check.
    pub expires_at: Timestamp,
}

/// Verifies tokens. Share it in an `Arc`; [`Authenticator::run`] keeps its JWKS fresh.
#[derive(Debug)]
pub struct Authenticator {
    hs256: Option<DecodingKey>,
    jwks: Option<Jwks>,
    expected: Expected,
}

impl Authenticator {
    /// Checks the options and reads the keys, so that a bad configuration is seen before a port is bound.
    ///
    /// # Errors
    /// [`AuthSetupError`] when nothing is configured to trust, an option is out of its range, or the JWKS
    /// can't be read or holds no usable key.
    pub async fn new(options: AuthOptions) -> Result<Self, AuthSetupError> {
        Self::with_pace(options, None).await
    }

    async fn with_pace(options: AuthOptions, pace: Option<Pace>) -> Result<Self, AuthSetupError> {
        check(&options)?;
        install_crypto();
        let jwks = match options.jwks {
            Some(source) => Some(Jwks::open(source, pace).await?),
            None => None,
        };
        Ok(Self {
            hs256: options.hs256_secret.map(|secret| DecodingKey::from_secret(secret.bytes())),
            jwks,
            expected: Expected {
                issuer: options.issuer,
                audience: options.audience,
                leeway: Duration::from_secs(options.leeway_s),
            },
        })
    }

    /// Verifies a token at the time `now`.
    ///
    /// An unknown `kid` may cost a refresh of the JWKS, for which this then waits, at most about 6 s: so the
    /// first token of a newly published key is accepted. Otherwise it doesn't wait. May be cancelled.
    ///
    /// # Errors
    /// [`AuthError::Expired`] when the token is good in everything but its `exp`, else [`AuthError::Invalid`].
    pub async fn verify(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        let token = Token::parse(token)?;
        let is_signed = match token.alg {
            Alg::Hs256 => {
                let key = self.hs256.as_ref().ok_or(Reason::Algorithm)?;
                is_signed_by(&token, key)
            }
            Alg::Rs256 | Alg::Es256 | Alg::EdDsa => {
                let jwks = self.jwks.as_ref().ok_or(Reason::Algorithm)?;
                let keys = jwks.keys_for(token.alg, token.kid.as_deref()).await?;
                keys.iter().any(|key| is_signed_by(&token, key))
            }
        };
        if !is_signed {
            return Err(Reason::Signature.into());
        }
        self.expected.identify(&token.claims()?, now)
    }

    /// The same for a socket, which lives no longer than its token: within the leeway it would end before it began.
    ///
    /// # Errors
    /// As [`Self::verify`].
    pub async fn verify_for_socket(&self, token: &str, now: Timestamp) -> Result<Identity, AuthError> {
        let identity = self.verify(token, now).await?;
        if identity.expires_at <= now { Err(AuthError::Expired) } else { Ok(identity) }
    }

    /// Keeps the JWKS fresh until `shutdown`: a URL every 5 min, a file every 10 s, either also when a token
    /// names an unknown `kid`, but then at most every 10 s. A failed refresh keeps the old keys.
    pub async fn run(&self, shutdown: CancellationToken) {
        match &self.jwks {
            Some(jwks) => {
                shutdown.run_until_cancelled(jwks.refresh_forever()).await;
            }
            None => shutdown.cancelled().await,
        }
    }
}

fn check(options: &AuthOptions) -> Result<(), AuthSetupError> {
    if options.hs256_secret.is_none() && options.jwks.is_none() {
        return Err(AuthSetupError::NoKey);
    }
    if options.hs256_secret.as_ref().is_some_and(Secret::is_short) {
        return Err(AuthSetupError::ShortSecret);
    }
    if options.leeway_s > LEEWAY_S_MAX {
        return Err(AuthSetupError::LongLeeway);
    }
    // Nobody means "the empty issuer"; it is a variable that was left empty.
    if options.issuer.as_ref().is_some_and(String::is_empty) {
        return Err(AuthSetupError::EmptyIssuer);
    }
    if options.audience.as_ref().is_some_and(String::is_empty) {
        return Err(AuthSetupError::EmptyAudience);
    }
    Ok(())
}

/// Left to itself the library chooses by its crate features, and panics at first use should some dependency
/// turn on a second one.
fn install_crypto() {
    // An error means that it has been done before.
    let _ = jsonwebtoken::crypto::aws_lc::DEFAULT_PROVIDER.install_default();
}

fn is_signed_by(token: &Token<'_>, key: &DecodingKey) -> bool {
    let algorithm = Algorithm::from(token.alg);
    // An error is a signature that is no base64url, or a key of another family: not signed by it either way.
    jsonwebtoken::crypto::verify(token.signature, token.signed.as_bytes(), key, algorithm).unwrap_or(false)
}

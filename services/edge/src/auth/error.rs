//! What can go wrong. Every message is safe to show and to log: none holds a part of a token or a secret.

use parley_domain::{Code, Rejection};

use super::secret::SECRET_BYTES_MIN;
use super::source::JWKS_BYTES_MAX;
use super::{LEEWAY_S_MAX, TOKEN_BYTES_MAX};

/// Why a request is not authenticated.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AuthError {
    /// The token is no good (code `unauthenticated`).
    #[error("{0}")]
    Invalid(Reason),
    /// Good in everything else, its signature first of all, but its time is over (code `token_expired`).
    #[error("the token has expired")]
    Expired,
}

impl AuthError {
    /// What a call or a handshake is refused with.
    pub(crate) fn of_call(self) -> Rejection {
        match self {
            Self::Expired => {
                Rejection::new(Code::TokenExpired, "the token has expired: come again with a fresh one")
            }
            Self::Invalid(_) => self.of_frame(),
        }
    }

    /// What a token in a frame is refused with: `unauthenticated`, whatever is wrong with it.
    pub(crate) fn of_frame(self) -> Rejection {
        let why = match self {
            Self::Expired => "the token has expired: connect again with a fresh one".to_owned(),
            Self::Invalid(reason) => format!("the token is not accepted: {reason}"),
        };
        Rejection::new(Code::Unauthenticated, why)
    }
}

impl From<Reason> for AuthError {
    fn from(reason: Reason) -> Self {
        Self::Invalid(reason)
    }
}

/// What is wrong with a token, in words for the client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Reason {
    /// The `Authorization` header.
    #[error("there must be one Authorization header, of the form 'Bearer TOKEN'")]
    Authorization,
    /// Its length.
    #[error("the token has more than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// Its form.
    #[error("the token must be three parts of base64url, the first two JSON objects without repeated names")]
    Malformed,
    /// `crit`, or a payload that is not base64url.
    #[error("the token's header asks for an extension that is not supported")]
    Extension,
    /// `alg`.
    #[error("the token's alg is not accepted, or not that of the key that it names")]
    Algorithm,
    /// `kid`.
    #[error("the token's kid is not known")]
    UnknownKey,
    /// No `kid`.
    #[error("the token must name its key by kid")]
    NoKeyId,
    /// The signature.
    #[error("the token's signature is wrong")]
    Signature,
    /// `exp`.
    #[error("the token's exp must be a number of seconds since 1970, up to the year 9999")]
    Expiry,
    /// `nbf`.
    #[error("the token's nbf must be a number of seconds since 1970, and not in the future")]
    NotBefore,
    /// `sub`.
    #[error("the token's sub must be a string of 1 to 128 printable bytes")]
    Subject,
    /// `iss`.
    #[error("the token's iss is not the expected one")]
    Issuer,
    /// `aud`.
    #[error("the token's aud is not the expected one")]
    Audience,
}

/// Why an [`Authenticator`](super::Authenticator) can't be made.
#[derive(Debug, thiserror::Error)]
pub enum AuthSetupError {
    /// Nothing to verify a token with.
    #[error("no key is configured: set auth.hs256_secret or auth.jwks")]
    NoKey,
    /// A secret that can be guessed.
    #[error("auth.hs256_secret must have at least {SECRET_BYTES_MIN} bytes")]
    ShortSecret,
    /// A leeway above the limit.
    #[error("the leeway must be at most {LEEWAY_S_MAX} s")]
    LongLeeway,
    /// An issuer that is set, but to nothing.
    #[error("auth.issuer must not be empty")]
    EmptyIssuer,
    /// An audience that is set, but to nothing.
    #[error("auth.audience must not be empty")]
    EmptyAudience,
    /// The key set.
    #[error("can't read the keys of auth.jwks, {name}")]
    Jwks {
        /// The path, or the URL without user, password, query and fragment.
        name: String,
        /// What went wrong.
        source: JwksError,
    },
}

/// Why a key set can't be read.
#[derive(Debug, thiserror::Error)]
pub enum JwksError {
    /// Not a URL.
    #[error("not a URL of the form https://HOST/PATH")]
    BadUrl,
    /// Whoever is on the way could put a key of his own in.
    #[error("must be https, or http to localhost or a loopback address")]
    InsecureUrl,
    /// The HTTP client can't be set up.
    #[error("can't set up the HTTP client")]
    Client(#[source] reqwest::Error),
    /// No file, or none that may be read.
    #[error("can't read the file")]
    File(#[source] std::io::Error),
    /// No connection, or a broken one.
    #[error("can't fetch it")]
    Fetch(#[source] reqwest::Error),
    /// Redirects aren't followed either: the configured URL is the one that is trusted.
    #[error("the answer has status {status}, not 200")]
    Status {
        /// The HTTP status.
        status: u16,
    },
    /// It took too long.
    #[error("no whole answer in time")]
    Timeout,
    /// Too large to be a key set.
    #[error("more than {JWKS_BYTES_MAX} bytes")]
    TooLarge,
    /// Not JSON.
    #[error("not JSON")]
    NotJson(#[source] serde_json::Error),
    /// JSON, but no key set.
    #[error("not a JSON object with an array 'keys'")]
    NotKeySet,
    /// Keys perhaps, but none for us.
    #[error(
        "none of its {refused} keys is usable: RSA of 2048 to 8192 bits for RS256, P-256 for ES256 or \
         Ed25519 for EdDSA, meant for verifying signatures"
    )]
    NoUsableKey {
        /// How many keys it has.
        refused: usize,
    },
}

/// Why a token can't be made.
#[derive(Debug, thiserror::Error)]
pub enum SignError {
    /// A secret that can be guessed.
    #[error("the secret must have at least {SECRET_BYTES_MIN} bytes")]
    ShortSecret,
    /// It would never be valid, or beyond the year 9999.
    #[error("the time to live must be above zero and end before the year 10000")]
    Ttl,
    /// The user id is so long in JSON that the token would be refused.
    #[error("the token would have more than {TOKEN_BYTES_MAX} bytes")]
    TooLong,
    /// The library refuses.
    #[error("can't sign the token")]
    Library(#[source] jsonwebtoken::errors::Error),
}

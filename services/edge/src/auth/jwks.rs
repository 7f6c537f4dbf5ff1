//! A JSON web key set (RFC 7517), reduced to the keys that can verify a token here.

use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ED25519, ParsedPublicKey, RSA_PKCS1_2048_8192_SHA256, RsaPublicKeyComponents,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::DecodingKey;
use serde::Deserialize;
use serde_json::Value;

use super::error::{JwksError, Reason};
use super::token::Alg;

const RSA_BITS_MIN: usize = 2048;
const RSA_BITS_MAX: usize = 8192;

/// The usable keys of a set.
#[derive(Debug)]
pub(super) struct KeySet {
    keys: Vec<Key>,
    refused: usize,
}

#[derive(Debug)]
struct Key {
    kid: Option<String>,
    alg: Alg,
    key: DecodingKey,
}

/// A key as it is written, before it is trusted with anything.
#[derive(Deserialize)]
struct Written {
    kty: String,
    kid: Option<String>,
    alg: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    key_ops: Option<Vec<String>>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl KeySet {
    /// Keys that we can't use are passed over: a set is shared with others, whose needs differ.
    pub(super) fn parse(bytes: &[u8]) -> Result<Self, JwksError> {
        let json: Value = serde_json::from_slice(bytes).map_err(JwksError::NotJson)?;
        let Some(Value::Array(written)) = json.get("keys") else {
            return Err(JwksError::NotKeySet);
        };
        let keys: Vec<Key> = written
            .iter()
            .filter_map(|key| Written::deserialize(key).ok().and_then(|written| written.into_key()))
            .collect();
        let refused = written.len() - keys.len();
        if keys.is_empty() {
            return Err(JwksError::NoUsableKey { refused });
        }
        Ok(Self { keys, refused })
    }

    pub(super) fn len(&self) -> usize {
        self.keys.len()
    }

    pub(super) fn refused(&self) -> usize {
        self.refused
    }

    /// The keys that may verify a token with this header: several only if the set gives several the same
    /// `kid`. A `kid` binds: a token that names one is never tried with a key of another name or of none.
    pub(super) fn find(&self, alg: Alg, kid: Option<&str>) -> Result<Vec<DecodingKey>, Reason> {
        let fitting = |key: &&Key| key.alg == alg;
        let Some(kid) = kid else {
            let mut candidates = self.keys.iter().filter(fitting);
            return match (candidates.next(), candidates.next()) {
                (Some(only), None) => Ok(vec![only.key.clone()]),
                (Some(_), Some(_)) => Err(Reason::NoKeyId),
                (None, _) => Err(Reason::Algorithm),
            };
        };
        let mut named = self.keys.iter().filter(|key| key.kid.as_deref() == Some(kid)).peekable();
        if named.peek().is_none() {
            return Err(Reason::UnknownKey);
        }
        let keys: Vec<DecodingKey> = named.filter(fitting).map(|key| key.key.clone()).collect();
        if keys.is_empty() { Err(Reason::Algorithm) } else { Ok(keys) }
    }
}

impl Written {
    fn into_key(self) -> Option<Key> {
        let (alg, key) = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => (Alg::Rs256, self.rsa()?),
            ("EC", Some("P-256")) => (Alg::Es256, self.p256()?),
            ("OKP", Some("Ed25519")) => (Alg::EdDsa, self.ed25519()?),
            // `oct` among them: a secret in a published set is none, and an RSA key in its guise would turn
            // what everybody knows into an HMAC secret.
            _ => return None,
        };
        self.is_meant_for(alg).then_some(Key { kid: self.kid, alg, key })
    }

    /// What the key says about itself must leave room for verifying signatures of this algorithm.
    fn is_meant_for(&self, alg: Alg) -> bool {
        self.alg.as_ref().is_none_or(|name| Alg::from_name(name) == Some(alg))
            && self.purpose.as_ref().is_none_or(|purpose| purpose == "sig")
            && self.key_ops.as_ref().is_none_or(|ops| ops.iter().any(|op| op == "verify"))
    }

    fn rsa(&self) -> Option<DecodingKey> {
        let (n, e) = (decode(self.n.as_ref()?)?, decode(self.e.as_ref()?)?);
        let (n, e) = (trim_zeros(&n), trim_zeros(&e));
        let bits = n.len() * 8 - usize::try_from(n.first()?.leading_zeros()).ok()?;
        // Under e = 1 every message is its own signature. Above 32 bits nobody goes, but it costs time.
        let is_exponent_sound = e != [1] && e.len() <= 4 && is_odd(e);
        if !(RSA_BITS_MIN..=RSA_BITS_MAX).contains(&bits) || !is_odd(n) || !is_exponent_sound {
            return None;
        }
        RsaPublicKeyComponents { n, e }.to_parsed_public_key(&RSA_PKCS1_2048_8192_SHA256).ok()?;
        Some(DecodingKey::from_rsa_raw_components(n, e))
    }

    fn p256(&self) -> Option<DecodingKey> {
        let (x, y) = (decode(self.x.as_ref()?)?, decode(self.y.as_ref()?)?);
        if x.len() != 32 || y.len() != 32 {
            return None;
        }
        let point = [&[0x04], x.as_slice(), y.as_slice()].concat();
        // Checks that the point lies on the curve, now rather than at the first token.
        ParsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &point).ok()?;
        Some(DecodingKey::from_ec_der(&point))
    }

    fn ed25519(&self) -> Option<DecodingKey> {
        let x = decode(self.x.as_ref()?)?;
        ParsedPublicKey::new(&ED25519, &x).ok()?;
        (x.len() == 32).then(|| DecodingKey::from_ed_der(&x))
    }
}

fn decode(text: &str) -> Option<Vec<u8>> {
    URL_SAFE_NO_PAD.decode(text).ok()
}

/// RFC 7518 forbids leading zeros in `n`, and yet mentions those who write one; aws-lc takes none.
fn trim_zeros(mut number: &[u8]) -> &[u8] {
    while let [0, rest @ ..] = number {
        number = rest;
    }
    number
}

fn is_odd(number: &[u8]) -> bool {
    number.last().is_some_and(|last| last % 2 == 1)
}

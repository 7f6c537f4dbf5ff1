//! A token's form: three parts, of which only the header is read before the signature has been checked.

use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jsonwebtoken::Algorithm;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _, MapAccess, Visitor};
use serde_json::{Map, Value};

use super::TOKEN_BYTES_MAX;
use super::error::Reason;

/// The algorithms that Parley knows. Any other name is refused before a key is looked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Alg {
    Hs256,
    Rs256,
    Es256,
    EdDsa,
}

impl Alg {
    /// Names are case-sensitive (RFC 7515 section 4.1.1).
    pub(super) fn from_name(name: &str) -> Option<Self> {
        match name {
            "HS256" => Some(Self::Hs256),
            "RS256" => Some(Self::Rs256),
            "ES256" => Some(Self::Es256),
            "EdDSA" => Some(Self::EdDsa),
            _ => None,
        }
    }
}

impl From<Alg> for Algorithm {
    fn from(alg: Alg) -> Self {
        match alg {
            Alg::Hs256 => Self::HS256,
            Alg::Rs256 => Self::RS256,
            Alg::Es256 => Self::ES256,
            Alg::EdDsa => Self::EdDSA,
        }
    }
}

/// A token whose form and header are good, and of which nothing else is known yet.
#[derive(Debug)]
pub(super) struct Token<'a> {
    pub(super) alg: Alg,
    pub(super) kid: Option<String>,
    /// Header and payload as they were sent: what the signature is over.
    pub(super) signed: &'a str,
    pub(super) signature: &'a str,
    payload: &'a str,
}

impl<'a> Token<'a> {
    pub(super) fn parse(text: &'a str) -> Result<Self, Reason> {
        if text.len() > TOKEN_BYTES_MAX {
            return Err(Reason::TooLong);
        }
        let (signed, signature) = text.rsplit_once('.').ok_or(Reason::Malformed)?;
        let (header, payload) = signed.split_once('.').ok_or(Reason::Malformed)?;
        // A further dot would lie in the payload.
        if payload.is_empty() || payload.contains('.') || signature.is_empty() {
            return Err(Reason::Malformed);
        }
        let header = object(header)?;
        check_extensions(&header)?;
        let alg = match header.get("alg") {
            Some(Value::String(name)) => Alg::from_name(name).ok_or(Reason::Algorithm)?,
            _ => return Err(Reason::Algorithm),
        };
        let kid = match header.get("kid") {
            None => None,
            Some(Value::String(kid)) => Some(kid.clone()),
            Some(_) => return Err(Reason::Malformed),
        };
        Ok(Self { alg, kid, signed, signature, payload })
    }

    /// The claims, as they are. To be read only once the signature has been checked.
    pub(super) fn claims(&self) -> Result<Map<String, Value>, Reason> {
        object(self.payload)
    }
}

fn check_extensions(header: &Map<String, Value>) -> Result<(), Reason> {
    // We know no extension, so whatever is critical is unknown (RFC 7515 section 4.1.11).
    if header.contains_key("crit") {
        return Err(Reason::Extension);
    }
    // RFC 7797: with `b64: false` the payload isn't base64url. It wants a `crit`, but a sender may forget.
    if header.get("b64").is_some_and(|b64| *b64 != Value::Bool(true)) {
        return Err(Reason::Extension);
    }
    Ok(())
}

fn object(part: &str) -> Result<Map<String, Value>, Reason> {
    let bytes = URL_SAFE_NO_PAD.decode(part).map_err(|_| Reason::Malformed)?;
    let UniqueObject(map) = serde_json::from_slice(&bytes).map_err(|_| Reason::Malformed)?;
    Ok(map)
}

/// A JSON object that holds no name twice: another reader of the same token might take the other value.
struct UniqueObject(Map<String, Value>);

impl<'de> Deserialize<'de> for UniqueObject {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct UniqueVisitor;

        impl<'de> Visitor<'de> for UniqueVisitor {
            type Value = UniqueObject;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object without repeated names")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut access: A) -> Result<UniqueObject, A::Error> {
                let mut map = Map::new();
                while let Some((name, value)) = access.next_entry::<String, Value>()? {
                    if map.insert(name, value).is_some() {
                        return Err(A::Error::custom("a name is repeated"));
                    }
                }
                Ok(UniqueObject(map))
            }
        }

        deserializer.deserialize_map(UniqueVisitor)
    }
}

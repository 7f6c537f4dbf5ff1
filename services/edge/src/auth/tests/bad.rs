//! The bad tokens of the harness, one by one: each is refused, and for the right reason.

use std::collections::BTreeMap;

use super::bad_tokens::{bad_tokens, good_token};
use super::*;

const REASONS: &[(Reason, &[&str])] = &[
    (Reason::TooLong, &["huge", "huge garbage"]),
    (
        Reason::Malformed,
        &[
            "empty",
            "a word",
            "one dot",
            "two dots",
            "only a header",
            "no signature part",
            "cut in the middle",
            "empty signature",
            // Which is the usual form of these four.
            "none",
            "None",
            "NONE",
            "nOnE",
            "empty payload",
            "empty header",
            "dot before",
            "dot after",
            "double dot, well signed",
            "four parts, well signed",
            "five parts",
            "twice",
            "two with a comma",
            "in quotes",
            "scheme before",
            "JSON serialization",
            "dots escaped",
            "header padded",
            "bits left over in the header",
            "standard alphabet",
            "space in the payload",
            "payload not encoded",
            "header not JSON",
            "header an array",
            "header a string",
            "header null",
            "header cut",
            "header with garbage after",
            "header with a byte order mark",
            "header not UTF-8",
            "alg twice",
            "payload not JSON",
            "payload an array",
            "payload a string",
            "payload a number",
            "payload with garbage after",
            "payload two objects",
            "payload not UTF-8",
            "payload nested too deep",
            "payload a token",
            "exp twice",
            "sub twice",
            "sub twice, once escaped",
            "kid a number",
            "kid null",
            "kid an array",
            "exp 1e400",
            "sub with half a surrogate pair",
        ],
    ),
    (
        Reason::Signature,
        &[
            "signature padded",
            "signature not base64",
            "signature in hex",
            "space before the signature",
            "first bit of the signature",
            "last bit of the signature",
            "middle bit of the signature",
            "another header under the signature",
            "another sub under the signature",
            "a later exp under the signature",
            "signature one byte short",
            "signature of one byte",
            "signature one byte long",
            "signature twice",
            "signature of zeros",
            "signature backwards",
            "signature of the payload alone",
            "HS256 with a SHA-512 HMAC",
            "another secret",
            "no secret",
            "the word secret",
            "the secret with a newline",
            "half the secret",
            "the secret in base64",
            "the secret in hex",
            "kid of an empty file",
            "kid of an injected row",
            "jwk with its own secret",
            "jku of another",
            "x5u of another",
            "x5c of another",
        ],
    ),
    (
        Reason::Algorithm,
        &[
            "none with a good HMAC",
            "none with some signature",
            "alg missing",
            "alg null",
            "alg a number",
            "alg an array",
            "alg empty",
            "alg in lower case",
            "alg with a space",
            "alg with a NUL",
            "alg unknown",
            "HS384 with the secret",
            "HS512 with the secret",
            "RS256 with an HMAC",
            "PS256 with an HMAC",
            "ES256 with an HMAC",
            "EdDSA with an HMAC",
            "ES256 with zeros",
            "EdDSA with zeros",
            "RS256 with zeros",
            "jwk with its own EdDSA key",
        ],
    ),
    (
        Reason::Extension,
        &[
            "crit b64, payload not encoded",
            "crit b64",
            "crit exp",
            "crit unknown",
            "crit empty",
            "crit null",
            "crit a string",
            "b64 false",
            "b64 a string",
        ],
    ),
    (
        Reason::Expiry,
        &[
            "exp missing",
            "exp null",
            "exp a string",
            "exp a date",
            "exp true",
            "exp an array",
            "exp an object",
            "exp negative",
            "exp far negative",
            "exp a negative fraction",
            "exp 1e300",
            "exp of 19 digits",
            "exp of 20 digits",
            "exp in milliseconds",
            "exp under another case",
        ],
    ),
    (
        Reason::NotBefore,
        &[
            "nbf in an hour",
            "nbf in a minute",
            "nbf 1e300",
            "nbf of 20 digits",
            "nbf in milliseconds",
            "nbf a string",
            "nbf null",
            "nbf false",
        ],
    ),
    (
        Reason::Subject,
        &[
            "sub missing",
            "sub null",
            "sub empty",
            "sub a number",
            "sub true",
            "sub an array",
            "sub an object",
            "sub of 129 bytes",
            "sub of 65 two-byte characters",
            "sub with a NUL",
            "sub with a newline",
            "sub with a DEL",
            "sub with an escape",
            "sub with a C1 control",
            "sub with a line separator",
            "sub with a byte order mark",
            "sub under another case",
        ],
    ),
];

const EXPIRED: &[&str] = &["expired in 1970", "expired an hour ago", "expired beyond the leeway"];

fn expectations() -> BTreeMap<&'static str, AuthError> {
    let invalid = REASONS
        .iter()
        .flat_map(|(reason, names)| names.iter().map(|name| (*name, AuthError::Invalid(*reason))));
    invalid.chain(EXPIRED.iter().map(|name| (*name, AuthError::Expired))).collect()
}

#[tokio::test]
async fn each_is_refused_for_its_reason() {
    let authenticator = Authenticator::new(secret_only()).await.unwrap();
    let bad = bad_tokens(SECRET, "alice", NOW_S);
    let mut wrong = Vec::new();
    let mut expected = expectations();
    for (name, token) in &bad {
        let expected = expected.remove(name);
        let outcome = authenticator.verify(token, NOW).await;
        if expected.is_none() || outcome != Err(expected.unwrap()) {
            wrong.push(format!("{name}: expected {expected:?}, got {outcome:?}"));
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(expected.is_empty(), "not made: {expected:?}");
    assert!(bad.len() >= 150, "{}", bad.len());
}

#[tokio::test]
async fn each_is_refused_with_a_key_set_beside_the_secret_too() {
    let file = TempFile::new(keys::one_of_each());
    let options = AuthOptions { jwks: jwks_only(&file.0).jwks, ..secret_only() };
    let authenticator = Authenticator::new(options).await.unwrap();
    for (name, token) in bad_tokens(SECRET, "alice", NOW_S) {
        let error = authenticator.verify(&token, NOW).await.expect_err(name);
        assert_eq!(error == AuthError::Expired, name.starts_with("expired"), "{name}: {error:?}");
    }
}

#[tokio::test]
async fn none_is_accepted_by_a_key_set_alone() {
    let file = TempFile::new(keys::one_of_each());
    let authenticator = Authenticator::new(jwks_only(&file.0)).await.unwrap();
    let good = good_token(SECRET, "alice", NOW_S);
    assert_eq!(authenticator.verify(&good, NOW).await, Err(Reason::Algorithm.into()));
    for (name, token) in bad_tokens(SECRET, "alice", NOW_S) {
        let error = authenticator.verify(&token, NOW).await.expect_err(name);
        assert_ne!(error, AuthError::Expired, "{name}: the signature isn't good");
    }
}

#[tokio::test]
async fn the_control_is_accepted_and_every_flipped_bit_of_it_refused() {
    let authenticator = Authenticator::new(secret_only()).await.unwrap();
    let good = good_token(SECRET, "alice", NOW_S);
    authenticator.verify(&good, NOW).await.unwrap();
    let mut refused = 0;
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1 << bit;
            let Ok(token) = String::from_utf8(bytes) else { continue };
            authenticator.verify(&token, NOW).await.expect_err(&token);
            refused += 1;
        }
    }
    assert!(refused >= good.len() * 7);
}

#[tokio::test]
async fn every_cut_of_the_control_is_refused() {
    let authenticator = Authenticator::new(secret_only()).await.unwrap();
    let good = good_token(SECRET, "alice", NOW_S);
    for end in 0..good.len() {
        authenticator.verify(&good[..end], NOW).await.unwrap_err();
        authenticator.verify(&good[end + 1..], NOW).await.unwrap_err();
    }
}

#[test]
fn each_can_stand_in_a_header() {
    for (name, token) in bad_tokens(SECRET, "José 🦀", NOW_S) {
        assert!(token.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{name}");
        assert_eq!(token.trim(), token, "{name}");
    }
}

//! Keys of every kind, made once. They sign with aws-lc itself: not with the library under test.

use std::sync::LazyLock;

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::rsa::KeySize;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1_SIGNING, ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING,
    EcdsaKeyPair, EcdsaSigningAlgorithm, Ed25519KeyPair, KeyPair as _, RSA_PKCS1_SHA256, RSA_PKCS1_SHA512,
    RSA_PSS_SHA256, RsaEncoding, RsaKeyPair,
};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use super::{NOW_S, SECRET};

pub(super) static RSA: LazyLock<RsaKeyPair> =
    LazyLock::new(|| RsaKeyPair::generate(KeySize::Rsa2048).unwrap());
pub(super) static EC: LazyLock<EcdsaKeyPair> = LazyLock::new(|| ec(&ECDSA_P256_SHA256_FIXED_SIGNING));
pub(super) static ED: LazyLock<Ed25519KeyPair> = LazyLock::new(|| Ed25519KeyPair::generate().unwrap());

pub(super) fn ec(algorithm: &'static EcdsaSigningAlgorithm) -> EcdsaKeyPair {
    EcdsaKeyPair::generate(algorithm).unwrap()
}

pub(super) fn p384() -> EcdsaKeyPair {
    ec(&ECDSA_P384_SHA384_FIXED_SIGNING)
}

pub(super) fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

/// `n` and `e`, out of the DER of a 2048 bit key, which always lies the same.
pub(super) fn rsa_parts() -> (Vec<u8>, Vec<u8>) {
    let der = RSA.public_key().as_ref().to_vec();
    assert_eq!(der.len(), 270);
    (der[9..265].to_vec(), der[267..].to_vec())
}

pub(super) fn rsa_jwk(kid: &str) -> Value {
    let (n, e) = rsa_parts();
    json!({ "kty": "RSA", "kid": kid, "n": encode(n), "e": encode(e) })
}

pub(super) fn ec_jwk_of(pair: &EcdsaKeyPair, crv: &str, kid: &str) -> Value {
    let point = pair.public_key().as_ref();
    let (x, y) = point[1..].split_at(point.len() / 2);
    json!({ "kty": "EC", "crv": crv, "kid": kid, "x": encode(x), "y": encode(y) })
}

pub(super) fn ec_jwk(kid: &str) -> Value {
    ec_jwk_of(&EC, "P-256", kid)
}

pub(super) fn ed_jwk(kid: &str) -> Value {
    ed_jwk_of(&ED, kid)
}

pub(super) fn ed_jwk_of(pair: &Ed25519KeyPair, kid: &str) -> Value {
    json!({ "kty": "OKP", "crv": "Ed25519", "kid": kid, "x": encode(pair.public_key()) })
}

pub(super) fn with(mut jwk: Value, name: &str, value: Value) -> Value {
    jwk[name] = value;
    jwk
}

pub(super) fn without(mut jwk: Value, name: &str) -> Value {
    jwk.as_object_mut().unwrap().remove(name);
    jwk
}

pub(super) fn set(keys: &[Value]) -> String {
    json!({ "keys": keys }).to_string()
}

/// A key of each kind: `r`, `e` and `d`.
pub(super) fn one_of_each() -> String {
    set(&[rsa_jwk("r"), ec_jwk("e"), ed_jwk("d")])
}

pub(super) fn claims() -> Value {
    json!({ "sub": "alice", "exp": NOW_S + 600 })
}

pub(super) fn message(header: &Value, claims: &Value) -> String {
    format!("{}.{}", encode(header.to_string()), encode(claims.to_string()))
}

pub(super) fn attach(message: &str, signature: impl AsRef<[u8]>) -> String {
    format!("{message}.{}", encode(signature))
}

pub(super) fn hs256(claims: &Value) -> String {
    let message = message(&json!({ "alg": "HS256" }), claims);
    hmac_by(SECRET, &message)
}

pub(super) fn hmac_by(key: &[u8], message: &str) -> String {
    use aws_lc_rs::hmac::{HMAC_SHA256, Key, sign};
    attach(message, sign(&Key::new(HMAC_SHA256, key), message.as_bytes()))
}

fn rsa_with(encoding: &'static dyn RsaEncoding, header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let mut signature = vec![0; RSA.public_modulus_len()];
    RSA.sign(encoding, &SystemRandom::new(), message.as_bytes(), &mut signature).unwrap();
    attach(&message, signature)
}

pub(super) fn rsa(header: &Value, claims: &Value) -> String {
    rsa_with(&RSA_PKCS1_SHA256, header, claims)
}

pub(super) fn rsa_sha512(header: &Value, claims: &Value) -> String {
    rsa_with(&RSA_PKCS1_SHA512, header, claims)
}

pub(super) fn rsa_pss(header: &Value, claims: &Value) -> String {
    rsa_with(&RSA_PSS_SHA256, header, claims)
}

pub(super) fn ec_by(pair: &EcdsaKeyPair, header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    let signature = pair.sign(&SystemRandom::new(), message.as_bytes()).unwrap();
    attach(&message, signature)
}

pub(super) fn es256(header: &Value, claims: &Value) -> String {
    ec_by(&EC, header, claims)
}

/// ES256 in the form of X.509, which JWS doesn't allow.
pub(super) fn es256_asn1(header: &Value, claims: &Value) -> String {
    let pkcs8 = EC.to_pkcs8v1().unwrap();
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.as_ref()).unwrap();
    ec_by(&pair, header, claims)
}

pub(super) fn eddsa(header: &Value, claims: &Value) -> String {
    eddsa_by(&ED, header, claims)
}

pub(super) fn eddsa_by(pair: &Ed25519KeyPair, header: &Value, claims: &Value) -> String {
    let message = message(header, claims);
    attach(&message, pair.sign(message.as_bytes()))
}

//! RS256, ES256 and EdDSA through a JWKS: which key may verify what.

use serde_json::{Value, json};

use super::keys::*;
use super::*;

/// Verifies one token against one set; the secret of HS256 is configured as well.
async fn ask(set: &str, token: &str) -> Result<Identity, AuthError> {
    let file = TempFile::new(set);
    let options = AuthOptions { jwks: jwks_only(&file.0).jwks, ..secret_only() };
    Authenticator::new(options).await.unwrap().verify(token, NOW).await
}

fn header(alg: &str, kid: &str) -> Value {
    json!({ "alg": alg, "kid": kid })
}

#[tokio::test]
async fn a_good_token_of_each_kind() {
    let set = one_of_each();
    let expected = Identity { user_id: alice(), expires_at: Timestamp((NOW_S + 600) * 1000) };
    for token in [
        hs256(&claims()),
        rsa(&header("RS256", "r"), &claims()),
        es256(&header("ES256", "e"), &claims()),
        eddsa(&header("EdDSA", "d"), &claims()),
        // Without a kid, but each kind has one key only.
        rsa(&json!({ "alg": "RS256" }), &claims()),
        es256(&json!({ "alg": "ES256" }), &claims()),
        eddsa(&json!({ "alg": "EdDSA", "typ": "at+jwt" }), &claims()),
        // Pointers to other keys are not followed, nor held against the token.
        eddsa(&json!({ "alg": "EdDSA", "kid": "d", "jku": "http://127.0.0.1:9/" }), &claims()),
        eddsa(&json!({ "alg": "EdDSA", "kid": "d", "b64": true }), &claims()),
    ] {
        assert_eq!(ask(&set, &token).await.unwrap(), expected);
    }
}

#[tokio::test]
async fn expired_is_told_only_under_a_good_signature() {
    let old = json!({ "sub": "alice", "exp": NOW_S - 60 });
    let token = rsa(&header("RS256", "r"), &old);
    assert_eq!(ask(&one_of_each(), &token).await, Err(AuthError::Expired));
    let forged = hmac_by(b"x", &message(&header("HS256", "r"), &old));
    assert_eq!(ask(&one_of_each(), &forged).await, Err(Reason::Signature.into()));
    let (signed, _) = token.rsplit_once('.').unwrap();
    let forged = attach(signed, [7; 256]);
    assert_eq!(ask(&one_of_each(), &forged).await, Err(Reason::Signature.into()));
}

/// What an attacker knows of the RSA key, used as an HMAC secret.
fn confused() -> Vec<(&'static str, String)> {
    let (n, e) = rsa_parts();
    let der = RSA_DER.to_vec();
    let base64 = base64::Engine::encode(&base64::engine::general_purpose::STANDARD, &der);
    let pem = format!("-----BEGIN RSA PUBLIC KEY-----\n{base64}\n-----END RSA PUBLIC KEY-----\n");
    let message = message(&header("HS256", "r"), &claims());
    [
        ("the modulus", n.clone()),
        ("the modulus in base64", encode(&n).into_bytes()),
        ("modulus and exponent", [n, e].concat()),
        ("the DER", der),
        ("the PEM", pem.into_bytes()),
        ("the JWK", rsa_jwk("r").to_string().into_bytes()),
        ("the set", one_of_each().into_bytes()),
        ("the Ed25519 key", base64_of(&ed_jwk("d")["x"])),
    ]
    .map(|(name, key)| (name, hmac_by(&key, &message)))
    .into()
}

fn base64_of(value: &Value) -> Vec<u8> {
    base64::Engine::decode(&base64::engine::general_purpose::URL_SAFE_NO_PAD, value.as_str().unwrap())
        .unwrap()
}

static RSA_DER: std::sync::LazyLock<Vec<u8>> = std::sync::LazyLock::new(|| {
    use aws_lc_rs::signature::KeyPair as _;
    RSA.public_key().as_ref().to_vec()
});

#[tokio::test]
async fn no_public_key_is_an_hmac_secret() {
    for (name, token) in confused() {
        assert_eq!(ask(&one_of_each(), &token).await, Err(Reason::Signature.into()), "{name}");
        let file = TempFile::new(one_of_each());
        let alone = Authenticator::new(jwks_only(&file.0)).await.unwrap();
        assert_eq!(alone.verify(&token, NOW).await, Err(Reason::Algorithm.into()), "{name}");
    }
}

#[tokio::test]
async fn bad_tokens_for_a_key_set() {
    let other = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let good_rsa = rsa(&header("RS256", "r"), &claims());
    let (rsa_signed, _) = good_rsa.rsplit_once('.').unwrap();
    let r_s = es256(&header("ES256", "e"), &claims());
    let (ec_signed, _) = r_s.rsplit_once('.').unwrap();
    let jwk = ed_jwk_of(&other, "d");
    let embedded = json!({ "alg": "EdDSA", "kid": "d", "jwk": jwk });
    let far = json!({ "alg": "EdDSA", "kid": "x", "jku": "http://127.0.0.1:9/", "jwk": jwk });
    let table: Vec<(&str, Reason, String)> = vec![
        ("unknown kid", Reason::UnknownKey, rsa(&header("RS256", "x"), &claims())),
        ("empty kid", Reason::UnknownKey, rsa(&header("RS256", ""), &claims())),
        ("kid in another case", Reason::UnknownKey, rsa(&header("RS256", "R"), &claims())),
        ("kid with a space", Reason::UnknownKey, rsa(&header("RS256", "r "), &claims())),
        ("unknown kid, own jwk and jku", Reason::UnknownKey, eddsa_by(&other, &far, &claims())),
        ("known kid, own jwk", Reason::Signature, eddsa_by(&other, &embedded, &claims())),
        ("kid of another kind", Reason::Algorithm, rsa(&header("RS256", "e"), &claims())),
        ("kid of another kind", Reason::Algorithm, es256(&header("ES256", "d"), &claims())),
        ("kid of another kind", Reason::Algorithm, eddsa(&header("EdDSA", "r"), &claims())),
        ("RSA key as RS512", Reason::Algorithm, rsa_sha512(&header("RS512", "r"), &claims())),
        ("RSA key as PS256", Reason::Algorithm, rsa_pss(&header("PS256", "r"), &claims())),
        ("RSA key as none", Reason::Algorithm, rsa(&header("none", "r"), &claims())),
        ("EC key as ES384", Reason::Algorithm, es256(&header("ES384", "e"), &claims())),
        ("EC key as ES256K", Reason::Algorithm, es256(&header("ES256K", "e"), &claims())),
        ("EdDSA in another case", Reason::Algorithm, eddsa(&header("EDDSA", "d"), &claims())),
        ("SHA-512 as RS256", Reason::Signature, rsa_sha512(&header("RS256", "r"), &claims())),
        ("PSS as RS256", Reason::Signature, rsa_pss(&header("RS256", "r"), &claims())),
        ("ASN.1 as ES256", Reason::Signature, es256_asn1(&header("ES256", "e"), &claims())),
        ("P-384 as ES256", Reason::Signature, ec_by(&p384(), &header("ES256", "e"), &claims())),
        ("another key's EdDSA", Reason::Signature, eddsa_by(&other, &header("EdDSA", "d"), &claims())),
        ("zeros as RS256", Reason::Signature, attach(rsa_signed, [0; 256])),
        ("ones as RS256", Reason::Signature, attach(rsa_signed, [0xff; 256])),
        ("one as RS256", Reason::Signature, attach(rsa_signed, [1])),
        ("zeros as ES256", Reason::Signature, attach(ec_signed, [0; 64])),
        ("empty ES256", Reason::Malformed, format!("{ec_signed}.")),
        ("crit", Reason::Extension, rsa(&json!({"alg": "RS256", "kid": "r", "crit": ["x"]}), &claims())),
        ("no sub", Reason::Subject, eddsa(&header("EdDSA", "d"), &json!({ "exp": NOW_S + 1 }))),
        ("no exp", Reason::Expiry, es256(&header("ES256", "e"), &json!({ "sub": "alice" }))),
    ];
    for (name, reason, token) in table {
        assert_eq!(ask(&one_of_each(), &token).await, Err(reason.into()), "{name}");
    }
}

#[tokio::test]
async fn flipped_bits_of_each_kind() {
    let file = TempFile::new(one_of_each());
    let authenticator = Authenticator::new(jwks_only(&file.0)).await.unwrap();
    for good in [
        rsa(&header("RS256", "r"), &claims()),
        es256(&header("ES256", "e"), &claims()),
        eddsa(&header("EdDSA", "d"), &claims()),
    ] {
        authenticator.verify(&good, NOW).await.unwrap();
        for at in 0..good.len() {
            let mut bytes = good.clone().into_bytes();
            bytes[at] ^= 1 << (at % 7);
            let token = String::from_utf8(bytes).unwrap();
            authenticator.verify(&token, NOW).await.expect_err(&token);
        }
    }
}

#[tokio::test]
async fn which_keys_of_a_set_fit() {
    let other = aws_lc_rs::signature::Ed25519KeyPair::generate().unwrap();
    let other_jwk = ed_jwk_of(&other, "o");
    let token = eddsa(&header("EdDSA", "d"), &claims());
    let nameless = eddsa(&json!({ "alg": "EdDSA" }), &claims());
    let ok = Ok(Identity { user_id: alice(), expires_at: Timestamp((NOW_S + 600) * 1000) });
    let refused = |reason: Reason| Err(AuthError::Invalid(reason));
    let key = || ed_jwk("d");
    let table = [
        ("two of a kind, named", set(&[other_jwk.clone(), key()]), &token, ok.clone()),
        ("two of a kind, not named", set(&[other_jwk.clone(), key()]), &nameless, refused(Reason::NoKeyId)),
        ("none of the kind", set(&[rsa_jwk("r")]), &nameless, refused(Reason::Algorithm)),
        ("a key without a kid", set(&[without(key(), "kid")]), &nameless, ok.clone()),
        ("a key without a kid, named", set(&[without(key(), "kid")]), &token, refused(Reason::UnknownKey)),
        ("the same kid, other kind", set(&[rsa_jwk("d"), key()]), &token, ok.clone()),
        ("the same kid, same kind", set(&[ed_jwk_of(&other, "d"), key()]), &token, ok.clone()),
        ("its own alg", set(&[with(key(), "alg", json!("EdDSA"))]), &token, ok.clone()),
        ("for signatures", set(&[with(key(), "use", json!("sig"))]), &token, ok.clone()),
        ("for verifying", set(&[with(key(), "key_ops", json!(["sign", "verify"]))]), &token, ok.clone()),
        ("a strange one beside", set(&[json!({ "kty": 1 }), json!(null), key()]), &token, ok.clone()),
        ("an oct one beside", set(&[json!({"kty": "oct", "kid": "d", "k": "AAAA"}), key()]), &token, ok),
    ];
    for (name, set, token, expected) in table {
        assert_eq!(ask(&set, token).await, expected, "{name}");
    }
}

#[tokio::test]
async fn keys_that_are_not_usable() {
    let (n, e) = rsa_parts();
    let off_curve = with(ec_jwk("k"), "y", json!(encode([9; 32])));
    let short_x = with(ec_jwk("k"), "x", json!(encode([9; 31])));
    let table = [
        ("oct", json!({ "kty": "oct", "kid": "k", "alg": "HS256", "k": encode(SECRET) })),
        ("oct in RSA's guise", with(rsa_jwk("k"), "kty", json!("oct"))),
        ("alg HS256", with(rsa_jwk("k"), "alg", json!("HS256"))),
        ("alg PS256", with(rsa_jwk("k"), "alg", json!("PS256"))),
        ("alg of another kind", with(ec_jwk("k"), "alg", json!("RS256"))),
        ("alg unknown", with(ed_jwk("k"), "alg", json!("Ed448"))),
        ("alg for encryption", with(rsa_jwk("k"), "alg", json!("RSA-OAEP"))),
        ("use enc", with(rsa_jwk("k"), "use", json!("enc"))),
        ("use unknown", with(rsa_jwk("k"), "use", json!("SIG"))),
        ("key_ops sign", with(ed_jwk("k"), "key_ops", json!(["sign"]))),
        ("key_ops empty", with(ed_jwk("k"), "key_ops", json!([]))),
        ("key_ops a string", with(ed_jwk("k"), "key_ops", json!("verify"))),
        ("kid a number", with(ed_jwk("k"), "kid", json!(1))),
        ("RSA of 1024 bits", with(rsa_jwk("k"), "n", json!(encode(&n[..128])))),
        ("RSA of 2047 bits", with(rsa_jwk("k"), "n", json!(encode([&[0x7f], &n[1..]].concat())))),
        (
            "RSA of 1024 bits after zeros",
            with(rsa_jwk("k"), "n", json!(encode([&[0; 128], &n[..128]].concat()))),
        ),
        ("RSA of 16384 bits", with(rsa_jwk("k"), "n", json!(encode(n.repeat(8))))),
        ("RSA with an even n", with(rsa_jwk("k"), "n", json!(encode([&n[..255], &[0x10]].concat())))),
        ("RSA without e", without(rsa_jwk("k"), "e")),
        ("RSA with e = 1", with(rsa_jwk("k"), "e", json!(encode([1])))),
        ("RSA with e = 0", with(rsa_jwk("k"), "e", json!(encode([0])))),
        ("RSA with an even e", with(rsa_jwk("k"), "e", json!(encode([1, 0, 0])))),
        ("RSA with a huge e", with(rsa_jwk("k"), "e", json!(encode([e.clone(), e].concat())))),
        ("RSA not base64", with(rsa_jwk("k"), "n", json!("!!!"))),
        ("P-384", ec_jwk_of(&p384(), "P-384", "k")),
        ("P-384 as P-256", ec_jwk_of(&p384(), "P-256", "k")),
        ("EC without a curve", without(ec_jwk("k"), "crv")),
        ("EC off the curve", off_curve),
        ("EC with a short x", short_x),
        ("X25519", with(ed_jwk("k"), "crv", json!("X25519"))),
        ("Ed25519 of 31 bytes", with(ed_jwk("k"), "x", json!(encode([1; 31])))),
        ("kty in another case", with(rsa_jwk("k"), "kty", json!("rsa"))),
        ("no kty", without(rsa_jwk("k"), "kty")),
    ];
    for (name, jwk) in table {
        let file = TempFile::new(set(&[jwk]));
        let error = Authenticator::new(jwks_only(&file.0)).await.expect_err(name);
        let AuthSetupError::Jwks { source: JwksError::NoUsableKey { refused: 1 }, .. } = error else {
            panic!("{name}: {error:?}");
        };
    }
    // Against the letter of RFC 7518, but seen.
    let zero_before = with(rsa_jwk("r"), "n", json!(encode([&[0], n.as_slice()].concat())));
    ask(&set(&[zero_before]), &rsa(&header("RS256", "r"), &claims())).await.unwrap();
}

//! Tokens that a server must refuse, each of which differs from a good one in one thing.
//!
//! For a server that trusts the HS256 secret, with or without a JWKS beside it, and has neither an issuer nor
//! an audience configured. A name that begins with `expired` must be answered `token_expired`, any other
//! `unauthenticated`. Every token can stand in an HTTP header: printable ASCII, no space at either end.

use aws_lc_rs::hmac::{self, HMAC_SHA256, HMAC_SHA384, HMAC_SHA512};
use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair as _};
use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use serde_json::{Map, Value, json};

type Named = (&'static str, String);

/// What the bad ones differ from, as a control.
#[must_use]
pub fn good_token(secret: &[u8], user: &str, now_s: i64) -> String {
    Forge { secret, user, now_s }.good()
}

/// The bad ones, each with a name.
#[must_use]
pub fn bad_tokens(secret: &[u8], user: &str, now_s: i64) -> Vec<(&'static str, String)> {
    let forge = Forge { secret, user, now_s };
    [
        forge.bad_forms(),
        forge.bad_encodings(),
        forge.bad_json(),
        forge.bad_signatures(),
        forge.bad_algorithms(),
        forge.bad_keys(),
        forge.bad_headers(),
        forge.bad_expiries(),
        forge.bad_not_befores(),
        forge.bad_subjects(),
    ]
    .concat()
}

struct Forge<'a> {
    secret: &'a [u8],
    user: &'a str,
    now_s: i64,
}

fn encode(bytes: impl AsRef<[u8]>) -> String {
    URL_SAFE_NO_PAD.encode(bytes)
}

fn mac(algorithm: hmac::Algorithm, key: &[u8], message: &str) -> Vec<u8> {
    hmac::sign(&hmac::Key::new(algorithm, key), message.as_bytes()).as_ref().to_vec()
}

/// Signs what stands before the signature, as HS256 does.
fn seal(key: &[u8], message: &str) -> String {
    format!("{message}.{}", encode(mac(HMAC_SHA256, key, message)))
}

impl Forge<'_> {
    fn header(&self) -> Map<String, Value> {
        Map::from_iter([("alg".to_owned(), json!("HS256")), ("typ".to_owned(), json!("JWT"))])
    }

    fn claims(&self) -> Map<String, Value> {
        Map::from_iter([
            ("sub".to_owned(), json!(self.user)),
            ("iat".to_owned(), json!(self.now_s)),
            ("exp".to_owned(), json!(self.now_s.saturating_add(3600))),
        ])
    }

    /// Header and payload, not signed.
    fn message(&self, header: &Map<String, Value>, claims: &Map<String, Value>) -> String {
        format!("{}.{}", encode(json!(header).to_string()), encode(json!(claims).to_string()))
    }

    fn good_message(&self) -> String {
        self.message(&self.header(), &self.claims())
    }

    fn good(&self) -> String {
        seal(self.secret, &self.good_message())
    }

    fn good_signature(&self) -> Vec<u8> {
        mac(HMAC_SHA256, self.secret, &self.good_message())
    }

    /// The good message with another header field.
    fn headed(&self, name: &str, value: Value) -> String {
        let mut header = self.header();
        header.insert(name.to_owned(), value);
        self.message(&header, &self.claims())
    }

    fn with_header(&self, name: &str, value: Value) -> String {
        seal(self.secret, &self.headed(name, value))
    }

    fn with_claim(&self, name: &str, value: Value) -> String {
        let mut claims = self.claims();
        claims.insert(name.to_owned(), value);
        seal(self.secret, &self.message(&self.header(), &claims))
    }

    fn without_claim(&self, name: &str) -> String {
        let mut claims = self.claims();
        claims.remove(name);
        seal(self.secret, &self.message(&self.header(), &claims))
    }

    /// A payload of any bytes, well signed.
    fn with_payload(&self, payload: impl AsRef<[u8]>) -> String {
        seal(self.secret, &format!("{}.{}", encode(json!(self.header()).to_string()), encode(payload)))
    }

    /// A header of any bytes, well signed.
    fn with_head(&self, header: impl AsRef<[u8]>) -> String {
        seal(self.secret, &format!("{}.{}", encode(header), encode(json!(self.claims()).to_string())))
    }

    fn bad_forms(&self) -> Vec<Named> {
        let (good, message) = (self.good(), self.good_message());
        let signature = encode(self.good_signature());
        let (header, payload) = message.split_once('.').unwrap_or_default();
        let json_form = json!({ "protected": header, "payload": payload, "signature": signature });
        vec![
            ("empty", String::new()),
            ("a word", "null".to_owned()),
            ("one dot", ".".to_owned()),
            ("two dots", "..".to_owned()),
            ("only a header", header.to_owned()),
            ("no signature part", message.clone()),
            ("empty signature", format!("{message}.")),
            ("empty payload", seal(self.secret, &format!("{header}."))),
            ("empty header", seal(self.secret, &format!(".{payload}"))),
            ("dot before", format!(".{good}")),
            ("dot after", format!("{good}.")),
            ("double dot, well signed", seal(self.secret, &format!("{header}..{payload}"))),
            ("four parts, well signed", seal(self.secret, &format!("{message}.{payload}"))),
            ("five parts", format!("{header}.{payload}.{payload}.{payload}.{signature}")),
            ("twice", format!("{good}{good}")),
            ("two with a comma", format!("{good},{good}")),
            ("in quotes", format!("\"{good}\"")),
            ("scheme before", format!("Bearer {good}")),
            ("JSON serialization", json_form.to_string()),
            ("dots escaped", good.replace('.', "%2E")),
            ("cut in the middle", good.chars().take(good.len() / 2).collect()),
            ("huge", self.with_claim("filler", json!("x".repeat(10 * 1024)))),
            ("huge garbage", "A".repeat(20 * 1024)),
        ]
    }

    fn bad_encodings(&self) -> Vec<Named> {
        let (good, message) = (self.good(), self.good_message());
        let (_, payload) = message.split_once('.').unwrap_or_default();
        // Three equal bytes at any alignment: this gives a character of the other alphabet for sure.
        let odd_header = json!({ "alg": "HS256", "kid": "??????" }).to_string();
        // 25 bytes: one beyond a multiple of three, so that there is something to pad, and four bits left over.
        let short_header = r#"{"alg":"HS256","k":"12"} "#;
        let left_over = format!("{}B", encode(short_header).trim_end_matches('A'));
        vec![
            ("signature padded", format!("{good}=")),
            ("header padded", seal(self.secret, &format!("{}.{payload}", URL_SAFE.encode(short_header)))),
            ("bits left over in the header", seal(self.secret, &format!("{left_over}.{payload}"))),
            (
                "standard alphabet",
                seal(self.secret, &format!("{}.{payload}", STANDARD_NO_PAD.encode(odd_header))),
            ),
            ("signature not base64", format!("{message}.!!!!")),
            ("signature in hex", format!("{message}.{}", hex(&self.good_signature()))),
            ("space in the payload", seal(self.secret, &message.replacen('.', ". ", 1))),
            ("space before the signature", good.replacen(payload, &format!("{payload} "), 1)),
            ("payload not encoded", seal(self.secret, &self.unencoded(&self.header()))),
        ]
    }

    /// A message with its payload in clear. With a user of ours, whose name holds no dot.
    fn unencoded(&self, header: &Map<String, Value>) -> String {
        let claims = json!({ "sub": "a", "exp": self.now_s.saturating_add(3600) });
        format!("{}.{claims}", encode(json!(header).to_string()))
    }

    fn bad_json(&self) -> Vec<Named> {
        let claims = json!(self.claims()).to_string();
        let fields = claims.trim_start_matches('{');
        let later = self.now_s.saturating_add(7200);
        vec![
            ("header not JSON", self.with_head("alg=HS256")),
            ("header an array", self.with_head(r#"["alg","HS256"]"#)),
            ("header a string", self.with_head(r#""HS256""#)),
            ("header null", self.with_head("null")),
            ("header cut", self.with_head(r#"{"alg":"HS256""#)),
            ("header with garbage after", self.with_head(r#"{"alg":"HS256"}x"#)),
            ("header with a byte order mark", self.with_head("\u{feff}{\"alg\":\"HS256\"}")),
            ("header not UTF-8", self.with_head(b"{\"alg\":\"HS256\",\"x\":\"\xff\"}")),
            ("alg twice", self.with_head(r#"{"alg":"none","alg":"HS256"}"#)),
            ("payload not JSON", self.with_payload("sub=a")),
            ("payload an array", self.with_payload(format!("[{claims}]"))),
            ("payload a string", self.with_payload(json!(claims).to_string())),
            ("payload a number", self.with_payload("1")),
            ("payload with garbage after", self.with_payload(format!("{claims}x"))),
            ("payload two objects", self.with_payload(format!("{claims}{claims}"))),
            ("payload not UTF-8", self.with_payload(b"{\"sub\":\"\xc3\x28\",\"exp\":9999999999}")),
            ("payload nested too deep", self.with_payload("{\"a\":".repeat(1000))),
            ("payload a token", self.with_payload(self.good())),
            ("exp twice", self.with_payload(format!("{{\"exp\":{later},{fields}"))),
            ("sub twice", self.with_payload(format!("{{\"sub\":\"root\",{fields}"))),
            ("sub twice, once escaped", self.with_payload(format!("{{\"su\\u0062\":\"root\",{fields}"))),
        ]
    }

    fn bad_signatures(&self) -> Vec<Named> {
        let message = self.good_message();
        let signature = self.good_signature();
        let with = |signature: &[u8]| format!("{message}.{}", encode(signature));
        let flipped = |at: usize, bit: u8| {
            let flip = |(i, byte): (usize, &u8)| if i == at { byte ^ bit } else { *byte };
            with(&signature.iter().enumerate().map(flip).collect::<Vec<u8>>())
        };
        let resigned = |message: &str| format!("{message}.{}", encode(&signature));
        let mut root = self.claims();
        root.insert("sub".to_owned(), json!("root"));
        let mut longer = self.claims();
        longer.insert("exp".to_owned(), json!(self.now_s.saturating_add(7200)));
        vec![
            ("first bit of the signature", flipped(0, 0x80)),
            ("last bit of the signature", flipped(31, 0x01)),
            ("middle bit of the signature", flipped(16, 0x10)),
            ("another header under the signature", resigned(&self.headed("typ", json!("jwt")))),
            ("another sub under the signature", resigned(&self.message(&self.header(), &root))),
            ("a later exp under the signature", resigned(&self.message(&self.header(), &longer))),
            ("signature one byte short", with(&signature.iter().take(31).copied().collect::<Vec<u8>>())),
            ("signature of one byte", with(&signature.iter().take(1).copied().collect::<Vec<u8>>())),
            ("signature one byte long", with(&[signature.as_slice(), &[0]].concat())),
            ("signature twice", with(&signature.repeat(2))),
            ("signature of zeros", with(&[0; 32])),
            ("signature backwards", with(&signature.iter().rev().copied().collect::<Vec<u8>>())),
            ("signature of the payload alone", {
                let (_, payload) = message.split_once('.').unwrap_or_default();
                with(&mac(HMAC_SHA256, self.secret, payload))
            }),
        ]
    }

    fn bad_algorithms(&self) -> Vec<Named> {
        let unsigned = |name: &str| format!("{}.", self.headed("alg", json!(name)));
        let hmac_as = |name: &str| self.with_header("alg", json!(name));
        let sized = |name: &str, algorithm: hmac::Algorithm| {
            let message = self.headed("alg", json!(name));
            format!("{message}.{}", encode(mac(algorithm, self.secret, &message)))
        };
        let zeros_as = |name: &str, bytes: usize| {
            format!("{}.{}", self.headed("alg", json!(name)), encode(vec![0; bytes]))
        };
        vec![
            ("none", unsigned("none")),
            ("None", unsigned("None")),
            ("NONE", unsigned("NONE")),
            ("nOnE", unsigned("nOnE")),
            ("none with a good HMAC", hmac_as("none")),
            ("none with some signature", format!("{}.AAAA", self.headed("alg", json!("none")))),
            ("alg missing", self.with_head(r#"{"typ":"JWT"}"#)),
            ("alg null", self.with_header("alg", Value::Null)),
            ("alg a number", self.with_header("alg", json!(256))),
            ("alg an array", self.with_header("alg", json!(["HS256"]))),
            ("alg empty", hmac_as("")),
            ("alg in lower case", hmac_as("hs256")),
            ("alg with a space", hmac_as("HS256 ")),
            ("alg with a NUL", hmac_as("HS256\0")),
            ("alg unknown", hmac_as("HS1024")),
            ("HS384 with the secret", sized("HS384", HMAC_SHA384)),
            ("HS512 with the secret", sized("HS512", HMAC_SHA512)),
            ("HS256 with a SHA-512 HMAC", sized("HS256", HMAC_SHA512)),
            ("RS256 with an HMAC", hmac_as("RS256")),
            ("PS256 with an HMAC", hmac_as("PS256")),
            ("ES256 with an HMAC", hmac_as("ES256")),
            ("EdDSA with an HMAC", hmac_as("EdDSA")),
            ("ES256 with zeros", zeros_as("ES256", 64)),
            ("EdDSA with zeros", zeros_as("EdDSA", 64)),
            ("RS256 with zeros", zeros_as("RS256", 256)),
        ]
    }

    fn bad_keys(&self) -> Vec<Named> {
        let message = self.good_message();
        let encoded = encode(self.secret);
        let half: Vec<u8> = self.secret.iter().take(self.secret.len() / 2).copied().collect();
        vec![
            ("another secret", seal(b"another secret of more than 32 bytes!", &message)),
            ("no secret", seal(b"", &message)),
            ("the word secret", seal(b"secret", &message)),
            ("the secret with a newline", seal(&[self.secret, b"\n"].concat(), &message)),
            ("half the secret", seal(&half, &message)),
            ("the secret in base64", seal(encoded.as_bytes(), &message)),
            ("the secret in hex", seal(hex(self.secret).as_bytes(), &message)),
            ("kid of an empty file", seal(b"", &self.headed("kid", json!("../../../../dev/null")))),
            ("kid of an injected row", seal(b"x", &self.headed("kid", json!("' UNION SELECT 'x' --")))),
        ]
    }

    fn bad_headers(&self) -> Vec<Named> {
        let theirs = b"a secret that the attacker has made up";
        let oct = json!({ "kty": "oct", "alg": "HS256", "k": encode(theirs) });
        let mut unencoded = self.header();
        unencoded.insert("crit".to_owned(), json!(["b64"]));
        unencoded.insert("b64".to_owned(), json!(false));
        let mut bad = vec![
            ("crit b64, payload not encoded", seal(self.secret, &self.unencoded(&unencoded))),
            ("crit b64", self.with_header("crit", json!(["b64"]))),
            ("crit exp", self.with_header("crit", json!(["exp"]))),
            ("crit unknown", self.with_header("crit", json!(["urn:example:unknown"]))),
            ("crit empty", self.with_header("crit", json!([]))),
            ("crit null", self.with_header("crit", Value::Null)),
            ("crit a string", self.with_header("crit", json!("exp"))),
            ("b64 false", self.with_header("b64", json!(false))),
            ("b64 a string", self.with_header("b64", json!("false"))),
            ("kid a number", self.with_header("kid", json!(1))),
            ("kid null", self.with_header("kid", Value::Null)),
            ("kid an array", self.with_header("kid", json!(["a"]))),
            ("jwk with its own secret", seal(theirs, &self.headed("jwk", oct))),
            ("jku of another", seal(theirs, &self.headed("jku", json!("http://127.0.0.1:9/jwks")))),
            ("x5u of another", seal(theirs, &self.headed("x5u", json!("http://127.0.0.1:9/x5u")))),
            ("x5c of another", seal(theirs, &self.headed("x5c", json!(["AAAA"])))),
        ];
        if let Ok(pair) = Ed25519KeyPair::generate() {
            let x = encode(pair.public_key());
            let jwk = json!({ "kty": "OKP", "crv": "Ed25519", "alg": "EdDSA", "x": x });
            let header = json!({ "alg": "EdDSA", "jwk": jwk }).to_string();
            let message = format!("{}.{}", encode(header), encode(json!(self.claims()).to_string()));
            let signature = pair.sign(message.as_bytes());
            bad.push(("jwk with its own EdDSA key", format!("{message}.{}", encode(signature.as_ref()))));
        }
        bad
    }

    fn bad_expiries(&self) -> Vec<Named> {
        let exp = |value: Value| self.with_claim("exp", value);
        let later = self.now_s.saturating_add(3600);
        vec![
            ("exp missing", self.without_claim("exp")),
            ("exp null", exp(Value::Null)),
            ("exp a string", exp(json!(later.to_string()))),
            ("exp a date", exp(json!("2099-01-01T00:00:00Z"))),
            ("exp true", exp(json!(true))),
            ("exp an array", exp(json!([later]))),
            ("exp an object", exp(json!({ "$date": later }))),
            ("exp negative", exp(json!(-1))),
            ("exp far negative", exp(json!(i64::MIN))),
            ("exp a negative fraction", exp(json!(-0.5))),
            ("exp 1e300", exp(json!(1e300))),
            ("exp 1e400", self.with_payload(format!(r#"{{"sub":"a","exp":1e{}}}"#, 400))),
            ("exp of 19 digits", exp(json!(i64::MAX))),
            ("exp of 20 digits", exp(json!(u64::MAX))),
            ("exp in milliseconds", exp(json!(later.saturating_mul(1000)))),
            ("exp under another case", {
                let claims = json!({ "sub": self.user, "EXP": later, "Exp": later });
                self.with_payload(claims.to_string())
            }),
            ("expired in 1970", exp(json!(0))),
            ("expired an hour ago", exp(json!(self.now_s.saturating_sub(3600)))),
            ("expired beyond the leeway", exp(json!(self.now_s.saturating_sub(6)))),
        ]
    }

    fn bad_not_befores(&self) -> Vec<Named> {
        let nbf = |value: Value| self.with_claim("nbf", value);
        vec![
            ("nbf in an hour", nbf(json!(self.now_s.saturating_add(3600)))),
            ("nbf in a minute", nbf(json!(self.now_s.saturating_add(60)))),
            ("nbf 1e300", nbf(json!(1e300))),
            ("nbf of 20 digits", nbf(json!(u64::MAX))),
            ("nbf in milliseconds", nbf(json!(self.now_s.saturating_mul(1000)))),
            ("nbf a string", nbf(json!(self.now_s.to_string()))),
            ("nbf null", nbf(Value::Null)),
            ("nbf false", nbf(json!(false))),
        ]
    }

    fn bad_subjects(&self) -> Vec<Named> {
        let sub = |value: Value| self.with_claim("sub", value);
        let later = self.now_s.saturating_add(3600);
        vec![
            ("sub missing", self.without_claim("sub")),
            ("sub null", sub(Value::Null)),
            ("sub empty", sub(json!(""))),
            ("sub a number", sub(json!(42))),
            ("sub true", sub(json!(true))),
            ("sub an array", sub(json!([self.user]))),
            ("sub an object", sub(json!({ "id": self.user }))),
            ("sub of 129 bytes", sub(json!("a".repeat(129)))),
            ("sub of 65 two-byte characters", sub(json!("é".repeat(65)))),
            ("sub with a NUL", sub(json!("a\0b"))),
            ("sub with a newline", sub(json!("a\nb"))),
            ("sub with a DEL", sub(json!("a\u{7f}"))),
            ("sub with an escape", sub(json!("\u{1b}[31mroot"))),
            ("sub with a C1 control", sub(json!("a\u{85}b"))),
            ("sub with a line separator", sub(json!("a\u{2028}b"))),
            ("sub with a byte order mark", sub(json!("\u{feff}a"))),
            (
                "sub with half a surrogate pair",
                self.with_payload(format!(r#"{{"sub":"\ud800","exp":{later}}}"#)),
            ),
            (
                "sub under another case",
                self.with_payload(json!({ "SUB": self.user, "exp": later }).to_string()),
            ),
        ]
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

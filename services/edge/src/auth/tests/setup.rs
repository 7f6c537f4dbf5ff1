//! Bad configuration, and what is never shown.

use std::error::Error as _;

use super::*;

async fn refused(options: AuthOptions) -> AuthSetupError {
    Authenticator::new(options).await.expect_err("a setup error")
}

async fn refused_url(url: &str) -> JwksError {
    let options = AuthOptions { jwks: Some(JwksSource::parse(url)), ..AuthOptions::default() };
    jwks_error(refused(options).await)
}

fn jwks_error(error: AuthSetupError) -> JwksError {
    let AuthSetupError::Jwks { source, .. } = error else {
        panic!("{error:?}");
    };
    source
}

#[tokio::test]
async fn options_out_of_range() {
    assert!(matches!(refused(AuthOptions::default()).await, AuthSetupError::NoKey));
    for secret in [&SECRET[..31], b""] {
        let options = AuthOptions { hs256_secret: Some(Secret::new(secret)), ..AuthOptions::default() };
        assert!(matches!(refused(options).await, AuthSetupError::ShortSecret));
    }
    let options = AuthOptions { leeway_s: 6, ..secret_only() };
    assert!(matches!(refused(options).await, AuthSetupError::LongLeeway));
    let options = AuthOptions { issuer: Some(String::new()), ..secret_only() };
    assert!(matches!(refused(options).await, AuthSetupError::EmptyIssuer));
    let options = AuthOptions { audience: Some(String::new()), ..secret_only() };
    assert!(matches!(refused(options).await, AuthSetupError::EmptyAudience));
}

#[tokio::test]
async fn files_that_are_no_key_set() {
    let error = refused(jwks_only(Path::new("/nowhere/jwks.json"))).await;
    assert_eq!(error.to_string(), "can't read the keys of auth.jwks, /nowhere/jwks.json");
    assert_eq!(error.source().unwrap().to_string(), "can't read the file");
    assert!(error.source().unwrap().source().is_some());
    let read = async |content: &[u8]| jwks_error(refused(jwks_only(&TempFile::new(content).0)).await);
    assert!(matches!(read(b"").await, JwksError::NotJson(_)));
    assert!(matches!(read(b"-----BEGIN PUBLIC KEY-----").await, JwksError::NotJson(_)));
    for content in [&b"[]"[..], b"{}", b"null", b"{\"keys\":{}}", b"{\"keys\":\"\"}"] {
        assert!(matches!(read(content).await, JwksError::NotKeySet));
    }
    assert!(matches!(read(b"{\"keys\":[]}").await, JwksError::NoUsableKey { refused: 0 }));
    let mut padded = keys::one_of_each().into_bytes();
    padded.resize(256 * 1024, b' ');
    assert!(Authenticator::new(jwks_only(&TempFile::new(&padded).0)).await.is_ok());
    padded.push(b' ');
    assert!(matches!(read(&padded).await, JwksError::TooLarge));
}

#[tokio::test]
async fn urls_that_anybody_could_answer() {
    for url in [
        "http://example.com/jwks",
        "http://10.0.0.1/jwks",
        "http://0.0.0.0/jwks",
        "http://127.0.0.1.example.com/jwks",
        "http://localhost.example.com/jwks",
        "http://localhost@example.com/jwks",
        "http://[2001:db8::1]/jwks",
        "ftp://127.0.0.1/jwks",
        "file:///etc/passwd",
    ] {
        assert!(matches!(refused_url(url).await, JwksError::InsecureUrl), "{url}");
    }
    assert!(matches!(refused_url("https://").await, JwksError::BadUrl));
    // Allowed, but nobody listens there.
    for url in ["http://127.0.0.1:1/", "http://127.8.9.1:1/", "http://localhost:1/", "http://[::1]:1/"] {
        assert!(matches!(refused_url(url).await, JwksError::Fetch(_)), "{url}");
    }
}

#[test]
fn a_source_is_a_url_or_a_file() {
    assert_eq!(JwksSource::parse("/etc/jwks.json"), JwksSource::File("/etc/jwks.json".into()));
    assert_eq!(JwksSource::parse("jwks.json"), JwksSource::File("jwks.json".into()));
    assert_eq!(JwksSource::parse("https://a/b"), JwksSource::Url("https://a/b".to_owned()));
}

#[tokio::test]
async fn nothing_secret_is_shown() {
    let options = AuthOptions { jwks: Some(JwksSource::File("x".into())), ..secret_only() };
    assert!(!format!("{options:?}").contains("0123"));
    let secret = Secret::new(SECRET);
    assert_eq!(format!("{secret:?} {secret} {:?}", Some(&secret)), "[secret] [secret] Some([secret])");
    let authenticator = Authenticator::new(secret_only()).await.unwrap();
    let shown = format!("{authenticator:?}");
    assert!(!shown.contains("0123") && !shown.contains("48, 49"), "{shown}");
    let url = "http://root:hunter2@127.0.0.1:1/jwks?key=hunter2#hunter2";
    let options = AuthOptions { jwks: Some(JwksSource::parse(url)), ..AuthOptions::default() };
    let error = refused(options).await;
    let mut chain = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        chain = format!("{chain}: {error}");
        cause = error.source();
    }
    assert!(chain.contains("http://127.0.0.1:1/jwks"), "{chain}");
    assert!(!chain.contains("hunter2") && !format!("{error:?}").contains("hunter2"), "{chain} {error:?}");
}

//! At the finest log level, no signed URL and no secret gets into the log. A process of its own: the log is global.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "a test fails by panic"
)]

use std::io::Write;
use std::sync::{Arc, Mutex};
use std::time::{Duration, UNIX_EPOCH};

use http::Request;
use parley_domain::Timestamp;
use parley_media::MediaStore as _;
use parley_media::conformance::Case;
use parley_media::providers::embedded::{EmbeddedMedia, EmbeddedOptions};

#[derive(Clone, Default)]
struct Log(Arc<Mutex<Vec<u8>>>);

impl Write for Log {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
#[allow(clippy::disallowed_methods, reason = "a test is the rim")]
async fn signed_urls_and_secrets_stay_out_of_the_log() {
    let log = Log::default();
    let writer = log.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_ansi(false)
        .with_writer(move || writer.clone())
        .with_span_events(tracing_subscriber::fmt::format::FmtSpan::FULL)
        .init();
    let dir = tempfile::tempdir().unwrap();
    let options = EmbeddedOptions {
        public_url: "http://127.0.0.1:1".to_owned(),
        bytes_max: 1000,
        clock: Arc::new(|| {
            let now = std::time::SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
            Timestamp(now.as_millis().try_into().unwrap())
        }),
    };
    let media = EmbeddedMedia::open(dir.path(), options).unwrap();
    let case = Case::new("image/png", "x");
    let put = case.sign(&media).await.unwrap();
    let upload = media.presign_upload(&case.claims, Duration::from_secs(60)).await.unwrap();
    let download =
        media.presign_download(case.claims.media_id, "image/png", Duration::from_secs(60)).await.unwrap();
    tracing::info!(?upload, ?download, "as a careless caller would");
    for request in [put.request.clone(), put.request, Request::get(&download.url).body("".into()).unwrap()] {
        let mut request = request.map(http_body_util::Full::new);
        let host = request.uri().authority().unwrap().as_str().parse().unwrap();
        request.headers_mut().insert("host", host);
        let status = media.service().handle(request).await.status();
        tracing::info!(%status, "answered");
    }
    media.look(case.claims.media_id).await.unwrap().unwrap();
    // Our own trouble must be seen, though.
    std::fs::write(dir.path().join("objects").join(case.claims.media_id.to_string()), "damaged").unwrap();
    media.look(case.claims.media_id).await.unwrap_err();

    let log = String::from_utf8(log.0.lock().unwrap().clone()).unwrap();
    assert!(log.contains("object store request"), "the log works");
    assert!(log.contains("status=200 OK") && log.contains("status=412"));
    assert!(log.contains("can't use its files"));
    let credentials = std::fs::read_to_string(dir.path().join("credentials.json")).unwrap();
    let secret = credentials.split('"').nth(7).unwrap();
    assert_eq!(secret.len(), 43);
    let signature = upload.url.split("X-Amz-Signature=").nth(1).unwrap();
    for (what, text) in [("a secret", secret), ("a URL", "X-Amz-Signature="), ("a signature", signature)] {
        let lines: Vec<_> = log.lines().filter(|line| line.contains(text)).collect();
        assert!(lines.is_empty(), "{what} in the log: {lines:?}");
    }
}

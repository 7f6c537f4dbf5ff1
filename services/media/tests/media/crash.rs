//! Broken connections, crashes and damaged files: an object is there whole or not at all.

use std::fs;
use std::path::Path;
use std::time::Duration;

use futures::StreamExt as _;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use parley_domain::UserId;
use parley_media::conformance::{Case, Http as _, Put};
use parley_media::{Error, MediaStore as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{BYTES_MAX, Harness, now, open};

fn entries(dir: &Path, name: &str) -> usize {
    fs::read_dir(dir.join(name)).unwrap().count()
}

/// Waits until a condition holds, or gives up.
async fn eventually(what: &str, holds: impl Fn() -> bool) {
    for _ in 0..500 {
        if holds() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("never: {what}");
}

/// Sends the head of an upload and a part of its bytes.
async fn begin(harness: &Harness, put: &Put, bytes: usize) -> TcpStream {
    let uri = put.request.uri();
    let mut head = format!("PUT {} HTTP/1.1\r\nhost: {}\r\n", uri.path_and_query().unwrap(), harness.address);
    for (name, value) in put.request.headers() {
        head += &format!("{name}: {}\r\n", value.to_str().unwrap());
    }
    let mut socket = TcpStream::connect(harness.address).await.unwrap();
    socket.write_all(format!("{head}\r\n").as_bytes()).await.unwrap();
    socket.write_all(&put.request.body()[..bytes]).await.unwrap();
    socket.flush().await.unwrap();
    socket
}

#[tokio::test]
async fn half_an_upload_is_no_object() {
    let harness = Harness::start().await;
    let dir = harness.dir.path();
    let case = Case::new("image/png", vec![1; 400_000]);
    let put = case.sign(&harness.media).await.unwrap();
    let mut socket = begin(&harness, &put, 200_000).await;
    eventually("an upload under way", || entries(dir, "uploads") == 1).await;
    // Invisible while it goes on …
    assert_eq!(harness.media.look(case.claims.media_id).await.unwrap(), None);
    let get = case.get(&harness.media).await.unwrap();
    assert_eq!(harness.http.send(get).await.unwrap().status(), StatusCode::NOT_FOUND);
    // … and gone when the connection breaks.
    socket.shutdown().await.unwrap();
    drop(socket);
    eventually("a cut off upload is cleared away", || entries(dir, "uploads") == 0).await;
    assert_eq!(harness.media.look(case.claims.media_id).await.unwrap(), None);
    assert_eq!(entries(dir, "objects"), 0);
    // The same URL may be used again, and now to the end.
    let mut socket = begin(&harness, &put, 400_000).await;
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert_eq!((entries(dir, "uploads"), entries(dir, "objects")), (0, 1));
}

#[tokio::test]
async fn refused_uploads_leave_no_files() {
    let harness = Harness::start().await;
    let dir = harness.dir.path();
    let case = Case::new("image/png", vec![1; 100_000]);
    let put = case.sign(&harness.media).await.unwrap();
    let status = put.clone().with_bytes(vec![2; 100_000]).send(&harness.http).await.unwrap().status();
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert_eq!((entries(dir, "uploads"), entries(dir, "objects")), (0, 0));
    assert_eq!(put.clone().send(&harness.http).await.unwrap().status(), StatusCode::OK);
    assert_eq!(put.send(&harness.http).await.unwrap().status(), StatusCode::PRECONDITION_FAILED);
    assert_eq!((entries(dir, "uploads"), entries(dir, "objects")), (0, 1));
}

#[tokio::test]
async fn a_large_repeat_gets_its_answer() {
    let harness = Harness::start().await;
    let case = Case::new("video/mp4", vec![1; usize::try_from(BYTES_MAX).unwrap()]);
    case.upload(&harness.media, &harness.http).await.unwrap();
    // Many clients send all of it before they read; they must see 412, not a broken pipe.
    let put = case.sign(&harness.media).await.unwrap();
    let mut socket = begin(&harness, &put, case.bytes.len()).await;
    let mut answer = [0; 12];
    socket.read_exact(&mut answer).await.unwrap();
    assert_eq!(&answer, b"HTTP/1.1 412");
}

#[tokio::test]
async fn too_many_uploads_at_once_are_told_to_wait() {
    let harness = Harness::start().await;
    let mut sockets = Vec::new();
    for number in 0..64 {
        let mut case = Case::new("image/png", vec![1; 100]);
        case.claims.uploader = UserId::parse(&format!("user{}", number / 8)).unwrap();
        sockets.push(begin(&harness, &case.sign(&harness.media).await.unwrap(), 10).await);
    }
    eventually("64 uploads under way", || entries(harness.dir.path(), "uploads") == 64).await;
    let case = Case::new("image/png", vec![1; 100]);
    let put = case.sign(&harness.media).await.unwrap();
    let status = put.clone().send(&harness.http).await.unwrap().status();
    assert_eq!(status, StatusCode::SERVICE_UNAVAILABLE);
    drop(sockets);
    eventually("they are gone", || entries(harness.dir.path(), "uploads") == 0).await;
    assert_eq!(put.send(&harness.http).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn what_was_acknowledged_survives_a_restart_and_what_was_not_goes() {
    let harness = Harness::start().await;
    let case = Case::new("image/png", vec![1; 1000]);
    case.upload(&harness.media, &harness.http).await.unwrap();
    let get = case.get(&harness.media).await.unwrap();
    let before = harness.media.look(case.claims.media_id).await.unwrap();
    // As a crash in mid-upload leaves it.
    fs::write(harness.dir.path().join("uploads/17"), "PMO1 half of it").unwrap();

    // The lock goes with a process, and this one goes on.
    fs::remove_file(harness.dir.path().join("media.lock")).unwrap();
    let media = open(harness.dir.path(), harness.address, now());
    assert_eq!(entries(harness.dir.path(), "uploads"), 0);
    assert_eq!(media.look(case.claims.media_id).await.unwrap(), before);
    // URLs from before stay good: the credentials are the same.
    assert_eq!(harness.http.send(get).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_no_object() {
    let harness = Harness::start().await;
    let case = Case::new("image/png", vec![1; 1000]);
    case.upload(&harness.media, &harness.http).await.unwrap();
    let path = harness.dir.path().join("objects").join(case.claims.media_id.to_string());
    let whole = fs::read(&path).unwrap();
    let mut other_magic = whole.clone();
    other_magic[0] ^= 1;
    let mut other_length = whole.clone();
    other_length[4..8].copy_from_slice(&u32::MAX.to_le_bytes());
    for damaged in
        [&whole[..0], &whole[..6], &whole[..50], &whole[..whole.len() - 1], &other_magic, &other_length]
    {
        fs::write(&path, damaged).unwrap();
        let looked = harness.media.look(case.claims.media_id).await;
        assert!(matches!(looked, Err(Error::Unavailable { .. })), "{looked:?}");
        let get = case.get(&harness.media).await.unwrap();
        let answer = harness.http.send(get).await.unwrap();
        assert_eq!(answer.status(), StatusCode::INTERNAL_SERVER_ERROR);
        assert!(!String::from_utf8_lossy(answer.body()).contains("object file"), "no insides for clients");
    }
    fs::write(&path, &whole).unwrap();
    assert!(harness.media.look(case.claims.media_id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_second_process_on_the_directory_is_refused() {
    let harness = Harness::start().await;
    let options = || parley_media::providers::embedded::EmbeddedOptions {
        public_url: "http://127.0.0.1:1".into(),
        bytes_max: 1,
        clock: std::sync::Arc::new(|| parley_domain::Timestamp(0)),
    };
    let path = harness.dir.path().to_owned();
    let uploads = path.join("uploads");
    fs::write(uploads.join("0"), "under way").unwrap();
    let second = parley_media::providers::embedded::EmbeddedMedia::open(&path, options());
    assert!(matches!(second, Err(Error::File { .. })));
    assert_eq!(entries(&path, "uploads"), 1, "what the first has under way stays");
}

#[tokio::test]
async fn ready_says_when_the_directory_is_gone() {
    let harness = Harness::start().await;
    harness.media.ready().await.unwrap();
    fs::remove_dir(harness.dir.path().join("uploads")).unwrap();
    harness.media.ready().await.unwrap_err();
    let put = Case::new("image/png", "x").sign(&harness.media).await.unwrap();
    assert_eq!(put.send(&harness.http).await.unwrap().status(), StatusCode::INTERNAL_SERVER_ERROR);
    let get = Request::get(format!("http://{}/healthz", harness.address)).body(Default::default()).unwrap();
    assert_eq!(harness.http.send(get).await.unwrap().status(), StatusCode::OK);
}

#[tokio::test(start_paused = true)]
async fn a_client_that_falls_silent_is_given_up() {
    let harness = Harness::start().await;
    let case = Case::new("image/png", vec![1; 100]);
    let put = case.sign(&harness.media).await.unwrap();
    let (mut parts, bytes) = put.request.into_parts();
    parts.headers.insert("host", harness.address.to_string().parse().unwrap());
    let first = Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes.slice(..50)));
    let body =
        http_body_util::StreamBody::new(futures::stream::iter([first]).chain(futures::stream::pending()));
    let answer = harness.media.service().handle(Request::from_parts(parts, body)).await;
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    let body = answer.into_body().collect().await.unwrap().to_bytes();
    assert!(String::from_utf8_lossy(&body).contains("RequestTimeout"));
    assert_eq!((entries(harness.dir.path(), "uploads"), entries(harness.dir.path(), "objects")), (0, 0));
}

#[tokio::test]
async fn a_body_without_end_is_cut_where_it_should_end() {
    let harness = Harness::start().await;
    let case = Case::new("image/png", vec![1; 100]);
    let put = case.sign(&harness.media).await.unwrap();
    let (mut parts, bytes) = put.request.into_parts();
    parts.headers.insert("host", harness.address.to_string().parse().unwrap());
    let chunks = futures::stream::repeat_with(move || {
        Ok::<_, std::io::Error>(hyper::body::Frame::data(bytes.clone()))
    });
    let request = Request::from_parts(parts, http_body_util::StreamBody::new(chunks));
    let service = harness.media.service();
    let answer = tokio::time::timeout(Duration::from_secs(10), service.handle(request)).await.unwrap();
    assert_eq!(answer.status(), StatusCode::BAD_REQUEST);
    assert_eq!((entries(harness.dir.path(), "uploads"), entries(harness.dir.path(), "objects")), (0, 0));
}

//! Requests with a correct signature that the server must refuse all the same, and some with none.

use std::time::Duration;

use aws_sdk_s3::Client;
use aws_sdk_s3::config::{BehaviorVersion, Credentials, Region, RequestChecksumCalculation};
use aws_sdk_s3::operation::put_object::builders::PutObjectFluentBuilder;
use aws_sdk_s3::presigning::{PresignedRequest, PresigningConfig};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::{Request, Response, StatusCode};
use http_body_util::BodyExt as _;
use parley_media::MediaStore as _;
use parley_media::conformance::{Case, Http as _};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

use crate::harness::{BYTES_MAX, Harness, ago};

const MINUTE: Duration = Duration::from_secs(60);

/// A client with the server's own secret, which nobody outside has.
fn insider(harness: &Harness) -> Client {
    let file = std::fs::read(harness.dir.path().join("credentials.json")).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&file).unwrap();
    let text = |key: &str| json[key].as_str().unwrap().to_owned();
    let credentials = Credentials::new(text("access_key_id"), text("secret_access_key"), None, None, "test");
    Client::from_conf(
        aws_sdk_s3::Config::builder()
            .behavior_version(BehaviorVersion::latest())
            .region(Region::new("us-east-1"))
            .endpoint_url(format!("http://{}", harness.address))
            .force_path_style(true)
            .request_checksum_calculation(RequestChecksumCalculation::WhenRequired)
            .credentials_provider(credentials)
            .build(),
    )
}

fn minute() -> PresigningConfig {
    PresigningConfig::expires_in(MINUTE).unwrap()
}

/// Everything that the server asks for.
fn complete(client: &Client, case: &Case, key: &str) -> PutObjectFluentBuilder {
    client
        .put_object()
        .bucket("parley-media")
        .key(key)
        .content_type(&case.claims.content_type)
        .content_length(case.bytes.len().try_into().unwrap())
        .checksum_sha256(STANDARD.encode(case.claims.sha256))
        .if_none_match("*")
        .metadata("parley-group", case.claims.group_id.to_string())
        .metadata("parley-uploader", "eA")
}

async fn send(harness: &Harness, signed: &PresignedRequest, body: Bytes) -> Response<Bytes> {
    let mut request = Request::builder().method(signed.method()).uri(signed.uri());
    for (name, value) in signed.headers() {
        request = request.header(name, value);
    }
    harness.http.send(request.body(body).unwrap()).await.unwrap()
}

#[tokio::test]
async fn a_signature_must_cover_all_of_the_upload() {
    let harness = Harness::start().await;
    let client = insider(&harness);
    type Drop = fn(PutObjectFluentBuilder) -> PutObjectFluentBuilder;
    let left_out: [(&str, Option<Drop>); 7] = [
        ("nothing", None),
        ("content-type", Some(|put| put.set_content_type(None))),
        ("content-length", Some(|put| put.set_content_length(None))),
        ("x-amz-checksum-sha256", Some(|put| put.set_checksum_sha256(None))),
        ("if-none-match", Some(|put| put.set_if_none_match(None))),
        ("metadata", Some(|put| put.set_metadata(None))),
        (
            "any of it",
            Some(|put| {
                put.set_content_type(None)
                    .set_content_length(None)
                    .set_checksum_sha256(None)
                    .set_if_none_match(None)
                    .set_metadata(None)
            }),
        ),
    ];
    for (what, drop) in left_out {
        let case = Case::new("image/png", vec![1; 50]);
        let put = complete(&client, &case, &case.claims.media_id.to_string());
        let put = match drop {
            Some(drop) => drop(put),
            None => put,
        };
        let signed = put.presigned(minute()).await.unwrap();
        let mut request = Request::put(signed.uri()).header("content-length", 50);
        // What isn't signed is sent all the same.
        for (name, value) in [
            ("content-type", "image/png".to_owned()),
            ("if-none-match", "*".to_owned()),
            ("x-amz-checksum-sha256", STANDARD.encode(case.claims.sha256)),
            ("x-amz-meta-parley-group", case.claims.group_id.to_string()),
            ("x-amz-meta-parley-uploader", "eA".to_owned()),
        ] {
            request = request.header(name, value);
        }
        let answer = harness.http.send(request.body(case.bytes.clone()).unwrap()).await.unwrap();
        let expected = if what == "nothing" { StatusCode::OK } else { StatusCode::FORBIDDEN };
        assert_eq!(answer.status(), expected, "left out {what}: {:?}", answer.body());
        let there = harness.media.look(case.claims.media_id).await.unwrap().is_some();
        assert_eq!(there, what == "nothing", "left out {what}");
    }
}

#[tokio::test]
async fn a_signed_upload_may_still_be_too_large_or_nonsense() {
    let harness = Harness::start().await;
    let client = insider(&harness);
    let case = Case::new("image/png", vec![1; 50]);
    let key = case.claims.media_id.to_string();
    let too_long = i64::try_from(BYTES_MAX).unwrap() + 1;
    for (put, status, code) in [
        (complete(&client, &case, &key).content_length(too_long), 400, "EntityTooLarge"),
        (complete(&client, &case, &key).checksum_sha256("bm90IGEgc2hhMjU2"), 400, "InvalidRequest"),
        (complete(&client, &case, &key).checksum_sha256("?"), 400, "InvalidRequest"),
        (complete(&client, &case, &key).content_type("image"), 400, "InvalidArgument"),
        (complete(&client, &case, &key).content_type("text/plain;  a=b"), 400, "InvalidArgument"),
        (complete(&client, &case, &key).if_none_match("\"etag\""), 400, "InvalidRequest"),
    ] {
        let signed = put.presigned(minute()).await.unwrap();
        let length = signed.headers().find(|(name, _)| *name == "content-length").unwrap().1.parse().unwrap();
        let answer = send(&harness, &signed, vec![1; length].into()).await;
        assert_eq!(answer.status(), status, "{:?}", answer.body());
        assert!(String::from_utf8_lossy(answer.body()).contains(code), "{code}: {:?}", answer.body());
        assert_eq!(harness.media.look(case.claims.media_id).await.unwrap(), None);
    }
}

#[tokio::test]
async fn a_key_is_a_media_id_and_nothing_else() {
    let harness = Harness::start().await;
    let client = insider(&harness);
    let case = Case::new("image/png", vec![1; 50]);
    let id = case.claims.media_id;
    for key in [
        "x".to_owned(),
        "../credentials.json".to_owned(),
        "../../../../tmp/parley-escaped".to_owned(),
        format!("../objects/{id}"),
        format!("{id}/"),
        format!("{id}/{id}"),
        format!("/{id}"),
        format!("./{id}"),
        id.to_string().to_uppercase(),
        id.0.simple().to_string(),
        id.0.braced().to_string(),
        format!("{id}\0"),
    ] {
        let signed = complete(&client, &case, &key).presigned(minute()).await.unwrap();
        let status = send(&harness, &signed, case.bytes.clone()).await.status();
        assert!(status.is_client_error(), "PUT {key:?}: {status}");
        let signed = client.get_object().bucket("parley-media").key(&key).presigned(minute()).await.unwrap();
        let status = send(&harness, &signed, Bytes::new()).await.status();
        assert!(status.is_client_error(), "GET {key:?}: {status}");
    }
    assert_eq!(std::fs::read_dir(harness.dir.path().join("objects")).unwrap().count(), 0);
    assert!(!std::path::Path::new("/tmp/parley-escaped").exists());
}

#[tokio::test]
async fn other_operations_are_refused_even_when_signed() {
    let harness = Harness::start().await;
    let client = insider(&harness);
    let case = Case::new("image/png", vec![1; 50]);
    case.upload(&harness.media, &harness.http).await.unwrap();
    let (bucket, key) = ("parley-media", case.claims.media_id.to_string());
    let other = Case::new("image/png", "").claims.media_id;
    for (what, method, path, copied) in [
        ("list", "GET", format!("{bucket}?list-type=2"), false),
        ("list with a slash", "GET", format!("{bucket}/?list-type=2"), false),
        ("list, older", "GET", bucket.to_owned(), false),
        ("list buckets", "GET", String::new(), false),
        ("uploads under way", "GET", format!("{bucket}?uploads="), false),
        ("acl", "GET", format!("{bucket}/{key}?acl="), false),
        ("tags", "GET", format!("{bucket}/{key}?tagging="), false),
        ("attributes", "GET", format!("{bucket}/{key}?attributes="), false),
        ("part", "PUT", format!("{bucket}/{other}?partNumber=1&uploadId=u"), false),
        ("set acl", "PUT", format!("{bucket}/{key}?acl="), false),
        ("set policy", "PUT", format!("{bucket}?policy="), false),
        ("make a bucket", "PUT", "other-bucket".to_owned(), false),
        ("copy", "PUT", format!("{bucket}/{other}"), true),
        ("delete", "DELETE", format!("{bucket}/{key}"), false),
        ("begin parts", "POST", format!("{bucket}/{other}?uploads="), false),
    ] {
        let url = format!("http://{}/{path}", harness.address);
        let source = format!("{bucket}/{key}");
        // The SDK signs what it sends, whatever we make of its request.
        let put = complete(&client, &case, &key).customize().mutate_request(move |request| {
            request.set_method(method).unwrap();
            request.set_uri(url.clone()).unwrap();
            if copied {
                request.headers_mut().insert("x-amz-copy-source", source.clone());
            }
        });
        let signed = put.presigned(minute()).await.unwrap();
        let mut request = Request::builder().method(signed.method()).uri(signed.uri());
        for (name, value) in signed.headers().chain([("host", &*harness.address.to_string())]) {
            request = request.header(name, value);
        }
        let body = http_body_util::Full::new(case.bytes.clone());
        let answer = harness.media.service().handle(request.body(body).unwrap()).await;
        let status = answer.status().as_u16();
        // Not merely for its signature: s3s says so with 403 SignatureDoesNotMatch.
        let body = answer.into_body().collect().await.unwrap().to_bytes();
        let body = String::from_utf8_lossy(&body);
        assert!(matches!(status, 400 | 403 | 404 | 405 | 501), "{what}: {status} {body}");
        assert!(!body.contains("Signature"), "{what}: {body}");
    }
    assert_eq!(harness.media.look(other).await.unwrap(), None);
    // A signature in a header instead of the URL is for our own client, which needs no socket.
    let listed = client.list_objects_v2().bucket(bucket).send().await.unwrap_err();
    assert_eq!(listed.raw_response().unwrap().status().as_u16(), 404, "axum has no such route");
    let read = client.get_object().bucket(bucket).key(&key).send().await.unwrap_err();
    assert_eq!(read.raw_response().unwrap().status().as_u16(), 403);
    assert!(harness.media.look(case.claims.media_id).await.unwrap().is_some());
}

#[tokio::test]
async fn a_url_ends_when_it_says() {
    let late = Harness::start_in(tempfile::tempdir().unwrap(), ago(Duration::from_secs(600))).await;
    let case = Case::new("image/png", vec![1; 50]);
    // Signed ten minutes ago for nine, and for eleven.
    let status = case.sign_for(&late.media, Duration::from_secs(540)).await.unwrap().send(&late.http).await;
    assert_eq!(status.unwrap().status(), StatusCode::FORBIDDEN);
    let status = case.sign_for(&late.media, Duration::from_secs(660)).await.unwrap().send(&late.http).await;
    assert_eq!(status.unwrap().status(), StatusCode::OK);
    // Signed in the future, as by a server with a wrong clock.
    for (valid_for, valid) in [(0, false), (1, true), (7 * 24 * 3600, true), (7 * 24 * 3600 + 1, false)] {
        let signed = late.media.presign_upload(&case.claims, Duration::from_secs(valid_for)).await;
        assert_eq!(signed.is_ok(), valid, "{valid_for}");
    }
}

#[tokio::test]
async fn signing_nonsense_is_an_error() {
    let harness = Harness::start().await;
    for content_type in ["", "image", "image/png\r\nx-evil: 1", "image/p\u{f6}g", "a/b;  c=d"] {
        let mut case = Case::new("image/png", "x");
        case.claims.content_type = content_type.to_owned();
        assert!(harness.media.presign_upload(&case.claims, MINUTE).await.is_err(), "{content_type:?}");
        let id = case.claims.media_id;
        assert!(harness.media.presign_download(id, content_type, MINUTE).await.is_err(), "{content_type:?}");
    }
    let mut case = Case::new("image/png", "x");
    case.claims.content_length = u64::MAX;
    assert!(harness.media.presign_upload(&case.claims, MINUTE).await.is_err());
}

#[tokio::test]
async fn raw_requests_find_no_way_out() {
    let harness = Harness::start().await;
    for target in [
        "/parley-media/../credentials.json",
        "/parley-media/..%2fcredentials.json",
        "/parley-media/%2e%2e/credentials.json?X-Amz-Signature=x",
        "/parley-media//etc/passwd?X-Amz-Signature=x",
        "/parley-media/%00?X-Amz-Signature=x",
        "/parley-media/%ff?X-Amz-Signature=x",
        "/parley-media/x?X-Amz-Signature=x&X-Amz-Signature=y",
        "/parley-media/x?X-Amz-Signature",
        "/parley-media/x?AWSAccessKeyId=x&Signature=y&Expires=9999999999",
    ] {
        for method in ["GET", "PUT", "HEAD", "POST", "DELETE", "PATCH", "OPTIONS"] {
            let request = format!(
                "{method} {target} HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
                harness.address
            );
            let answer = raw(&harness, request.as_bytes()).await;
            assert!(answer.starts_with("HTTP/1.1 4"), "{method} {target}: {answer}");
        }
    }
    // A form that nobody signed is refused before a byte of it is read.
    let request = format!(
        "POST /parley-media/x HTTP/1.1\r\nhost: {}\r\nconnection: close\r\ncontent-type: multipart/form-data; boundary=b\r\ncontent-length: 99999999\r\n\r\n--b\r\n",
        harness.address
    );
    assert!(raw(&harness, request.as_bytes()).await.starts_with("HTTP/1.1 405"));
}

async fn raw(harness: &Harness, request: &[u8]) -> String {
    let mut socket = TcpStream::connect(harness.address).await.unwrap();
    socket.write_all(request).await.unwrap();
    let mut answer = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(5), socket.read_to_end(&mut answer)).await;
    read.expect("an answer in time").ok();
    String::from_utf8_lossy(&answer).into_owned()
}

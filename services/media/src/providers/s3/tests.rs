//! What is signed, without a server.

use std::sync::Arc;

use super::*;
use crate::conformance::Case;

fn media(endpoint_url: Option<&str>, path_style: bool, session_token: Option<&str>) -> S3Media {
    let options = S3Options {
        bucket: "pictures".to_owned(),
        prefix: "parley/".to_owned(),
        region: "eu-central-1".to_owned(),
        endpoint_url: endpoint_url.map(str::to_owned),
        path_style,
        credentials: S3Credentials {
            access_key_id: "AKIDEXAMPLE".to_owned(),
            secret_access_key: "a secret".to_owned(),
            session_token: session_token.map(str::to_owned),
        },
    };
    S3Media::new(options, Arc::new(|| Timestamp(1_700_000_000_987))).unwrap()
}

#[tokio::test]
async fn urls_name_bucket_prefix_and_key_in_both_styles() {
    let case = Case::new("image/png", "x");
    let id = case.claims.media_id;
    for (media, start) in [
        (media(None, false, None), "https://pictures.s3.eu-central-1.amazonaws.com/parley/"),
        (media(None, true, None), "https://s3.eu-central-1.amazonaws.com/pictures/parley/"),
        (media(Some("http://localhost:9000"), true, None), "http://localhost:9000/pictures/parley/"),
        (media(Some("https://s3.example.com"), false, None), "https://pictures.s3.example.com/parley/"),
    ] {
        let start = format!("{start}{id}?");
        let put = media.presign_upload(&case.claims, Duration::from_secs(600)).await.unwrap();
        assert!(put.url.starts_with(&start), "{}", put.url);
        let get = media.presign_download(id, "image/png", Duration::from_secs(600)).await.unwrap();
        assert!(get.url.starts_with(&start), "{}", get.url);
    }
}

#[tokio::test]
async fn an_upload_binds_everything_and_a_download_needs_no_header() {
    let case = Case::new("image/png", "x");
    let media = media(None, false, Some("token"));
    let put = media.presign_upload(&case.claims, Duration::from_millis(600_999)).await.unwrap();
    let signed = "X-Amz-SignedHeaders=content-length%3Bcontent-type%3Bhost%3Bif-none-match%3B\
                  x-amz-checksum-sha256%3Bx-amz-meta-parley-group%3Bx-amz-meta-parley-uploader&";
    assert!(put.url.contains(signed), "{}", put.url);
    assert!(put.url.contains("X-Amz-Security-Token=token"), "{}", put.url);
    // The signature has whole seconds, so the end is that of the signature, not 987 ms later.
    assert!(put.url.contains("X-Amz-Date=20231114T221320Z") && put.url.contains("X-Amz-Expires=600&"));
    assert_eq!(put.expires_at, Timestamp(1_700_000_600_000));
    assert_eq!(put.method, "PUT");
    let names: Vec<_> = put.headers.iter().map(|(name, _)| name.as_str()).collect();
    for name in ["content-length", "content-type", "if-none-match", "x-amz-checksum-sha256"] {
        assert!(names.contains(&name), "{names:?}");
    }
    assert_eq!(names.len(), 6, "{names:?}");

    let get = media.presign_download(case.claims.media_id, "image/svg+xml", Duration::from_secs(60)).await;
    let get = get.unwrap();
    assert!(get.url.contains("X-Amz-SignedHeaders=host&"), "{}", get.url);
    assert!(get.url.contains("response-content-disposition=attachment"), "{}", get.url);
    assert_eq!(get.expires_at, Timestamp(1_700_000_060_000));
}

#[tokio::test]
async fn an_unreachable_store_is_unavailable() {
    let media = media(Some("http://127.0.0.1:1"), true, None);
    let looked = media.look(Case::new("image/png", "x").claims.media_id).await;
    assert!(matches!(looked, Err(Error::Unavailable { .. })), "{looked:?}");
    assert!(matches!(media.ready().await, Err(Error::Unavailable { .. })));
}

#[test]
fn options_that_can_t_work_are_refused() {
    let good = S3Options {
        bucket: "b".to_owned(),
        prefix: String::new(),
        region: "r".to_owned(),
        endpoint_url: None,
        path_style: false,
        credentials: S3Credentials {
            access_key_id: "a".to_owned(),
            secret_access_key: "s".to_owned(),
            session_token: None,
        },
    };
    assert!(good.check().is_ok());
    type Spoil = fn(&mut S3Options);
    let spoils: [Spoil; 6] = [
        |options| options.bucket.clear(),
        |options| options.bucket = "a/b".to_owned(),
        |options| options.prefix = "/x".to_owned(),
        |options| options.region.clear(),
        |options| options.credentials.access_key_id.clear(),
        |options| options.credentials.secret_access_key.clear(),
    ];
    for spoil in spoils {
        let mut bad = good.clone();
        spoil(&mut bad);
        assert!(matches!(bad.check(), Err(Error::Configuration { .. })), "{bad:?}");
    }
}

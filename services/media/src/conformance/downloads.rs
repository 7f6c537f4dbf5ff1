//! A signed download gives one object, for a while, and nothing goes without a signature.

use std::time::Duration;

use bytes::Bytes;
use http::{HeaderValue, Method, Request, StatusCode, Uri};

use super::case::Case;
use super::uploads::text;
use super::{Failure, Http, must};
use crate::port::MediaStore;

pub(super) async fn a_part_can_be_read(store: &dyn MediaStore, http: &dyn Http) -> Result<(), Failure> {
    let bytes: Bytes = (0..=255_u8).collect();
    let case = Case::new("video/mp4", bytes.clone());
    case.upload(store, http).await?;
    for (range, part, content_range) in [
        ("bytes=0-9", bytes.slice(0..10), "bytes 0-9/256"),
        ("bytes=250-", bytes.slice(250..), "bytes 250-255/256"),
        ("bytes=250-999", bytes.slice(250..), "bytes 250-255/256"),
        ("bytes=-6", bytes.slice(250..), "bytes 250-255/256"),
        ("bytes=-999", bytes.clone(), "bytes 0-255/256"),
    ] {
        let answer = http.send(with_range(case.get(store).await?, range)).await.map_err(Failure::Http)?;
        must("a part is 206", answer.status() == StatusCode::PARTIAL_CONTENT, (range, answer.status()))?;
        must("a part is the part", answer.body() == &part, (range, answer.body()))?;
        let said = text(answer.headers(), "content-range");
        must("a part says which", said == content_range, (range, said))?;
    }
    for range in ["bytes=256-", "bytes=-0"] {
        let answer = http.send(with_range(case.get(store).await?, range)).await.map_err(Failure::Http)?;
        let status = answer.status();
        must("no such part", status == StatusCode::RANGE_NOT_SATISFIABLE, (range, status))?;
    }
    Ok(())
}

pub(super) async fn nothing_is_there_before_it_was_uploaded(
    store: &dyn MediaStore,
    http: &dyn Http,
) -> Result<(), Failure> {
    let case = Case::new("image/png", vec![5; 10]);
    let seen = store.look(case.claims.media_id).await?;
    must("look sees nothing before an upload", seen.is_none(), seen)?;
    let status = http.send(case.get(store).await?).await.map_err(Failure::Http)?.status();
    must("a download before an upload is 404", status == StatusCode::NOT_FOUND, status)
}

pub(super) async fn a_url_is_for_one_use(store: &dyn MediaStore, http: &dyn Http) -> Result<(), Failure> {
    let case = Case::new("image/png", vec![6; 10]);
    case.upload(store, http).await?;
    let second = Case::new("image/png", vec![7; 10]);
    second.upload(store, http).await?;

    let mut other = case.get(store).await?;
    let url = other.uri().to_string();
    *other.uri_mut() = swap(&url, &case.claims.media_id.to_string(), &second.claims.media_id.to_string())?;
    refused("a download URL for another object", http, other).await?;

    let download: Uri = url.parse().map_err(|_| Failure::Http("no URL".into()))?;
    let upload = case.sign(store).await?.request.uri().clone();
    for (what, method, url) in [
        ("a download URL for writing", Method::PUT, &download),
        ("a download URL for deleting", Method::DELETE, &download),
        ("a download URL for posting", Method::POST, &download),
        ("an upload URL for reading", Method::GET, &upload),
        ("an upload URL for deleting", Method::DELETE, &upload),
    ] {
        refused(what, http, request(method, url.clone())).await?;
    }
    for (what, from, to) in [
        ("a download URL with a changed signature", "X-Amz-Signature=", "X-Amz-Signature=0"),
        ("a download URL with a longer life", "X-Amz-Expires=60", "X-Amz-Expires=600"),
        (
            "a download URL as another type",
            "response-content-type=image%2Fpng",
            "response-content-type=text%2Fhtml",
        ),
        (
            "a download URL shown as a page",
            "response-content-disposition=inline",
            "response-content-disposition=x",
        ),
    ] {
        refused(what, http, request(Method::GET, swap(&url, from, to)?)).await?;
    }
    let seen = store.look(case.claims.media_id).await?;
    must("the object is still there", seen.is_some_and(|o| o.sha256 == Some(case.claims.sha256)), "")
}

pub(super) async fn nothing_without_a_signature(
    store: &dyn MediaStore,
    http: &dyn Http,
) -> Result<(), Failure> {
    let case = Case::new("image/png", vec![8; 10]);
    case.upload(store, http).await?;
    let signed = case.get(store).await?.uri().to_string();
    let object = signed.split('?').next().unwrap_or_default();
    let bucket = object.rsplit_once('/').unwrap_or_default().0;
    let fresh = bucket.to_owned() + "/00000000-0000-7000-8000-000000000000";
    for (method, url) in [
        (Method::GET, object.to_owned()),
        (Method::HEAD, object.to_owned()),
        (Method::PUT, fresh),
        (Method::DELETE, object.to_owned()),
        (Method::GET, format!("{bucket}/")),
        (Method::GET, format!("{bucket}/?list-type=2")),
        (Method::POST, format!("{bucket}/?delete")),
    ] {
        let uri = url.parse().map_err(|_| Failure::Http("no URL".into()))?;
        refused(&format!("{method} without a signature"), http, request(method, uri)).await?;
    }
    Ok(())
}

pub(super) async fn urls_expire(store: &dyn MediaStore, http: &dyn Http) -> Result<(), Failure> {
    let case = Case::new("image/png", vec![9; 10]);
    let late = Case::new("image/png", vec![9; 10]);
    case.upload(store, http).await?;
    let short = Duration::from_secs(1);
    let get = store.presign_download(case.claims.media_id, "image/png", short).await?;
    let put = late.sign_for(store, short).await?;
    // Signatures count in whole seconds.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let url: Uri = get.url.parse().map_err(|_| Failure::Http("no URL".into()))?;
    refused("an expired download URL", http, request(Method::GET, url)).await?;
    let status = put.send(http).await?.status();
    must("an expired upload URL is refused", status.is_client_error(), status)?;
    let seen = store.look(late.claims.media_id).await?;
    must("an expired upload URL leaves nothing", seen.is_none(), seen)
}

async fn refused(what: &str, http: &dyn Http, request: Request<Bytes>) -> Result<(), Failure> {
    let status = http.send(request).await.map_err(Failure::Http)?.status();
    let rule = format!("{what} is refused");
    must(&rule, matches!(status.as_u16(), 400 | 401 | 403 | 404 | 405), status)
}

fn request(method: Method, uri: Uri) -> Request<Bytes> {
    let mut request = Request::new(Bytes::new());
    *request.method_mut() = method;
    *request.uri_mut() = uri;
    request
}

fn with_range(mut request: Request<Bytes>, range: &'static str) -> Request<Bytes> {
    request.headers_mut().insert(http::header::RANGE, HeaderValue::from_static(range));
    request
}

fn swap(url: &str, from: &str, to: &str) -> Result<Uri, Failure> {
    must("the suite bends what it says", url.contains(from), from)?;
    url.replace(from, to).parse().map_err(|_| Failure::Http("no URL".into()))
}

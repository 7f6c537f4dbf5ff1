//! A signed upload takes what was signed, once, and nothing else.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::future::try_join_all;
use http::{HeaderMap, StatusCode};

use super::case::{Case, Put, sha256};
use super::{Failure, Http, must};
use crate::port::MediaStore;

pub(super) async fn what_was_uploaded_is_seen_and_read(
    store: &dyn MediaStore,
    http: &dyn Http,
) -> Result<(), Failure> {
    let large: Vec<u8> = (0..3_000_000_u32).flat_map(u32::to_le_bytes).take(5_000_001).collect();
    for (content_type, bytes, shown) in [
        ("image/png", vec![7; 1000], "inline"),
        ("audio/ogg; codecs=opus", large, "inline"),
        ("image/svg+xml", b"<svg/>".to_vec(), "attachment"),
        ("text/html", b"<script>".to_vec(), "attachment"),
        ("video/mp4", vec![0], "inline"),
    ] {
        let case = Case::new(content_type, bytes);
        case.upload(store, http).await?;
        let seen = store.look(case.claims.media_id).await?;
        let rule = "look shows what was uploaded";
        must(rule, seen.is_some(), &seen)?;
        let Some(object) = &seen else { continue };
        must(rule, object.content_type == content_type, &seen)?;
        must(rule, object.content_length == case.claims.content_length, &seen)?;
        must(rule, object.sha256 == Some(case.claims.sha256), &seen)?;
        must(rule, object.group_id == Some(case.claims.group_id), &seen)?;
        must(rule, object.uploader.as_ref() == Some(&case.claims.uploader), &seen)?;

        let answer = http.send(case.get(store).await?).await.map_err(Failure::Http)?;
        must("a download succeeds", answer.status() == StatusCode::OK, answer.status())?;
        must("a download gives the bytes", answer.body() == &case.bytes, answer.body().len())?;
        let header = |name: &str| text(answer.headers(), name);
        must("a download names its type", header("content-type") == content_type, answer.headers())?;
        must(
            "a download is shown only if harmless",
            header("content-disposition") == shown,
            answer.headers(),
        )?;
    }
    Ok(())
}

pub(super) async fn nothing_else_than_signed_is_taken(
    store: &dyn MediaStore,
    http: &dyn Http,
) -> Result<(), Failure> {
    let other = Case::new("image/png", vec![1; 100]);
    let other_sha256 = STANDARD.encode(sha256(&[2; 100]));
    let other_key = other.claims.media_id.to_string();
    let other_group = other.claims.group_id.to_string();
    type Bend<'a> = Box<dyn Fn(Put) -> Put + Send + Sync + 'a>;
    let key = |put: &Put| put.request.uri().path().rsplit('/').next().unwrap_or_default().to_owned();
    let bent: Vec<(&str, Bend<'_>)> = vec![
        ("a shorter one", Box::new(|put| put.with_bytes(vec![1; 99]))),
        ("a longer one", Box::new(|put| put.with_bytes(vec![1; 101]))),
        ("an empty one", Box::new(|put| put.with_bytes(vec![]))),
        ("other bytes of the same length", Box::new(|put| put.with_bytes(vec![2; 100]))),
        ("one bit changed", Box::new(|put| put.with_bytes([vec![1; 99], vec![0]].concat()))),
        (
            "other bytes under their own checksum",
            Box::new(|put| put.with_bytes(vec![2; 100]).with("x-amz-checksum-sha256", &other_sha256)),
        ),
        ("another type", Box::new(|put| put.with("content-type", "text/html"))),
        ("no type", Box::new(|put| put.without("content-type"))),
        ("no checksum", Box::new(|put| put.without("x-amz-checksum-sha256"))),
        ("overwriting", Box::new(|put| put.without("if-none-match"))),
        ("a condition on something else", Box::new(|put| put.with("if-none-match", "\"x\""))),
        ("another group", Box::new(|put| put.with("x-amz-meta-parley-group", &other_group))),
        ("another uploader", Box::new(|put| put.with("x-amz-meta-parley-uploader", "eA"))),
        ("no uploader", Box::new(|put| put.without("x-amz-meta-parley-uploader"))),
        (
            "another key",
            Box::new(|put| {
                let key = key(&put);
                put.with_url(&key, &other_key)
            }),
        ),
        (
            "a key below",
            Box::new(|put| {
                let key = key(&put);
                put.with_url(&key, &format!("{key}/x"))
            }),
        ),
        ("a longer life", Box::new(|put| put.with_url("X-Amz-Expires=60", "X-Amz-Expires=61"))),
        ("fewer signed headers", Box::new(|put| put.with_url("content-type%3B", ""))),
        ("one more parameter", Box::new(|put| put.with_url("X-Amz-Expires=60", "X-Amz-Expires=60&acl="))),
        ("a changed signature", Box::new(change_signature)),
        ("another signer", Box::new(|put| put.with_url("X-Amz-Credential=", "X-Amz-Credential=x"))),
    ];
    for (name, bend) in bent {
        let case = Case::new("image/png", vec![1; 100]);
        let before = case.sign(store).await?;
        let put = bend(before.clone());
        let same = put.request.uri() == before.request.uri()
            && put.request.headers() == before.request.headers()
            && put.request.body() == before.request.body();
        must("the suite bends what it says", !same, name)?;
        let status = put.send(http).await?.status();
        let rule = format!("an upload of {name} is refused");
        must(&rule, status.is_client_error(), status)?;
        let seen = store.look(case.claims.media_id).await?;
        must(&format!("{rule} and leaves nothing"), seen.is_none(), seen)?;
        // And the refusal spoiled nothing.
        case.upload(store, http).await?;
    }
    let seen = store.look(other.claims.media_id).await?;
    must("nothing lies under the key that nobody signed", seen.is_none(), seen)
}

pub(super) async fn a_key_is_written_once(store: &dyn MediaStore, http: &dyn Http) -> Result<(), Failure> {
    let case = Case::new("image/png", vec![3; 200_000]);
    case.upload(store, http).await?;
    let status = case.sign(store).await?.send(http).await?.status();
    must("a second upload is refused", status == StatusCode::PRECONDITION_FAILED, status)?;

    let mut replaced = Case::new("text/html", b"<script>".to_vec());
    replaced.claims.media_id = case.claims.media_id;
    let status = replaced.sign(store).await?.send(http).await?.status();
    must("a second upload of another object is refused", status == StatusCode::PRECONDITION_FAILED, status)?;
    let seen = store.look(case.claims.media_id).await?;
    let kept =
        seen.as_ref().is_some_and(|o| o.sha256 == Some(case.claims.sha256) && o.content_type == "image/png");
    must("the first upload stays as it is", kept, seen)
}

pub(super) async fn of_uploads_at_once_one_wins(
    store: &dyn MediaStore,
    http: &dyn Http,
) -> Result<(), Failure> {
    for _ in 0..5 {
        let first = Case::new("image/png", vec![4; 300_000]);
        let mut puts = Vec::new();
        for n in 0..6 {
            // Each with content of its own, so that a mixture would show.
            let mut case = Case::new("image/png", vec![n; 300_000]);
            case.claims.media_id = first.claims.media_id;
            puts.push((case.claims.sha256, case.sign(store).await?));
        }
        let answers =
            try_join_all(puts.into_iter().map(|(sha256, put)| async move {
                Ok::<_, Failure>((sha256, put.send(http).await?.status()))
            }));
        let answers = answers.await?;
        let won: Vec<_> = answers.iter().filter(|(_, status)| *status == StatusCode::OK).collect();
        // AWS may also answer 409 while another upload to the key is under way.
        let refused = |status: StatusCode| matches!(status.as_u16(), 409 | 412);
        let others = answers.iter().filter(|(_, status)| refused(*status)).count();
        must("of uploads at once one wins", won.len() == 1 && others == 5, &answers)?;
        let seen = store.look(first.claims.media_id).await?;
        let kept = seen.as_ref().and_then(|object| object.sha256);
        must("and it is what is kept", kept == won.first().map(|(sha256, _)| *sha256), seen)?;
    }
    Ok(())
}

fn change_signature(put: Put) -> Put {
    let url = put.request.uri().to_string();
    let signature =
        url.split("X-Amz-Signature=").nth(1).unwrap_or_default().split('&').next().unwrap_or_default();
    let turned: String = signature.chars().rev().collect();
    put.with_url(signature, &turned)
}

/// A header as text, empty if it isn't there.
pub(super) fn text<'a>(headers: &'a HeaderMap, name: &str) -> &'a str {
    headers.get(name).and_then(|value| value.to_str().ok()).unwrap_or_default()
}

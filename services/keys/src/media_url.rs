//! The `media_url`: what an upload was allowed for, authenticated by the key ring, so that uploads need no table.
//!
//! `/v1/media/{media_id}?claims={base64url JSON}&key={ring key}&mac={base64url HMAC}`, a path on the edge that answers
//! with a download for those who may see it.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD as BASE64;
use parley_domain::{GroupId, MediaClaims, MediaId, Timestamp, UserId};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::ring::KeyRing;

/// The greatest length that a media URL can have.
const URL_BYTES_MAX: usize = 2_048;

#[derive(Serialize, Deserialize)]
struct Claims {
    m: Uuid,
    g: Uuid,
    u: String,
    t: String,
    l: u64,
    s: String,
    e: i64,
}

/// The URL was not made by this key ring.
#[derive(Debug, thiserror::Error)]
#[error("not a media_url that was made here")]
pub struct MediaUrlError;

/// The URL for these claims; `None` only if the ring has no active key.
#[must_use]
pub fn media_url(ring: &KeyRing, claims: &MediaClaims) -> Option<String> {
    let body = Claims {
        m: claims.media_id.0,
        g: claims.group_id.0,
        u: claims.uploader.to_string(),
        t: claims.content_type.clone(),
        l: claims.content_length,
        s: BASE64.encode(claims.sha256),
        e: claims.expires_at.as_millis(),
    };
    let text = BASE64.encode(serde_json::to_vec(&body).ok()?);
    let (key, mac) = ring.sign(text.as_bytes())?;
    Some(format!("/v1/media/{}?claims={text}&key={key}&mac={}", claims.media_id, BASE64.encode(mac)))
}

/// Reads a media URL that this ring made.
///
/// # Errors
/// [`MediaUrlError`] for any other.
pub fn open_media_url(ring: &KeyRing, url: &str) -> Result<MediaClaims, MediaUrlError> {
    if url.len() > URL_BYTES_MAX {
        return Err(MediaUrlError);
    }
    open(ring, url).ok_or(MediaUrlError)
}

fn open(ring: &KeyRing, url: &str) -> Option<MediaClaims> {
    let (path, query) = url.strip_prefix("/v1/media/")?.split_once('?')?;
    let (text, rest) = query.strip_prefix("claims=")?.split_once("&key=")?;
    let (key, mac) = rest.split_once("&mac=")?;
    if !ring.verify(key, text.as_bytes(), &BASE64.decode(mac).ok()?) {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&BASE64.decode(text).ok()?).ok()?;
    (claims.m.to_string() == path).then_some(())?;
    Some(MediaClaims {
        media_id: MediaId(claims.m),
        group_id: GroupId(claims.g),
        uploader: UserId::parse(&claims.u).ok()?,
        content_type: claims.t,
        content_length: claims.l,
        sha256: BASE64.decode(claims.s).ok()?.try_into().ok()?,
        expires_at: Timestamp(claims.e),
    })
}

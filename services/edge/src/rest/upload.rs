//! `POST /media/uploads`.

use std::sync::Arc;
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use parley_domain::{Code, GroupId, MediaClaims, MediaId};
use parley_media::is_content_type;
use parley_wire::rest::{CreateUpload, Upload, UploadBody};
use parley_wire::{clock, time};
use uuid::Uuid;

use super::access::seen;
use super::extract::{Body, Caller};
use super::fault::Fault;
use crate::edge::{Shared, broken};

pub(super) async fn create(
    State(shared): State<Arc<Shared>>,
    Caller(caller): Caller,
    Body(wish): Body<CreateUpload>,
) -> Result<Json<Upload>, Fault> {
    let limits = &shared.options.limits;
    let sha256 = check(&wish, limits.media_bytes)?;
    let group_id = GroupId(wish.group_id);
    seen(&shared, group_id, &caller).await?;
    let valid_for = Duration::from_secs(limits.upload_url_seconds);
    let valid_millis = i64::try_from(valid_for.as_millis()).unwrap_or(i64::MAX);
    let claims = MediaClaims {
        media_id: MediaId(Uuid::now_v7()),
        group_id,
        uploader: caller,
        content_type: wish.content_type,
        content_length: wish.content_length,
        sha256,
        expires_at: clock::now().plus_millis(valid_millis),
    };
    let media_url = parley_keys::media_url(shared.engines.keys.ring(), &claims)
        .ok_or_else(|| Fault::internal("the key ring has no active key"))?;
    let signed = shared.engines.media.presign_upload(&claims, valid_for).await.map_err(|error| {
        if let parley_media::Error::Invalid { reason } = error {
            return Fault::bad_request(reason);
        }
        broken("an upload can't be signed", &error).into()
    })?;
    let upload = UploadBody {
        method: signed.method,
        url: signed.url,
        headers: signed.headers.into_iter().collect(),
        expires_at: time::format(signed.expires_at),
    };
    Ok(Json(Upload { media_id: claims.media_id.0, media_url, upload }))
}

/// Checks everything but the group, and gives the checksum.
fn check(wish: &CreateUpload, bytes_max: u64) -> Result<[u8; 32], Fault> {
    let lower = wish.content_type.to_ascii_lowercase();
    let is_media = ["image/", "video/", "audio/"].iter().any(|kind| lower.starts_with(kind));
    if !is_media || !is_content_type(&wish.content_type) {
        return Err(Fault::bad_request("content_type must be a MIME type image/…, video/… or audio/…"));
    }
    let sha256 = parse_hex(&wish.sha256).ok_or_else(|| {
        Fault::bad_request("sha256 must be the SHA-256 of the content in 64 lower-case hex digits")
    })?;
    if wish.content_length == 0 {
        return Err(Fault::bad_request("content_length must be the number of bytes, at least 1"));
    }
    if wish.content_length > bytes_max {
        return Err(Fault::new(Code::TooLarge, format!("media have at most {bytes_max} bytes")));
    }
    Ok(sha256)
}

fn parse_hex(text: &str) -> Option<[u8; 32]> {
    let digit = |byte: &u8| match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        _ => None,
    };
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    let bytes: Option<Vec<u8>> =
        pairs.iter().map(|[high, low]| Some(digit(high)? << 4 | digit(low)?)).collect();
    bytes?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn wish(content_type: &str, content_length: u64, sha256: &str) -> CreateUpload {
        CreateUpload {
            group_id: Uuid::nil(),
            content_type: content_type.into(),
            content_length,
            sha256: sha256.into(),
        }
    }

    #[test]
    fn uploads_are_media_of_known_size_and_checksum() {
        let hash = "00ff".repeat(16);
        assert_eq!(check(&wish("image/png", 1, &hash), 10).unwrap()[..2], [0, 255]);
        for (content_type, length, sha256, code) in [
            ("audio/ogg; codecs=opus", 10, hash.as_str(), None),
            ("Video/MP4", 10, &hash, None),
            ("text/plain", 1, &hash, Some(Code::BadRequest)),
            ("image/", 1, &hash, Some(Code::BadRequest)),
            ("image/png\n", 1, &hash, Some(Code::BadRequest)),
            ("image/png", 0, &hash, Some(Code::BadRequest)),
            ("image/png", 11, &hash, Some(Code::TooLarge)),
            ("image/png", u64::MAX, &hash, Some(Code::TooLarge)),
            ("image/png", 1, "", Some(Code::BadRequest)),
            ("image/png", 1, &hash[1..], Some(Code::BadRequest)),
            ("image/png", 1, &hash[2..], Some(Code::BadRequest)),
            ("image/png", 1, &format!("{hash}00"), Some(Code::BadRequest)),
            ("image/png", 1, &hash.to_uppercase(), Some(Code::BadRequest)),
            ("image/png", 1, &hash.replace('f', "ü"), Some(Code::BadRequest)),
        ] {
            let found = check(&wish(content_type, length, sha256), 10).err().map(|fault| fault.code());
            assert_eq!(found, code, "{content_type} {length} {sha256}");
        }
    }
}

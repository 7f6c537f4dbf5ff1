//! Content types, which a client chooses and a browser believes.

/// The greatest length of a content type.
const BYTES_MAX: usize = 255;

/// Whether a text is `type/subtype`, perhaps with parameters, and survives as a signed header: printable ASCII
/// without runs of spaces, which signing would fold so that two types had one signature.
#[must_use]
pub fn is_content_type(text: &str) -> bool {
    let (essence, parameters) = text.split_once(';').unwrap_or((text, ""));
    let Some((kind, subtype)) = essence.split_once('/') else { return false };
    text.len() <= BYTES_MAX
        && is_token(kind)
        && is_token(subtype)
        && parameters.bytes().all(|b| (0x20..0x7f).contains(&b))
        && !parameters.contains("  ")
        && !parameters.ends_with(' ')
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$&-^_.+".contains(&b))
}

/// What a download says in `Content-Disposition`: `inline` only for pictures, video and audio that can't carry
/// script, so that an uploaded page never runs in the API's own origin. SVG can carry script.
#[must_use]
pub fn disposition(content_type: &str) -> &'static str {
    let essence = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
    let (kind, subtype) = essence.split_once('/').unwrap_or_default();
    let shown = matches!(kind, "image" | "video" | "audio") && !subtype.contains("xml");
    if shown { "inline" } else { "attachment" }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_what_a_signed_header_can_carry() {
        for good in
            ["image/png", "audio/ogg; codecs=opus", "application/vnd.x+json", "text/plain;charset=utf-8"]
        {
            assert!(is_content_type(good), "{good}");
        }
        let long = format!("image/{}", "x".repeat(300));
        for bad in [
            "",
            "image",
            "image/",
            "/png",
            "image/png\r\nx: y",
            "image/pn g",
            "a/b;  c=d",
            "a/b; ",
            "bild/ü",
            &long,
        ] {
            assert!(!is_content_type(bad), "{bad}");
        }
    }

    #[test]
    fn only_harmless_media_is_shown_in_place() {
        for shown in ["image/png", "IMAGE/JPEG", "video/mp4", "audio/ogg; codecs=opus"] {
            assert_eq!(disposition(shown), "inline", "{shown}");
        }
        for saved in ["image/svg+xml", "Image/SVG+XML; a=b", "text/html", "application/pdf", "", "image"] {
            assert_eq!(disposition(saved), "attachment", "{saved}");
        }
    }
}

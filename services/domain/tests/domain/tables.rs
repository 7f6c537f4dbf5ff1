//! Small tables: ids, codes.

use parley_domain::{ClientMessageId, Code, GroupId, IdError, UserId};

#[test]
fn user_ids_are_short_and_printable() {
    let (longest, long) = ("ü".repeat(64), "x".repeat(129));
    for (text, expected) in [
        ("a", None),
        (longest.as_str(), None),
        ("Zoë 🦜 \u{200d}", None),
        ("", Some(IdError::Length { bytes_max: 128 })),
        (long.as_str(), Some(IdError::Length { bytes_max: 128 })),
        ("a\nb", Some(IdError::NotPrintable)),
        ("a\u{0}", Some(IdError::NotPrintable)),
        ("\u{85}", Some(IdError::NotPrintable)),
        ("\u{2028}", Some(IdError::NotPrintable)),
    ] {
        assert_eq!(UserId::parse(text).err(), expected, "{text:?}");
    }
}

#[test]
fn client_message_ids_are_short() {
    let (longest, long) = ("x".repeat(64), "x".repeat(65));
    for (text, taken) in [("a", true), ("", false), (longest.as_str(), true), (long.as_str(), false)] {
        assert_eq!(ClientMessageId::parse(text).is_ok(), taken, "{text}");
    }
}

#[test]
fn ids_are_uuids_and_go_through_text_and_bytes() {
    let text = "0190b6f0-5a3c-7def-8123-456789abcdef";
    let id = GroupId::parse(text).unwrap();
    assert_eq!(id.to_string(), text);
    assert_eq!(GroupId::from_slice(id.as_bytes()), Some(id));
    assert_eq!(GroupId::from_slice(&[0; 15]), None);
    for bad in ["", "x", "0190b6f0"] {
        assert_eq!(GroupId::parse(bad), Err(IdError::NotUuid), "{bad}");
    }
}

#[test]
fn every_code_is_listed_once() {
    let distinct: std::collections::HashSet<Code> = Code::ALL.into_iter().collect();
    assert_eq!(distinct.len(), Code::ALL.len());
}

//! The event codec.

use bytes::Bytes;
use parley_domain::EventId;
use parley_wire::event::{
    CURSORS_TYPE, Content, DecodeError, PROFILE_TYPE, decode_content, decode_cursors, decode_fact,
    decode_profile, encode_content, encode_cursors, encode_fact, encode_profile, fact_type, tag, untagged,
};
use proptest::prelude::*;

use crate::values::{cursors, fact, profile};

const FACT_TYPES: [&str; 9] = [
    "parley.events.v1.GroupCreated",
    "parley.events.v1.MembersAdded",
    "parley.events.v1.MembersRemoved",
    "parley.events.v1.RoleChanged",
    "parley.events.v1.OwnerTransferred",
    "parley.events.v1.GroupUpdated",
    "parley.events.v1.GroupDissolved",
    "parley.events.v1.MessageSent",
    "parley.events.v1.MessageRolledBack",
];

proptest! {
    #[test]
    fn facts_come_back(fact in fact()) {
        let ce_type = fact_type(&fact.event);
        prop_assert!(FACT_TYPES.contains(&ce_type));
        prop_assert_eq!(decode_fact(ce_type, encode_fact(&fact, &mut bytes::BytesMut::new())).unwrap(), fact);
    }

    #[test]
    fn tagged_facts_come_back(fact in fact()) {
        let bytes = [&[tag(fact_type(&fact.event)).unwrap()], &*encode_fact(&fact, &mut bytes::BytesMut::new())].concat();
        prop_assert_eq!(untagged(bytes.into()).unwrap(), fact);
    }

    #[test]
    fn cursors_come_back(cursors in cursors()) {
        prop_assert_eq!(decode_cursors(encode_cursors(&cursors, &mut bytes::BytesMut::new())).unwrap(), cursors);
    }

    #[test]
    fn profiles_come_back(profile in profile()) {
        let bytes = encode_profile(&profile, EventId::from_bytes([1; 16]));
        prop_assert_eq!(decode_profile(bytes).unwrap(), profile);
    }

    #[test]
    fn content_comes_back(text in prop::option::of(".{0,50}"), media_url in prop::option::of(".{0,50}")) {
        let content = Content { text, media_url };
        prop_assert!(decode_content(&encode_content(content.clone())).unwrap() == content);
    }

    /// What lies on a disk or comes over a network may be anything.
    #[test]
    fn garbage_is_an_error_and_no_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for ce_type in FACT_TYPES {
            drop(decode_fact(ce_type, Bytes::from(bytes.clone())));
        }
        drop(untagged(Bytes::from(bytes.clone())));
        drop(decode_cursors(Bytes::from(bytes.clone())));
        drop(decode_profile(Bytes::from(bytes.clone())));
        drop(decode_content(&bytes));
    }

    /// Nearly right is worse than garbage: a flipped byte, or a record cut short, at any place.
    #[test]
    fn damaged_values_are_read_or_refused(fact in fact(), at in any::<prop::sample::Index>(), flip in 1..=u8::MAX) {
        let ce_type = fact_type(&fact.event);
        let mut bytes = encode_fact(&fact, &mut bytes::BytesMut::new()).to_vec();
        let at = at.index(bytes.len());
        drop(decode_fact(ce_type, Bytes::copy_from_slice(&bytes[..at])));
        bytes[at] ^= flip;
        drop(decode_fact(ce_type, Bytes::from(bytes)));
    }

    /// Readers of today skip fields of tomorrow.
    #[test]
    fn unknown_fields_are_skipped(fact in fact(), more in any::<u64>()) {
        let mut bytes = encode_fact(&fact, &mut bytes::BytesMut::new()).to_vec();
        // Field 1000 of wire type 1: eight bytes.
        bytes.extend([0xc1, 0x3e]);
        bytes.extend(more.to_le_bytes());
        prop_assert_eq!(decode_fact(fact_type(&fact.event), Bytes::from(bytes)).unwrap(), fact);
    }
}

#[test]
fn unknown_types_and_tags_are_told_apart_from_damage() {
    for ce_type in ["", "parley.events.v1.Unheard", "parley.writer.claimed.v1", CURSORS_TYPE, PROFILE_TYPE] {
        let refused = decode_fact(ce_type, Bytes::new()).unwrap_err();
        assert!(matches!(refused, DecodeError::UnknownType(_)), "{ce_type}");
        assert_eq!(tag(ce_type), None, "{ce_type}");
    }
    for tag in [9, 10, 255] {
        let refused = untagged(Bytes::from(vec![tag])).unwrap_err();
        assert!(matches!(refused, DecodeError::UnknownType(_)), "{tag}");
    }
    assert!(matches!(untagged(Bytes::new()), Err(DecodeError::Field("tag"))));
}

/// An empty protobuf is a valid message with every field absent; none of ours is valid so.
#[test]
fn what_must_be_there_is_asked_for() {
    for ce_type in FACT_TYPES {
        assert!(matches!(decode_fact(ce_type, Bytes::new()), Err(DecodeError::Field(_))), "{ce_type}");
    }
    assert!(decode_cursors(Bytes::new()).is_err());
    assert!(decode_profile(Bytes::new()).is_err());
    assert!(decode_content(b"").unwrap() == Content::default(), "content may be empty");
}

/// The tag is stored in rows: each type keeps its own for ever.
#[test]
fn tags_never_change() {
    for (number, ce_type) in (0..).zip(FACT_TYPES) {
        assert_eq!(tag(ce_type), Some(number));
    }
}

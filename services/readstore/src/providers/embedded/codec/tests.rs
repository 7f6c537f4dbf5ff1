use parley_domain::{MembershipChange, NotificationKind, Role, UserId};

use super::*;
use crate::providers::stay::Step;

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// If one of these changes, databases of before can't be read: raise [`FORMAT`].
#[test]
fn golden() {
    let joined = MembershipChange::Joined {
        role: Role::Member,
        by: UserId::parse("ann").unwrap(),
        kind: NotificationKind::Added,
    };
    let joined = Step::of(Timestamp(1_700_000_000_000), &joined);
    let cells = [
        Cell::Origin { creator: "ann", created_at: -1 },
        Cell::Description { name: "n", description: "" },
        Cell::Owner { owner: "é" },
        Cell::MemberCount { member_count: 100_000 },
        Cell::Changed { updated_at: 0 },
        Cell::Dissolved { seq: 251 },
    ];
    let mut lines = vec![
        hex(&encode(&joined).unwrap()),
        hex(&encode(&Step::Role { at: 5, role: 1 }).unwrap()),
        hex(&encode(&Step::Left { at: 6 }).unwrap()),
    ];
    lines.extend(cells.iter().map(|cell| format!("{} {}", cell.tag(), hex(&encode(cell).unwrap()))));
    let position = Position { partition: 3, offset: 9 };
    lines.extend([
        hex(&encode(&RolledBack { sender: "bob" }).unwrap()),
        hex(&encode(&Profile { display_name: "Bob", avatar_url: Some("u"), at: 7 }).unwrap()),
        hex(&encode_checkpoints(&[(
            3,
            Checkpoint { offset: 12, validity: Validity { claim: Some(10), next_index: 1 } },
        )])
        .unwrap()),
        hex(&[
            &encode_header(&EventHeader { is_message: true, message_count: 2, position }),
            b"xyz".as_slice(),
        ]
        .concat()),
        hex(&encode_u64(258)),
        hex(&encode_time(Timestamp(-2))),
        hex(&encode_meta(Epoch::from_bytes([0xab; 16]))),
    ]);
    assert_eq!(lines.join("\n"), include_str!("golden.txt").trim_end());
}

#[test]
fn what_was_encoded_decodes() {
    let bytes = encode(&Cell::MemberCount { member_count: 300 }).unwrap();
    assert_eq!(decode::<Cell<'_>>(&bytes).unwrap(), Cell::MemberCount { member_count: 300 });
    let checkpoint = Checkpoint { offset: 12, validity: Validity { claim: None, next_index: 1 } };
    let checkpoints = [(1, checkpoint), (9, checkpoint)];
    assert_eq!(decode_checkpoints(&encode_checkpoints(&checkpoints).unwrap()).unwrap(), checkpoints);
    let position = Position { partition: 3, offset: 9 };
    let header = EventHeader { is_message: false, message_count: 2, position };
    let event = [&encode_header(&header), b"xyz".as_slice()].concat();
    assert_eq!(decode_event(&event).unwrap(), (header, b"xyz".as_slice()));
}

#[test]
fn damaged_bytes_are_errors() {
    let bytes = encode(&Cell::Owner { owner: "ann" }).unwrap();
    for end in 0..bytes.len() {
        assert!(decode::<Cell<'_>>(&bytes[..end]).is_err(), "cut at {end}");
    }
    assert!(decode::<Cell<'_>>(&[bytes.as_slice(), &[0]].concat()).is_err(), "bytes left over");
    assert!(decode::<Cell<'_>>(&[2, 0]).is_err(), "another version");
    let hostile = [VERSION, 2, 253, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x7f];
    assert!(decode::<Cell<'_>>(&hostile).is_err(), "a length beyond the limit");
    assert!(decode_event(&[0; 20]).is_err());
    assert!(decode_u64(&[0; 7]).is_err() && decode_time(&[0; 9]).is_err());
}

#[test]
fn another_format_or_epoch_does_not_fit() {
    let (ours, other) = (Epoch::from_bytes([1; 16]), Epoch::from_bytes([2; 16]));
    let meta = encode_meta(ours);
    assert!(check_meta(&meta, ours).is_ok());
    assert!(matches!(check_meta(&meta, other), Err(Error::OtherLog { .. })));
    let newer = [(FORMAT + 1).to_be_bytes().as_slice(), ours.as_bytes(), b"more"].concat();
    assert!(matches!(check_meta(&newer, ours), Err(Error::Unfit(_))));
    assert!(matches!(check_meta(&meta[..10], ours), Err(Error::Damaged(_))));
}

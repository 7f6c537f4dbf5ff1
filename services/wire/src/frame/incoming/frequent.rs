//! What most frames are, messages and acknowledgements, read in one pass: the serializer took a seventh of all instructions of a
//! message between two users.

use std::borrow::Cow;

use parley_domain::MessageKind;

use super::{
    AckStatus, AcknowledgeData, ClientEvent, ID_BYTES_MAX, Incoming, Named as _, SendMessage, acknowledge,
    names,
};
use crate::frame::scan::{Scan, set};

/// Reads a frame, unless anything about it is unusual; what it says is what [`any`](super::any) says.
pub(super) fn read(text: &str) -> Option<Incoming> {
    // Most name their event first, which says how to read the rest.
    if !text.starts_with("{\"event\"") {
        return None;
    }
    let (mut event, mut id, mut asked) = (None, None, None);
    let mut scan = Scan::new(text);
    scan.object(|scan, name| match name {
        "event" => set(&mut event, scan.plain()?),
        "id" => set(&mut id, scan.string().filter(|id| id.len() <= ID_BYTES_MAX)?),
        "data" => match event? {
            names::SEND_GROUP_MESSAGE => set(&mut asked, ClientEvent::Send(send(scan)?)),
            names::ACKNOWLEDGE_GROUP_MESSAGE => {
                let data = acknowledge(acknowledgement(scan)?).ok()?;
                set(&mut asked, ClientEvent::AcknowledgeMessage(data))
            }
            _ => None,
        },
        _ => None,
    })?;
    scan.end()?;
    Some(Incoming { id: id.map(Cow::into_owned), event: Ok(asked?) })
}

fn send(scan: &mut Scan<'_>) -> Option<SendMessage> {
    let (mut group_id, mut client_message_id, mut kind, mut text, mut media_url) =
        (None, None, None, None, None);
    scan.object(|scan, name| match name {
        "group_id" => set(&mut group_id, scan.uuid()?),
        "client_message_id" => set(&mut client_message_id, scan.string()?.into_owned()),
        "type" => set(&mut kind, MessageKind::of(scan.plain()?)),
        "text" => set(&mut text, scan.string()?.into_owned()),
        "media_url" => set(&mut media_url, scan.string()?.into_owned()),
        _ => None,
    })?;
    Some(SendMessage {
        group_id: group_id?,
        client_message_id: client_message_id?,
        kind: kind?,
        text,
        media_url,
    })
}

fn acknowledgement(scan: &mut Scan<'_>) -> Option<AcknowledgeData> {
    let (mut group_id, mut message_id, mut seq, mut status) = (None, None, None, None);
    scan.object(|scan, name| match name {
        "group_id" => set(&mut group_id, scan.uuid()?),
        "message_id" => set(&mut message_id, scan.uuid()?),
        "seq" => set(&mut seq, scan.number()?),
        "status" => set(&mut status, AckStatus::of(scan.plain()?)),
        _ => None,
    })?;
    Some(AcknowledgeData { group_id: group_id?, message_id, seq, status })
}

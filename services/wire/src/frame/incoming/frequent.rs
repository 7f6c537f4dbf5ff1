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

#[cfg(test)]
mod tests {
    use super::super::any;
    use super::*;

    const GROUP: &str = "\"group_id\":\"0190b6f0-5a3c-7def-8123-456789abcdef\"";

    /// All of it, as texts are left out of what is printed.
    fn all(incoming: &Incoming) -> String {
        match &incoming.event {
            Ok(ClientEvent::Send(send)) => {
                let texts = (&send.client_message_id, &send.text, &send.media_url);
                format!("{:?} {} {:?} {texts:?}", incoming.id, send.group_id, send.kind)
            }
            _ => format!("{incoming:?}"),
        }
    }

    #[test]
    fn what_clients_send_most_is_read_here_and_means_the_same() {
        let send = r#""client_message_id":"c-1","type":"text""#;
        for text in [
            format!(
                r#"{{"event":"send_group_message","id":"1","data":{{{GROUP},{send},"text":"Shall we?"}}}}"#
            ),
            format!(
                r#"{{"event":"send_group_message","data":{{{GROUP},{send},"text":"Gr\u00fc\u00dfe \"x\"\n"}}}}"#
            ),
            format!(
                r#"{{"event": "send_group_message", "id": "a\tb", "data": {{{GROUP}, "client_message_id": "c", "type": "image", "media_url": "https://a.example/m", "text": "üß"}}}}"#
            ),
            format!(r#"{{"event":"send_group_message","data":{{{GROUP},{send}}},"id":"late"}}"#),
            format!(
                r#"{{"event":"acknowledge_group_message","id":"2","data":{{{GROUP},"seq":7,"status":"delivered"}}}}"#
            ),
            format!(
                r#"{{"event":"acknowledge_group_message","data":{{"seq":18446744073709551615,{GROUP}}}}}"#
            ),
            format!(
                r#"{{"event":"acknowledge_group_message","data":{{{GROUP},"message_id":"0190b6f0-5a3c-7def-8123-456789abcdee","status":"read"}}}}"#
            ),
        ] {
            let read = read(&text).unwrap_or_else(|| panic!("left to the serializer: {text}"));
            assert_eq!(all(&read), all(&any(&text).unwrap()), "{text}");
        }
    }

    #[test]
    fn what_is_unusual_is_left_to_the_serializer() {
        for text in [
            format!(r#" {{"event":"acknowledge_group_message","data":{{{GROUP},"seq":7}}}}"#),
            format!(r#"{{"event":"typing","data":{{{GROUP}}}}}"#),
            format!(r#"{{"event":"acknowledge_group_message","id":null,"data":{{{GROUP},"seq":7}}}}"#),
            format!(r#"{{"event":"acknowledge_group_message","data":{{{GROUP},"seq":7,"new":1}}}}"#),
            format!(r#"{{"event":"acknowledge_group_message","data":{{{GROUP},"seq":7,"seq":7}}}}"#),
            format!(r#"{{"event":"acknowledge_group_message","data":{{{GROUP},"seq":7}}}} {{}}"#),
            format!(r#"{{"event":"acknowledge_group_message","data":{{{GROUP},"seq":7}}"#),
            format!(r#"{{"event":"send_group_message","data":{{{GROUP}}}}}"#),
        ] {
            assert!(read(&text).is_none(), "{text}");
        }
    }
}

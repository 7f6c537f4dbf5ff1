//! What clients send.

mod frequent;

use parley_domain::{GroupId, MessageId, MessageKind, Rejection, Seq};
use schemars::JsonSchema;
use serde::Deserialize;
use serde_json::value::RawValue;
use uuid::Uuid;

use super::json::{Named, Object, Text, is_object, named, named_or_null};
use super::names;
use crate::documents::shapes::{message_id_or_seq, text_or_media};
use crate::documents::values::{AckStatusText, ClientMessageIdText, SentType};

/// The greatest length of a request's own id.
const ID_BYTES_MAX: usize = 64;
/// Groups that one `resume` may name.
const RESUME_GROUPS_MAX: usize = 500;

/// A request.
#[derive(Debug)]
pub struct Incoming {
    /// The client's own id, to be given back with the reply.
    pub id: Option<String>,
    /// What it asks, or why that can't be understood.
    pub event: Result<ClientEvent, Box<Unreadable>>,
}

/// A request that can't be understood, and as much of it as its sender needs to recognise it.
#[derive(Debug)]
pub struct Unreadable {
    /// Why.
    pub rejection: Rejection,
    /// Whether it was meant as a message: those count against the rate.
    pub is_send: bool,
    /// Its group, if it names one.
    pub group_id: Option<Uuid>,
    /// Its `client_message_id`, if it has one.
    pub client_message_id: Option<String>,
}

impl Unreadable {
    fn new(rejection: Rejection) -> Box<Self> {
        Box::new(Self { rejection, is_send: false, group_id: None, client_message_id: None })
    }

    fn of(event: &str, data: &str, rejection: Rejection) -> Box<Self> {
        let fields: serde_json::Value = serde_json::from_str(data).unwrap_or_default();
        let text = |name: &str| fields.get(name).and_then(serde_json::Value::as_str);
        Box::new(Self {
            rejection,
            is_send: event == names::SEND_GROUP_MESSAGE,
            group_id: text("group_id").and_then(|id| id.parse().ok()),
            client_message_id: text("client_message_id").map(ToOwned::to_owned),
        })
    }
}

/// Not even a JSON object with an `event`: counted towards the close code 3501.
#[derive(Debug, PartialEq, Eq)]
pub struct Malformed;

/// What a client can ask.
#[derive(Debug)]
#[allow(missing_docs, reason = "the contract's section 4 describes each")]
pub enum ClientEvent {
    NotifyCreateGroup(GroupId),
    Subscribe(Subscribe),
    Resume { groups: Vec<ResumeFrom>, all: bool, limit: Option<u64> },
    Unsubscribe(GroupId),
    Send(SendMessage),
    AcknowledgeMessage(AcknowledgeMessage),
    AcknowledgeNotification(Uuid),
    Typing(GroupId),
    Ping,
    Authenticate(String),
}

/// `subscribe_to_group`.
#[derive(Debug, Deserialize, JsonSchema)]
pub struct Subscribe {
    /// The group.
    pub group_id: Uuid,
    /// Replay starts after it; without it after the member's `delivered_seq`.
    pub after_seq: Option<Seq>,
    /// The epoch that `after_seq` belongs to.
    pub epoch: Option<Uuid>,
    /// At most this many events of the past.
    pub limit: Option<u64>,
}

/// One group of `resume`.
#[derive(Debug, Clone, Deserialize, JsonSchema)]
pub struct ResumeFrom {
    /// The group.
    pub group_id: Uuid,
    /// The epoch that `after_seq` belongs to.
    pub epoch: Uuid,
    /// Replay starts after it.
    pub after_seq: Seq,
}

#[derive(Deserialize, JsonSchema)]
struct ResumeData {
    #[schemars(with = "Option<Vec<ResumeFrom>>", length(max = RESUME_GROUPS_MAX))]
    groups: Option<Vec<Object<ResumeFrom>>>,
    all: Option<bool>,
    limit: Option<u64>,
}

#[derive(Deserialize, JsonSchema)]
struct GroupData {
    group_id: Uuid,
}

#[derive(Deserialize, JsonSchema)]
struct NotificationData {
    notification_id: Uuid,
}

#[derive(Deserialize, JsonSchema)]
struct TokenData {
    token: String,
}

/// `send_group_message`.
#[derive(Deserialize, JsonSchema)]
#[schemars(transform = text_or_media)]
pub struct SendMessage {
    /// The group.
    pub group_id: Uuid,
    /// 1 to 64 bytes; the same id again is the same message.
    #[schemars(with = "ClientMessageIdText")]
    pub client_message_id: String,
    // `None`: none of them.
    /// `text`, `image`, `video` or `audio`.
    #[serde(rename = "type", deserialize_with = "named")]
    #[schemars(with = "SentType")]
    kind: Option<MessageKind>,
    /// The text, at most `limits.text_bytes`; needed for `text`, a caption for the others.
    pub text: Option<String>,
    /// From `POST /v1/media/uploads`; needed for media, and not for `text`.
    pub media_url: Option<String>,
}

impl std::fmt::Debug for SendMessage {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("SendMessage").field("group_id", &self.group_id).finish_non_exhaustive()
    }
}

impl SendMessage {
    /// The message's type.
    ///
    /// # Errors
    /// `bad_request` for an unknown one, or for fields that don't fit it.
    pub fn kind(&self) -> Result<MessageKind, Rejection> {
        let kind =
            self.kind.ok_or_else(|| Rejection::bad_request("type must be text, image, video or audio"))?;
        match (kind, &self.text, &self.media_url) {
            (MessageKind::Text, None, _) => Err(Rejection::bad_request("a message of type text needs text")),
            (MessageKind::Text, _, Some(_)) => {
                Err(Rejection::bad_request("a message of type text has no media_url"))
            }
            (MessageKind::Image | MessageKind::Video | MessageKind::Audio, _, None) => {
                Err(Rejection::bad_request(
                    "a message of this type needs a media_url: POST /v1/media/uploads makes one",
                ))
            }
            _ => Ok(kind),
        }
    }
}

#[derive(Deserialize, JsonSchema)]
#[schemars(transform = message_id_or_seq)]
struct AcknowledgeData {
    group_id: Uuid,
    /// Exactly one of `message_id` and `seq` is needed.
    message_id: Option<Uuid>,
    /// Exactly one of `message_id` and `seq` is needed.
    seq: Option<Seq>,
    /// `read` without it.
    #[serde(default, deserialize_with = "named_or_null")]
    #[schemars(with = "Option<AckStatusText>")]
    status: Option<Option<AckStatus>>,
}

/// `delivered` or `read`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AckStatus {
    /// It reached the device.
    Delivered,
    /// The user saw it.
    Read,
}

/// `acknowledge_group_message`.
#[derive(Debug, Clone, Copy)]
pub struct AcknowledgeMessage {
    /// The group.
    pub group_id: GroupId,
    /// Up to which.
    pub upto: Result<Seq, MessageId>,
    /// As what.
    pub status: AckStatus,
}

impl Named for MessageKind {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "text" => Self::Text,
            "image" => Self::Image,
            "video" => Self::Video,
            "audio" => Self::Audio,
            _ => return None,
        })
    }
}

impl Named for AckStatus {
    fn of(name: &str) -> Option<Self> {
        Some(match name {
            "delivered" => Self::Delivered,
            "read" => Self::Read,
            _ => return None,
        })
    }
}

#[derive(Deserialize)]
struct Envelope<'a> {
    #[serde(borrow)]
    event: Option<&'a RawValue>,
    #[serde(borrow)]
    id: Option<&'a RawValue>,
    #[serde(borrow)]
    data: Option<&'a RawValue>,
}

/// Reads a text frame.
///
/// # Errors
/// [`Malformed`] if it is no JSON object; everything else wrong is in [`Incoming::event`], so that the reply can carry
/// the request's id.
pub fn parse(text: &str) -> Result<Incoming, Malformed> {
    if !is_object(text) {
        return Err(Malformed);
    }
    match frequent::read(text) {
        Some(incoming) => Ok(incoming),
        None => any(text),
    }
}

fn any(text: &str) -> Result<Incoming, Malformed> {
    let envelope: Envelope<'_> = serde_json::from_str(text).map_err(|_| Malformed)?;
    let id = match envelope.id.filter(|id| id.get() != "null") {
        None => None,
        Some(raw) => match serde_json::from_str::<String>(raw.get()) {
            Ok(id) if id.len() <= ID_BYTES_MAX => Some(id),
            Ok(_) | Err(_) => {
                let why = format!("id must be a string of at most {ID_BYTES_MAX} bytes");
                return Ok(Incoming { id: None, event: Err(Unreadable::new(Rejection::bad_request(why))) });
            }
        },
    };
    let Some(Ok(Text(event))) = envelope.event.map(|raw| serde_json::from_str(raw.get())) else {
        let rejection = Rejection::bad_request("event must be a string");
        return Ok(Incoming { id, event: Err(Unreadable::new(rejection)) });
    };
    let data = envelope.data.map_or("{}", RawValue::get);
    let asked = client_event(&event, data).map_err(|rejection| Unreadable::of(&event, data, rejection));
    Ok(Incoming { id, event: asked })
}

fn data<'a, T: Deserialize<'a>>(text: &'a str) -> Result<T, Rejection> {
    if !is_object(text) {
        return Err(Rejection::bad_request("data must be an object"));
    }
    serde_json::from_str(text).map_err(|_| Rejection::bad_request(format!("data{}", fault::<T>(text))))
}

/// Which field is wrong, and how. Only what failed is read a second time for it.
fn fault<'a, T: Deserialize<'a>>(text: &'a str) -> String {
    let mut reader = serde_json::Deserializer::from_str(text);
    let Err(error) = serde_path_to_error::deserialize::<_, T>(&mut reader) else {
        return ": something follows the object".to_owned();
    };
    let path = error.path().to_string();
    let inner = error.into_inner().to_string();
    // The place is one in `data`, which the client can't count from.
    let what = inner.rsplit_once(" at line ").map_or(inner.as_str(), |(what, _)| what);
    if path == "." { format!(": {what}") } else { format!(".{path}: {what}") }
}

fn group(text: &str) -> Result<GroupId, Rejection> {
    data::<GroupData>(text).map(|data| GroupId(data.group_id))
}

fn client_event(event: &str, text: &str) -> Result<ClientEvent, Rejection> {
    Ok(match event {
        names::SEND_GROUP_MESSAGE => ClientEvent::Send(data(text)?),
        names::ACKNOWLEDGE_GROUP_MESSAGE => ClientEvent::AcknowledgeMessage(acknowledge(data(text)?)?),
        names::PING => ClientEvent::Ping,
        names::TYPING => ClientEvent::Typing(group(text)?),
        names::SUBSCRIBE_TO_GROUP => ClientEvent::Subscribe(data(text)?),
        names::UNSUBSCRIBE_FROM_GROUP => ClientEvent::Unsubscribe(group(text)?),
        names::RESUME => {
            let ResumeData { groups, all, limit } = data(text)?;
            let groups: Vec<_> = groups.unwrap_or_default().into_iter().map(|Object(group)| group).collect();
            if groups.len() > RESUME_GROUPS_MAX {
                return Err(Rejection::bad_request(format!(
                    "groups names at most {RESUME_GROUPS_MAX} groups: send several frames"
                )));
            }
            ClientEvent::Resume { groups, all: all.unwrap_or_default(), limit }
        }
        names::NOTIFY_CREATE_GROUP => ClientEvent::NotifyCreateGroup(group(text)?),
        names::ACKNOWLEDGE_NOTIFICATION => {
            ClientEvent::AcknowledgeNotification(data::<NotificationData>(text)?.notification_id)
        }
        names::AUTHENTICATE => ClientEvent::Authenticate(data::<TokenData>(text)?.token),
        _ => {
            return Err(Rejection::bad_request(
                "unknown event: the contract's section 4 lists what a client may send",
            ));
        }
    })
}

fn acknowledge(data: AcknowledgeData) -> Result<AcknowledgeMessage, Rejection> {
    let status = data.status.unwrap_or(Some(AckStatus::Read));
    let status = status.ok_or_else(|| Rejection::bad_request("status must be delivered or read"))?;
    let upto = match (data.seq, data.message_id) {
        (Some(seq), None) => Ok(seq),
        (None, Some(id)) => Err(MessageId(id)),
        _ => return Err(Rejection::bad_request("either message_id or seq is needed, and not both")),
    };
    Ok(AcknowledgeMessage { group_id: GroupId(data.group_id), upto, status })
}

/// The JSON schemas of what clients send, by event name; for the published AsyncAPI.
#[must_use]
pub fn schemas() -> Vec<(&'static str, schemars::Schema)> {
    use schemars::schema_for;
    vec![
        (names::NOTIFY_CREATE_GROUP, schema_for!(GroupData)),
        (names::SUBSCRIBE_TO_GROUP, schema_for!(Subscribe)),
        (names::RESUME, schema_for!(ResumeData)),
        (names::UNSUBSCRIBE_FROM_GROUP, schema_for!(GroupData)),
        (names::SEND_GROUP_MESSAGE, schema_for!(SendMessage)),
        (names::ACKNOWLEDGE_GROUP_MESSAGE, schema_for!(AcknowledgeData)),
        (names::ACKNOWLEDGE_NOTIFICATION, schema_for!(NotificationData)),
        (names::TYPING, schema_for!(GroupData)),
        (names::PING, schemars::json_schema!({"type": "object"})),
        (names::AUTHENTICATE, schema_for!(TokenData)),
    ]
}

#[cfg(test)]
mod tests {
    use parley_domain::Code;

    use super::*;

    fn code(text: &str) -> Option<Code> {
        parse(text).ok()?.event.err().map(|unreadable| unreadable.rejection.code)
    }

    #[test]
    fn what_is_no_object_is_malformed_and_all_else_keeps_its_id() {
        for text in ["", "null", "[]", "1", "{", "\"event\"", "{}x", r#"["ping"]"#] {
            assert!(parse(text).is_err(), "{text}");
        }
        for text in ["{}", r#"{"event":1}"#, r#"{"event":"nonsense"}"#, r#"{"event":"typing"}"#] {
            assert_eq!(code(text), Some(Code::BadRequest), "{text}");
        }
        let incoming = parse(r#"{"event":"send_group_message","id":"s1","data":{"text":5}}"#).unwrap();
        assert_eq!(incoming.id.as_deref(), Some("s1"));
        let unreadable = incoming.event.unwrap_err();
        assert!(unreadable.is_send && unreadable.group_id.is_none());
        assert!(parse(r#"{"event":"ping","id":null,"future":[1]}"#).unwrap().event.is_ok());
        assert_eq!(code(&format!(r#"{{"event":"ping","id":"{}"}}"#, "x".repeat(65))), Some(Code::BadRequest));
    }

    #[test]
    fn what_is_wrong_is_said_by_field_and_with_what_the_sender_knows() {
        let group = Uuid::from_u128(7);
        let text = format!(
            r#"{{"event":"send_group_message","data":{{"group_id":"{group}","client_message_id":"c1","type":"text","text":5}}}}"#
        );
        let unreadable = parse(&text).unwrap().event.unwrap_err();
        assert_eq!(unreadable.rejection.message, "data.text: invalid type: integer `5`, expected a string");
        assert_eq!(unreadable.group_id, Some(group));
        assert_eq!(unreadable.client_message_id.as_deref(), Some("c1"));
        assert!(unreadable.is_send);
        for (data, message) in [
            ("{}", "data: missing field `group_id`"),
            ("[]", "data must be an object"),
            (r#"{"group_id":"g"}"#, "data.group_id: UUID parsing failed"),
        ] {
            let text = format!(r#"{{"event":"typing","data":{data}}}"#);
            let unreadable = parse(&text).unwrap().event.unwrap_err();
            assert!(unreadable.rejection.message.starts_with(message), "{}", unreadable.rejection.message);
        }
        let resume = r#"{"event":"resume","data":{"groups":[5]}}"#;
        let unreadable = parse(resume).unwrap().event.unwrap_err();
        assert!(
            unreadable.rejection.message.starts_with("data.groups[0]: "),
            "{}",
            unreadable.rejection.message
        );
    }
}

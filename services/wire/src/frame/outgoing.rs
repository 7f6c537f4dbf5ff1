//! What the server sends.

use std::collections::BTreeMap;

use parley_domain::{
    ClientMessageId, Code, Event, Fact, MediaDescription, Position, Rejection, Role, Seq, UserId, Withheld,
};
use schemars::JsonSchema;
use serde::{Serialize, Serializer};
use uuid::Uuid;

use crate::code;
use crate::documents::shapes::GroupHead;
use crate::documents::values::{
    ClientMessageIdText, LimitsBody, MessageType, ResetReason, RoleText, Time, UserIdText, WithheldReason,
};
use crate::event::Content;
use crate::time::{self, TimeText};

/// The names of all frames, as in the contract.
#[allow(missing_docs, reason = "the contract's section 4 describes each")]
pub mod names {
    pub const NOTIFY_CREATE_GROUP: &str = "notify_create_group";
    pub const SUBSCRIBE_TO_GROUP: &str = "subscribe_to_group";
    pub const RESUME: &str = "resume";
    pub const UNSUBSCRIBE_FROM_GROUP: &str = "unsubscribe_from_group";
    pub const SEND_GROUP_MESSAGE: &str = "send_group_message";
    pub const ACKNOWLEDGE_GROUP_MESSAGE: &str = "acknowledge_group_message";
    pub const ACKNOWLEDGE_NOTIFICATION: &str = "acknowledge_notification";
    pub const TYPING: &str = "typing";
    pub const PING: &str = "ping";
    pub const AUTHENTICATE: &str = "authenticate";

    pub const CREATE_GROUP_NOTIFIED: &str = "create_group_notified";
    pub const SUBSCRIBED_TO_GROUP: &str = "subscribed_to_group";
    pub const RESUMED: &str = "resumed";
    pub const UNSUBSCRIBED_FROM_GROUP: &str = "unsubscribed_from_group";
    pub const GROUP_MESSAGE_ACCEPTED: &str = "group_message_accepted";
    pub const GROUP_MESSAGE_ACKNOWLEDGED: &str = "group_message_acknowledged";
    pub const NOTIFICATION_ACKNOWLEDGED: &str = "notification_acknowledged";
    pub const PONG: &str = "pong";
    pub const AUTHENTICATED: &str = "authenticated";

    pub const WELCOME: &str = "welcome";
    pub const A_GROUP_CREATED: &str = "a_group_created";
    pub const ADDED_TO_GROUP: &str = "added_to_group";
    pub const GROUP_MESSAGE: &str = "group_message";
    pub const GROUP_EVENT: &str = "group_event";
    pub const GROUP_MESSAGE_STATUS: &str = "group_message_status";
    pub const GO_AWAY: &str = "go_away";
    pub const ERROR: &str = "error";
}

#[derive(Serialize)]
struct Frame<'a, T> {
    event: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<&'a str>,
    data: &'a T,
}

/// Writes the JSON text of a frame behind what is in `bytes`.
pub fn encode_behind<T: Serialize>(bytes: &mut Vec<u8>, event: &str, id: Option<&str>, data: &T) {
    // Writing to memory can't fail, and neither can these bodies: plain structs with string keys.
    drop(serde_json::to_writer(bytes, &Frame { event, id, data }));
}

/// `{partition, offset}`.
#[derive(Debug, Clone, Copy, Serialize, JsonSchema)]
pub struct PositionBody {
    pub(super) partition: u32,
    pub(super) offset: u64,
}

impl From<Position> for PositionBody {
    fn from(Position { partition, offset }: Position) -> Self {
        Self { partition, offset }
    }
}

/// What an error says, on the socket and (inside `{"error": …}`) over REST.
#[derive(Debug, Clone, Serialize, JsonSchema)]
pub struct WireError {
    code: &'static str,
    message: String,
    retryable: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    retry_after_ms: Option<u64>,
    /// More about it, for programs.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub details: Option<BTreeMap<&'static str, String>>,
}

impl From<&Rejection> for WireError {
    fn from(rejection: &Rejection) -> Self {
        Self {
            code: code::name(rejection.code),
            message: rejection.message.clone(),
            retryable: code::retryable(rejection.code),
            retry_after_ms: rejection.retry_after_ms,
            details: None,
        }
    }
}

/// `error`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorBody {
    /// What went wrong.
    #[serde(flatten)]
    pub error: WireError,
    /// The group that the request named.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub group_id: Option<Uuid>,
    /// The message that it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub message_id: Option<Uuid>,
    /// The sender's id of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub client_message_id: Option<String>,
}

impl ErrorBody {
    /// An error that names nothing else.
    #[must_use]
    pub fn new(rejection: &Rejection) -> Self {
        Self { error: rejection.into(), group_id: None, message_id: None, client_message_id: None }
    }

    /// An error of a code, with its explanation.
    #[must_use]
    pub fn of(code: Code, message: &str) -> Self {
        Self::new(&Rejection::new(code, message))
    }
}

/// A group as it stands for one user.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct StandingBody {
    pub group_id: Uuid,
    pub head_seq: Seq,
    pub delivered_seq: Seq,
    pub read_seq: Seq,
    pub unread: u32,
}

/// `welcome`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Welcome<'a> {
    pub session_id: Uuid,
    #[schemars(with = "UserIdText")]
    pub user_id: &'a str,
    pub epoch: Uuid,
    #[schemars(with = "Time")]
    pub server_time: String,
    #[schemars(with = "LimitsBody")]
    pub limits: &'a BTreeMap<&'static str, u64>,
    pub groups: Vec<StandingBody>,
}

/// One group of `resumed`.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct ResumedGroup {
    pub group_id: Uuid,
    pub from_seq: Seq,
    pub to_seq: Seq,
    pub complete: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "ResetReason")]
    pub reset_reason: Option<&'static str>,
}

/// `subscribed_to_group`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Subscribed {
    pub epoch: Uuid,
    pub head_seq: Seq,
    pub delivered_seq: Seq,
    pub read_seq: Seq,
    pub unread: u32,
    #[schemars(with = "RoleText")]
    pub role: &'static str,
    #[serde(flatten)]
    pub resumed: ResumedGroup,
}

/// `group_message_accepted`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Accepted<'a> {
    pub group_id: Uuid,
    pub message_id: Uuid,
    #[schemars(with = "ClientMessageIdText")]
    pub client_message_id: &'a str,
    pub seq: Seq,
    pub epoch: Uuid,
    pub position: PositionBody,
    #[schemars(with = "Time")]
    pub created_at: TimeText,
    pub duplicate: bool,
}

/// `group_message_acknowledged`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Acknowledged {
    pub group_id: Uuid,
    pub delivered_seq: Seq,
    pub read_seq: Seq,
}

/// `notification_acknowledged`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct NotificationAcknowledged {
    pub notification_id: Uuid,
}

/// `unsubscribed_from_group`, and what names a group and a user.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct GroupRef<'a> {
    pub group_id: Uuid,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UserIdText")]
    pub user_id: Option<&'a str>,
}

/// `authenticated`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Authenticated {
    #[schemars(with = "Time")]
    pub expires_at: String,
}

/// `resumed`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Resumed {
    pub groups: Vec<ResumedGroup>,
}

/// `create_group_notified`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct CreateNotified {
    pub group_id: Uuid,
    pub online: u32,
    pub pending: u32,
}

/// `a_group_created` and `added_to_group`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct NotificationBody<'a> {
    pub notification_id: Uuid,
    #[schemars(with = "GroupHead")]
    pub group: &'a crate::rest::GroupBody,
    #[schemars(with = "UserIdText")]
    pub added_by: &'a str,
}

/// `pong`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Pong {
    #[schemars(with = "Time")]
    pub server_time: String,
}

/// `go_away`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct GoAway {
    pub reason: &'static str,
    pub reconnect_after_ms: u64,
}

/// `group_message_status`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct MessageStatus<'a> {
    pub group_id: Uuid,
    pub seq: Seq,
    pub message_id: Uuid,
    pub delivered_count: u32,
    pub read_count: u32,
    pub member_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "UserIdText")]
    pub user_id: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_seq: Option<Seq>,
}

/// What a message says of its object.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct MediaBody {
    pub media_id: Uuid,
    pub content_type: String,
    pub content_length: u64,
}

impl From<&MediaDescription> for MediaBody {
    fn from(media: &MediaDescription) -> Self {
        Self {
            media_id: media.media_id.0,
            content_type: media.content_type.clone(),
            content_length: media.content_length,
        }
    }
}

/// `group_message`, and a message of the history.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct MessageBody {
    pub group_id: Uuid,
    pub seq: Seq,
    pub epoch: Uuid,
    pub position: PositionBody,
    pub message_id: Uuid,
    #[serde(serialize_with = "client_message_id")]
    #[schemars(with = "ClientMessageIdText")]
    pub client_message_id: ClientMessageId,
    #[serde(serialize_with = "user_id")]
    #[schemars(with = "UserIdText")]
    pub sender: UserId,
    #[serde(rename = "type")]
    #[schemars(with = "MessageType")]
    pub kind: &'static str,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media_url: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub media: Option<MediaBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "WithheldReason")]
    pub withheld: Option<&'static str>,
    #[schemars(with = "Time")]
    pub created_at: TimeText,
    #[schemars(with = "Time")]
    pub updated_at: TimeText,
}

fn client_message_id<S: Serializer>(id: &ClientMessageId, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(id.as_str())
}

fn user_id<S: Serializer>(id: &UserId, to: S) -> Result<S::Ok, S::Error> {
    to.serialize_str(id.as_str())
}

impl MessageBody {
    /// A message with its opened content, or with the reason why that is withheld. `None` if the fact is no message.
    #[must_use]
    pub fn new(
        fact: &Fact,
        epoch: Uuid,
        position: Position,
        content: Result<Content, Withheld>,
    ) -> Option<Self> {
        let Event::MessageSent(message) = &fact.event else { return None };
        let created_at = time::text(fact.at);
        let withheld = content.as_ref().err().map(|why| match why {
            Withheld::RolledBack => "rolled_back",
            Withheld::Erased => "erased",
        });
        let content = content.unwrap_or_default();
        Some(Self {
            group_id: fact.group_id.0,
            seq: fact.seq,
            epoch,
            position: position.into(),
            message_id: message.message_id.0,
            client_message_id: message.client_message_id.clone(),
            sender: message.sender.clone(),
            kind: match message.kind {
                parley_domain::MessageKind::Text => "text",
                parley_domain::MessageKind::Image => "image",
                parley_domain::MessageKind::Video => "video",
                parley_domain::MessageKind::Audio => "audio",
            },
            text: content.text,
            media_url: content.media_url,
            media: message.media.as_ref().filter(|_| withheld.is_none()).map(Into::into),
            withheld,
            updated_at: created_at,
            created_at,
        })
    }
}

/// The name of a role.
#[must_use]
pub fn role_name(role: Role) -> &'static str {
    match role {
        Role::Owner => "owner",
        Role::Admin => "admin",
        Role::Member => "member",
    }
}

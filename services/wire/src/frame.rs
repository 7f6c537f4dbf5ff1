//! The WebSocket's frames: text, one JSON object each, `{"event","id"?,"data"}`.

mod incoming;
mod outgoing;

pub use incoming::schemas as incoming_schemas;
pub use incoming::{
    AckStatus, AcknowledgeMessage, ClientEvent, Incoming, Malformed, ResumeFrom, SendMessage, Subscribe,
    parse,
};
pub use outgoing::{
    Accepted, Acknowledged, Authenticated, CreateNotified, ErrorBody, GoAway, GroupEventBody, GroupRef,
    KindBody, MediaBody, MessageBody, MessageStatus, NotificationAcknowledged, NotificationBody, Pong,
    PositionBody, Resumed, ResumedGroup, StandingBody, Subscribed, Welcome, WireError, encode_behind, names,
    role_name, rollback_name,
};

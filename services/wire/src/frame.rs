//! The WebSocket's frames: text, one JSON object each, `{"event","id"?,"data"}`.

mod incoming;
mod outgoing;

pub use incoming::schemas as incoming_schemas;
pub use incoming::{
    AcknowledgeMessage, AckStatus, ClientEvent, Incoming, Malformed, ResumeFrom, SendMessage, Subscribe, parse,
};
pub use outgoing::{
    Accepted, Acknowledged, CreateNotified, ErrorBody, GoAway, GroupEventBody, KindBody, MediaBody, MessageBody,
    MessageStatus, NotificationBody, Pong, PositionBody, ResumedGroup, StandingBody, Subscribed, Welcome, WireError,
    encode, names, role_name,
};

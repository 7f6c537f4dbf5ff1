//! The WebSocket's frames: text, one JSON object each, `{"event","id"?,"data"}`.

mod group_event;
mod incoming;
mod json;
mod outgoing;
mod quick;
mod scan;

pub use group_event::{GroupEventBody, KindBody, rollback_name};
pub use incoming::schemas as incoming_schemas;
pub use incoming::{
    AckStatus, AcknowledgeMessage, ClientEvent, Incoming, Malformed, ResumeFrom, SendMessage, Subscribe,
    parse,
};
pub use outgoing::{
    Accepted, Acknowledged, Authenticated, CreateNotified, ErrorBody, GoAway, GroupRef, MediaBody,
    MessageBody, MessageStatus, NotificationAcknowledged, NotificationBody, Pong, PositionBody, Resumed,
    ResumedGroup, StandingBody, Subscribed, Welcome, WireError, encode_behind, names, role_name,
};
pub use quick::{Members, Quick, encode_quickly_behind};

//! Values as the documents describe them, where a Rust type says less: times, user ids, names from a list, bounds.
//!
//! They stand in `#[schemars(with = …)]` beside the fields; nothing of them is sent. JSON Schema counts characters where the
//! contract counts bytes, so a `maxLength` lets pass some texts that the server refuses, and refuses none that it takes.

use std::borrow::Cow;

use parley_domain::{ClientMessageId, Role, RollbackReason, UserId};
use schemars::generate::SchemaGenerator;
use schemars::{JsonSchema, Schema, json_schema};
use serde_json::{Map, Value, json};

use crate::frame::{role_name, rollback_name};

/// Entries of a page at most.
pub(crate) const PAGE_ENTRIES_MAX: usize = 200;
/// Entries of a page without `limit`.
pub(crate) const PAGE_ENTRIES_DEFAULT: usize = 50;
/// Members that a group is shown with at most.
pub(crate) const SHOWN_MEMBERS_MAX: usize = 100;
/// Length of a profile's name.
pub(crate) const DISPLAY_NAME_BYTES_MAX: usize = 256;
/// Length of the address of a profile's picture.
pub(crate) const AVATAR_URL_BYTES_MAX: usize = 2_048;

/// Where names may be added the document lists those of today, and takes any: a client that validates what it gets must not
/// refuse what it is told to count or to ignore.
const OPEN: &str = "x-extensible-enum";

macro_rules! values {
    ($($(#[$doc:meta])* $name:ident: $schema:tt,)+) => {$(
        $(#[$doc])*
        pub(crate) enum $name {}

        impl JsonSchema for $name {
            fn inline_schema() -> bool {
                true
            }

            fn schema_name() -> Cow<'static, str> {
                stringify!($name).into()
            }

            fn json_schema(_: &mut SchemaGenerator) -> Schema {
                json_schema!($schema)
            }
        }
    )+};
}

values! {
    /// RFC 3339 in UTC with milliseconds.
    Time: {"type": "string", "format": "date-time"},
    /// The `sub` of a token.
    UserIdText: {
        "type": "string",
        "minLength": 1,
        "maxLength": UserId::BYTES_MAX,
        "description": "A user: the `sub` of a token, 1 to 128 bytes of printable UTF-8",
    },
    /// The sender's own id of a message.
    ClientMessageIdText: {"type": "string", "minLength": 1, "maxLength": ClientMessageId::BYTES_MAX},
    /// A member's role.
    RoleText: {"type": "string", "enum": names([Role::Owner, Role::Admin, Role::Member], role_name)},
    /// A role that can be given; an owner is made by `PUT /v1/groups/{group_id}/owner`.
    GivenRole: {"type": "string", "enum": names([Role::Admin, Role::Member], role_name)},
    /// The type of a message that is sent by a client.
    SentType: {"type": "string", "enum": MESSAGE_TYPES},
    /// The type of a message that comes from the server.
    MessageType: {"type": "string", OPEN: MESSAGE_TYPES},
    /// Why a message comes without its content.
    WithheldReason: {"type": "string", OPEN: ["rolled_back", "erased"]},
    /// Why a message was rolled back.
    RollBackReason: {
        "type": "string",
        OPEN: names([RollbackReason::MediaMissing, RollbackReason::Unprojectable], rollback_name),
    },
    /// Why a replay isn't all that was asked for.
    ResetReason: {
        "type": "string",
        OPEN: ["epoch_changed", "retention", "limit", "not_a_member", "group_dissolved", "group_not_found"],
    },
    /// What an acknowledgement says.
    AckStatusText: {"type": "string", "enum": ["delivered", "read"], "default": "read"},
    /// A checksum.
    Sha256Hex: {"type": "string", "pattern": "^[0-9a-f]{64}$"},
}

const MESSAGE_TYPES: [&str; 4] = ["text", "image", "video", "audio"];

fn names<T, const N: usize>(all: [T; N], name: fn(T) -> &'static str) -> [&'static str; N] {
    all.map(name)
}

/// The limits of a server as `welcome` tells them, by the names of their configuration keys.
pub(crate) enum LimitsBody {}

const LIMITS: [(&str, &str); 9] = [
    ("sends_per_second", "Sends of a user in a second, refused ones too; 0: no limit"),
    ("send_burst", "Sends that a user may save up"),
    ("text_bytes", "Bytes of a text"),
    ("frame_bytes", "Bytes of a frame that a client sends, all its fragments together"),
    ("group_members", "Members of a group"),
    ("user_groups", "Groups of a user"),
    ("media_bytes", "Bytes of an upload"),
    ("outbox_bytes", "Bytes that wait for a socket"),
    ("user_sockets", "Sockets of a user"),
];

impl JsonSchema for LimitsBody {
    fn schema_name() -> Cow<'static, str> {
        "LimitsBody".into()
    }

    fn json_schema(_: &mut SchemaGenerator) -> Schema {
        let limit = |(name, what): (&str, &str)| {
            let limit = json!({"type": "integer", "format": "uint64", "minimum": 0, "description": what});
            (name.to_owned(), limit)
        };
        let properties: Map<String, Value> = LIMITS.map(limit).into_iter().collect();
        json_schema!({
            "type": "object",
            "description": "The limits of this server",
            "required": names(LIMITS, |(name, _)| name),
            "properties": properties,
        })
    }
}

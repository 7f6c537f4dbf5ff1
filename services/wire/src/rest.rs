//! Bodies of the REST calls.

use parley_domain::{Limits, Rejection, Seq};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

use crate::documents::shapes::{GroupHead, with_members};
use crate::documents::values::{
    AVATAR_URL_BYTES_MAX, DISPLAY_NAME_BYTES_MAX, GivenRole, PAGE_ENTRIES_MAX, RoleText, SHOWN_MEMBERS_MAX,
    Sha256Hex, Time, UserIdText,
};
pub use crate::frame::role_name;
use crate::frame::{MessageBody, WireError};

/// `{"error": …}`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct ErrorEnvelope {
    /// What went wrong.
    pub error: WireError,
}

impl ErrorEnvelope {
    /// The body that goes with a rejection.
    #[must_use]
    pub fn new(rejection: &Rejection) -> Self {
        Self { error: rejection.into() }
    }
}

/// `POST /groups`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct CreateGroup {
    #[schemars(length(min = 1, max = Limits::NAME_BYTES_MAX))]
    pub name: String,
    #[schemars(length(max = Limits::DESCRIPTION_BYTES_MAX))]
    pub description: Option<String>,
    #[schemars(with = "Vec<UserIdText>", length(max = Limits::MEMBERS_PER_CALL_MAX))]
    pub members: Vec<String>,
    pub group_id: Option<Uuid>,
}

/// `PATCH /groups/{id}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct UpdateGroup {
    #[schemars(length(min = 1, max = Limits::NAME_BYTES_MAX))]
    pub name: Option<String>,
    #[schemars(length(max = Limits::DESCRIPTION_BYTES_MAX))]
    pub description: Option<String>,
}

/// `POST /groups/{id}/members`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct AddMembers {
    #[schemars(with = "Vec<UserIdText>", length(min = 1, max = Limits::MEMBERS_PER_CALL_MAX))]
    pub user_ids: Vec<String>,
}

/// `PUT /groups/{id}/owner`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct TransferOwnership {
    #[schemars(with = "UserIdText")]
    pub user_id: String,
}

/// `PUT /groups/{id}/members/{user_id}/role`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct SetRole {
    #[schemars(with = "GivenRole")]
    pub role: String,
}

/// `PUT /users/me`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct PutProfile {
    #[schemars(length(min = 1, max = DISPLAY_NAME_BYTES_MAX))]
    pub display_name: String,
    /// An http or https URL.
    #[schemars(length(max = AVATAR_URL_BYTES_MAX))]
    pub avatar_url: Option<String>,
}

/// `POST /media/uploads`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct CreateUpload {
    pub group_id: Uuid,
    /// A MIME type `image/…`, `video/…` or `audio/…`.
    pub content_type: String,
    /// Bytes; at most `limits.media_bytes`.
    #[schemars(range(min = 1))]
    pub content_length: u64,
    /// Of the content.
    #[schemars(with = "Sha256Hex")]
    pub sha256: String,
}

/// A group.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[schemars(transform = with_members)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct GroupBody {
    pub group_id: Uuid,
    pub name: String,
    pub description: String,
    #[schemars(with = "UserIdText")]
    pub owner: String,
    #[schemars(with = "UserIdText")]
    pub created_by: String,
    #[schemars(with = "Time")]
    pub created_at: String,
    #[schemars(with = "Time")]
    pub updated_at: String,
    pub member_count: u32,
    /// The first of them; `member_count` is how many there are.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Vec<MemberBody>", length(max = SHOWN_MEMBERS_MAX))]
    pub members: Option<Vec<MemberBody>>,
    pub head_seq: Seq,
    pub epoch: Uuid,
}

/// A group in the caller's list.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct ListedGroup {
    #[serde(flatten)]
    #[schemars(with = "GroupHead")]
    pub group: GroupBody,
    pub delivered_seq: Seq,
    pub read_seq: Seq,
    pub unread: u32,
    pub last_message: Option<MessageBody>,
}

/// A member.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct MemberBody {
    #[schemars(with = "UserIdText")]
    pub user_id: String,
    #[schemars(with = "RoleText")]
    pub role: &'static str,
    #[schemars(with = "Time")]
    pub joined_at: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub delivered_seq: Option<Seq>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub read_seq: Option<Seq>,
}

/// `GET /groups`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Groups {
    #[schemars(length(max = PAGE_ENTRIES_MAX))]
    pub groups: Vec<ListedGroup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// `GET /groups/{id}/members`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Members {
    #[schemars(length(max = PAGE_ENTRIES_MAX))]
    pub members: Vec<MemberBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// `GET /groups/{id}/messages`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Messages {
    #[schemars(length(max = PAGE_ENTRIES_MAX))]
    pub messages: Vec<MessageBody>,
    pub has_more: bool,
}

/// One member's status of a message.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct StatusBody {
    pub message_id: Uuid,
    #[schemars(with = "UserIdText")]
    pub user_id: String,
    pub delivered: bool,
    pub read: bool,
    #[schemars(with = "Time")]
    pub updated_at: String,
}

/// `GET /groups/{id}/messages/{message_id}/status`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Statuses {
    #[schemars(length(max = PAGE_ENTRIES_MAX))]
    pub statuses: Vec<StatusBody>,
    pub delivered_count: u32,
    pub read_count: u32,
    pub member_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// What to do with an upload URL.
#[derive(Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct UploadBody {
    pub method: String,
    #[schemars(url)]
    pub url: String,
    pub headers: std::collections::BTreeMap<String, String>,
    #[schemars(with = "Time")]
    pub expires_at: String,
}

/// The answer to `POST /media/uploads`.
#[derive(Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Upload {
    pub media_id: Uuid,
    pub media_url: String,
    pub upload: UploadBody,
}

/// `GET /media/{media_id}`.
#[derive(Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Download {
    #[schemars(url)]
    pub url: String,
    pub content_type: String,
    pub content_length: u64,
    #[schemars(with = "Time")]
    pub expires_at: String,
}

/// A profile.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct ProfileBody {
    #[schemars(with = "UserIdText")]
    pub user_id: String,
    pub display_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    #[schemars(with = "Time")]
    pub updated_at: String,
}

/// `GET /healthz`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Alive {
    /// Always true: who isn't alive doesn't answer.
    pub alive: bool,
}

/// Something that a server needs and hasn't.
#[derive(Debug, Serialize, JsonSchema)]
pub struct NotReady {
    /// What it is.
    pub name: String,
    /// What is wrong with it, for people.
    pub reason: String,
}

/// `GET /readyz`.
#[derive(Debug, Serialize, JsonSchema)]
pub struct Readiness {
    /// Whether nothing is missing.
    pub ready: bool,
    /// What is missing; empty if nothing is.
    pub not_ready: Vec<NotReady>,
}

//! Bodies of the REST calls.

use parley_domain::{Rejection, Seq};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use uuid::Uuid;

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
    pub name: String,
    pub description: Option<String>,
    pub members: Vec<String>,
    pub group_id: Option<Uuid>,
}

/// `PATCH /groups/{id}`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct UpdateGroup {
    pub name: Option<String>,
    pub description: Option<String>,
}

/// `POST /groups/{id}/members`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct AddMembers {
    pub user_ids: Vec<String>,
}

/// `PUT /groups/{id}/owner`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct TransferOwnership {
    pub user_id: String,
}

/// `PUT /groups/{id}/members/{user_id}/role`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct SetRole {
    pub role: String,
}

/// `PUT /users/me`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct PutProfile {
    pub display_name: String,
    pub avatar_url: Option<String>,
}

/// `POST /media/uploads`.
#[derive(Debug, Deserialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct CreateUpload {
    pub group_id: Uuid,
    pub content_type: String,
    pub content_length: u64,
    pub sha256: String,
}

/// A group.
#[derive(Debug, Clone, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct GroupBody {
    pub group_id: Uuid,
    pub name: String,
    pub description: String,
    pub owner: String,
    pub created_by: String,
    pub created_at: String,
    pub updated_at: String,
    pub member_count: u32,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub members: Option<Vec<MemberBody>>,
    pub head_seq: Seq,
    pub epoch: Uuid,
}

/// A group in the caller's list.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct ListedGroup {
    #[serde(flatten)]
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
    pub user_id: String,
    pub role: &'static str,
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
    pub groups: Vec<ListedGroup>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// `GET /groups/{id}/members`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Members {
    pub members: Vec<MemberBody>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub next_cursor: Option<String>,
}

/// `GET /groups/{id}/messages`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Messages {
    pub messages: Vec<MessageBody>,
    pub has_more: bool,
}

/// One member's status of a message.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct StatusBody {
    pub message_id: Uuid,
    pub user_id: String,
    pub delivered: bool,
    pub read: bool,
    pub updated_at: String,
}

/// `GET /groups/{id}/messages/{message_id}/status`.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct Statuses {
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
    pub url: String,
    pub headers: std::collections::BTreeMap<String, String>,
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
    pub url: String,
    pub content_type: String,
    pub content_length: u64,
    pub expires_at: String,
}

/// A profile.
#[derive(Debug, Serialize, JsonSchema)]
#[allow(missing_docs, reason = "as the contract names them")]
pub struct ProfileBody {
    pub user_id: String,
    pub display_name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub avatar_url: Option<String>,
    pub updated_at: String,
}

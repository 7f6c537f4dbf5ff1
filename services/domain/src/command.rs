//! Wishes. A command names what somebody wants; whether it happens is up to [`crate::decide()`].

use bytes::Bytes;

use crate::event::{MessageKind, RollbackReason};
use crate::group::Role;
use crate::ids::{ClientMessageId, KeyId, MessageId, Seq, UserId};
use crate::media::{MediaDescription, MediaFault};
use crate::partition::Position;
use crate::rejection::Rejection;
use crate::time::Timestamp;

/// What somebody wants of one group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Command {
    /// Make the group; the actor becomes its owner.
    Create(CreateGroup),
    /// Change name or description.
    Update {
        /// The new name, if any.
        name: Option<String>,
        /// The new description, if any.
        description: Option<String>,
    },
    /// Add users; those who are members already are skipped.
    AddMembers {
        /// Whom.
        users: Vec<UserId>,
    },
    /// Remove a member, or leave.
    RemoveMember {
        /// Whom.
        user: UserId,
    },
    /// Make somebody else the owner.
    TransferOwnership {
        /// Whom.
        user: UserId,
    },
    /// Make a member an admin, or the reverse.
    SetRole {
        /// Whose.
        user: UserId,
        /// Admin or member.
        role: Role,
    },
    /// End the group.
    Dissolve,
    /// Send a message.
    Send(Box<SendMessage>),
    /// Compensate a message that can't be kept. By the system, never by a user.
    RollBack {
        /// Which.
        message_id: MessageId,
        /// Where it lies.
        message_seq: Seq,
        /// Who sent it.
        sender: UserId,
        /// Why.
        reason: RollbackReason,
    },
}

/// A group to be made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CreateGroup {
    /// Name.
    pub name: String,
    /// Description, may be empty.
    pub description: String,
    /// Members beside the actor, who may be named too; repeats are dropped.
    pub members: Vec<UserId>,
    /// Digest of the request.
    pub recipe: [u8; 32],
}

/// A message to be sent. The rim has sealed it and looked for an earlier one with the same id.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SendMessage {
    /// The sender's id for it.
    pub client_message_id: ClientMessageId,
    /// What kind.
    pub kind: MessageKind,
    /// The sealed content.
    pub content: SealedContent,
    /// The object, or why it can't be taken; `None` for text.
    pub media: Option<Result<MediaDescription, MediaFault>>,
    /// The message that was accepted before under the same id by the same sender, if any.
    pub earlier: Option<Earlier>,
    /// The sender is over the rate limit: refuse, unless this is a repeat.
    pub over_rate: Option<Rejection>,
}

/// Content as it will lie in the log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SealedContent {
    /// The data key.
    pub key_id: KeyId,
    /// Nonce, ciphertext and tag.
    pub sealed: Bytes,
    /// HMAC of the content under the data key.
    pub mac: [u8; 32],
    /// Length of the text in bytes.
    pub text_bytes: u32,
}

/// A message that was accepted before.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Earlier {
    /// Its id.
    pub message_id: MessageId,
    /// Its place in the group.
    pub seq: Seq,
    /// Its place in the log.
    pub position: Position,
    /// When it was accepted.
    pub at: Timestamp,
    /// Whether its content is that of the repeat.
    pub same_content: bool,
}

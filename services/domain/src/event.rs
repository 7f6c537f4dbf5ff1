//! Facts, in past tense. Once in the log they never change.

use bytes::Bytes;

use crate::cursor::Cursors;
use crate::group::Role;
use crate::ids::{ClientMessageId, EventId, GroupId, KeyId, MessageId, Seq, UserId};
use crate::media::MediaDescription;
use crate::time::Timestamp;

/// One event of a group's stream, with its place in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fact {
    /// The group.
    pub group_id: GroupId,
    /// Dense within the group.
    pub seq: Seq,
    /// Unique in the log; of a message the message's id.
    pub event_id: EventId,
    /// When the owner of the partition decided it.
    pub at: Timestamp,
    /// Messages in the group up to and including this event, so that counting between two events is subtraction.
    pub message_count: u64,
    /// What happened.
    pub event: Event,
}

/// What happened to a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Event {
    /// Always `seq` 1.
    GroupCreated {
        /// Name.
        name: String,
        /// Description, may be empty.
        description: String,
        /// Creator and first owner.
        creator: UserId,
        /// All members at creation, the creator first, no repeats.
        members: Vec<UserId>,
        /// Digest of the request, to tell a repeat from a conflict.
        recipe: [u8; 32],
    },
    /// Some users became members.
    MembersAdded {
        /// Who did it.
        actor: UserId,
        /// Who was added; none of them was a member.
        users: Vec<UserId>,
        /// Members afterwards.
        member_count: u32,
    },
    /// Some members left or were removed.
    MembersRemoved {
        /// Who did it; the one who left, if so.
        actor: UserId,
        /// Who is no member any more.
        users: Vec<UserId>,
        /// Members afterwards.
        member_count: u32,
    },
    /// A member's role changed (not the owner's).
    RoleChanged {
        /// The owner who did it.
        actor: UserId,
        /// Whose role.
        user: UserId,
        /// The new role.
        role: Role,
    },
    /// Another owner; the old one is an admin now.
    OwnerTransferred {
        /// The old owner.
        actor: UserId,
        /// The new owner.
        owner: UserId,
    },
    /// Name or description changed; both are given in full.
    GroupUpdated {
        /// Who did it.
        actor: UserId,
        /// The name now.
        name: String,
        /// The description now.
        description: String,
    },
    /// The end. Nothing follows.
    GroupDissolved {
        /// The owner who did it.
        actor: UserId,
    },
    /// A message.
    MessageSent(MessageSent),
    /// A message turned out to be impossible afterwards; its place stays, its content is withheld.
    MessageRolledBack {
        /// Which.
        message_id: MessageId,
        /// Where it lies.
        message_seq: Seq,
        /// Who had sent it.
        sender: UserId,
        /// Why.
        reason: RollbackReason,
    },
}

/// A message as it lies in the log: who, when, what kind and how large in clear, the content sealed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MessageSent {
    /// Given by the server.
    pub message_id: MessageId,
    /// Given by the sender.
    pub client_message_id: ClientMessageId,
    /// Who.
    pub sender: UserId,
    /// The how-many-th message of this sender in this group, from 1.
    pub sender_nth: u64,
    /// What kind.
    pub kind: MessageKind,
    /// The object, for media.
    pub media: Option<MediaDescription>,
    /// The data key.
    pub key_id: KeyId,
    /// Nonce, ciphertext and tag.
    pub sealed: Bytes,
    /// HMAC of the content under the data key, to compare repeats.
    pub mac: [u8; 32],
    /// Length of the text in bytes.
    pub text_bytes: u32,
}

/// The type of a message.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum MessageKind {
    /// Text.
    Text,
    /// A picture.
    Image,
    /// A video.
    Video,
    /// Sound.
    Audio,
}

impl MessageKind {
    /// Whether a MIME type fits.
    #[must_use]
    pub fn fits(self, content_type: &str) -> bool {
        let wanted = match self {
            Self::Text => return false,
            Self::Image => "image/",
            Self::Video => "video/",
            Self::Audio => "audio/",
        };
        content_type.get(..wanted.len()).is_some_and(|start| start.eq_ignore_ascii_case(wanted))
    }
}

/// Why a message was rolled back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RollbackReason {
    /// Its object is gone from the object store.
    MediaMissing,
    /// A projector can't apply it.
    Unprojectable,
}

/// Why a message is given without content.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Withheld {
    /// It was rolled back.
    RolledBack,
    /// Its data key was destroyed.
    Erased,
}

/// One member's cursors moved. Cumulative and monotone, so that any order and any repeat converge.
///
/// A cursor that didn't move is 0 here, so that each step of a cursor is in the log once, with its time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CursorAdvance {
    /// Whose.
    pub user: UserId,
    /// Everything up to here was delivered; 0: as before.
    pub delivered: Seq,
    /// Everything up to here was read; 0: as before. Read implies delivered: if it passes the other, both move.
    pub read: Seq,
    /// Where the delivered cursor stood before.
    pub delivered_before: Seq,
    /// Where the read cursor stood before.
    pub read_before: Seq,
    /// When the owner of the partition took it.
    pub at: Timestamp,
    /// The notification of the joining at this `seq` was acknowledged.
    pub notified: Option<Seq>,
}

impl CursorAdvance {
    /// Where the lower of the cursors that moved stood before: everything after it, up to the higher one, is news.
    #[must_use]
    pub fn before(&self) -> Seq {
        if self.read > 0 { self.read_before } else { self.delivered_before }
    }

    /// Where both stand now.
    #[must_use]
    pub fn after(&self) -> Cursors {
        let read = self.read.max(self.read_before);
        Cursors { delivered: self.delivered.max(self.delivered_before).max(read), read }
    }
}

/// A user's profile, in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProfileChanged {
    /// Whose.
    pub user: UserId,
    /// Shown to others.
    pub display_name: String,
    /// A picture.
    pub avatar_url: Option<String>,
    /// When.
    pub at: Timestamp,
}

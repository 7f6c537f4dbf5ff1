//! The ports: what Parley asks of a read store, and how projectors write it.

use std::sync::Arc;

use async_trait::async_trait;
use bytes::Bytes;
use parley_domain::{
    Epoch, GroupId, MediaId, MessageId, NotificationKind, Position, ProfileChanged, Role, Row, Seq,
    Timestamp, UserId, Validity,
};

use crate::Page;

/// Why a read store didn't answer.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The engine failed; worth another try.
    #[error("the read store failed")]
    Engine(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// Bytes that this program can't have written.
    #[error("a row of the read store is damaged: {0}")]
    Damaged(&'static str),
    /// The read model was built from another log, or from another incarnation of this one.
    #[error("the read model was built from a log of epoch {found}, but this log's is {epoch}")]
    OtherLog {
        /// The read model's.
        found: Epoch,
        /// The log's.
        epoch: Epoch,
    },
    /// The read model can't be used as it is, or not for what was asked.
    #[error("the read models don't fit: {0}")]
    Unfit(String),
}

/// A group as the read model has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupRow {
    /// Its id.
    pub group_id: GroupId,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Owner now.
    pub owner: UserId,
    /// Who made it.
    pub creator: UserId,
    /// When.
    pub created_at: Timestamp,
    /// When it last changed, messages aside.
    pub updated_at: Timestamp,
    /// Members now.
    pub member_count: u32,
    /// Last event.
    pub head: Seq,
    /// Messages so far.
    pub message_count: u64,
    /// Last message; `None` before the first.
    pub last_message: Option<Seq>,
    /// The event that dissolved it.
    pub dissolved: Option<Seq>,
}

/// A user's present or last stay in a group.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MembershipRow {
    /// Whose.
    pub user: UserId,
    /// Role now, or the last one.
    pub role: Role,
    /// The joining event.
    pub joined: Seq,
    /// When.
    pub joined_at: Timestamp,
    /// By whom.
    pub added_by: UserId,
    /// At creation or later.
    pub kind: NotificationKind,
    /// The event that ended the stay, if it has ended.
    pub left: Option<Seq>,
    /// Cursor: at least `joined`.
    pub delivered: Seq,
    /// Cursor: at least `joined`, never above `delivered`.
    pub read: Seq,
}

/// A group that a user is or was in, as the user sees it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct UserGroupRow {
    /// The group.
    pub group_id: GroupId,
    /// The user's membership.
    pub membership: MembershipRow,
    /// Whether the notification of the present stay was acknowledged.
    pub notified: bool,
    /// The group's last event.
    pub head: Seq,
    /// The event that dissolved it.
    pub dissolved: Option<Seq>,
    /// Messages beyond the read cursor that others sent and that weren't rolled back; exact up to
    /// [`UNREAD_MAX`], where counting stops. 0 for who is no member any more.
    pub unread: u32,
}

/// Where counting unread messages stops.
pub const UNREAD_MAX: u32 = 1_000;

/// An event of a group's timeline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventRow {
    /// Its place in the group.
    pub seq: Seq,
    /// Its place in the log.
    pub position: Position,
    /// The record's value, as it lies in the log (protobuf, content sealed).
    pub value: Bytes,
    /// It is a message that was rolled back.
    pub rolled_back: bool,
}

/// How to find a message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MessageKey {
    /// By the server's id.
    Id(MessageId),
    /// By the sender's id.
    Client {
        /// Who.
        sender: UserId,
        /// The sender's id.
        client_message_id: parley_domain::ClientMessageId,
    },
}

/// One member's status of one message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StatusRow {
    /// Whose.
    pub user: UserId,
    /// It was delivered.
    pub delivered: bool,
    /// It was read.
    pub read: bool,
    /// When the status last changed; `None`: never since the message was sent.
    pub updated_at: Option<Timestamp>,
}

/// Who has a message, counted.
pub use parley_domain::ReceiptCounts;

/// Queries about groups and people. All lists are in ascending order of their key and bounded by `limit`.
#[async_trait]
pub trait Directory: Send + Sync {
    /// One group.
    async fn group(&self, group: GroupId) -> Result<Option<GroupRow>, Error>;

    /// Present members after `after`, by user id. Their cursors cost a look each: without `cursors` they are not looked
    /// up, and both stand at the joining event.
    async fn members(
        &self,
        group: GroupId,
        after: Option<&UserId>,
        limit: usize,
        cursors: bool,
    ) -> Result<Vec<MembershipRow>, Error>;

    /// A user's present or last stay in a group; `None` for who never was a member.
    async fn membership(&self, group: GroupId, user: &UserId) -> Result<Option<MembershipRow>, Error>;

    /// Groups that a user is or was in, after `after`, by group id.
    async fn user_groups(
        &self,
        user: &UserId,
        after: Option<GroupId>,
        limit: usize,
    ) -> Result<Vec<UserGroupRow>, Error>;

    /// One of them.
    async fn user_group(&self, user: &UserId, group: GroupId) -> Result<Option<UserGroupRow>, Error>;

    /// Whether a user is in so many groups now, or in more. Cheap where that can't be, dissolved groups counted too: then the
    /// groups themselves aren't looked at.
    async fn is_in_groups(&self, user: &UserId, at_least: usize) -> Result<bool, Error>;

    /// A user's profile.
    async fn profile(&self, user: &UserId) -> Result<Option<ProfileChanged>, Error>;
}

/// Queries about events and messages.
#[async_trait]
pub trait Timeline: Send + Sync {
    /// Events with `from <= seq <= to` in rising order; if there are more than `limit`, the first ones.
    async fn events(&self, group: GroupId, from: Seq, to: Seq, limit: usize) -> Result<Vec<EventRow>, Error>;

    /// At most `limit` *messages* (group events are passed over) with `after < seq < before`, in rising order: the first
    /// ones, or with `newest` the last ones. The flag says whether there are more.
    async fn messages(
        &self,
        group: GroupId,
        after: Seq,
        before: Seq,
        newest: bool,
        limit: usize,
    ) -> Result<(Vec<EventRow>, bool), Error>;

    /// The place of a message in its group.
    async fn find(&self, group: GroupId, key: &MessageKey) -> Result<Option<Seq>, Error>;

    /// The status of a message for its members (those at the time of the message, the sender not among them), after
    /// `after`, by user id.
    async fn statuses(
        &self,
        group: GroupId,
        seq: Seq,
        sender: &UserId,
        after: Option<&UserId>,
        limit: usize,
    ) -> Result<Vec<StatusRow>, Error>;

    /// The same, counted over all of them.
    async fn receipts(&self, group: GroupId, seq: Seq, sender: &UserId) -> Result<ReceiptCounts, Error>;

    /// Messages that carry an object, at most `limit`.
    async fn media(&self, media: MediaId, limit: usize) -> Result<Vec<(GroupId, Seq)>, Error>;
}

/// How far a projector has come in one partition of one topic: the next offset, and the claims up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Checkpoint {
    /// The next offset to read.
    pub offset: u64,
    /// The state of the claims there.
    pub validity: Validity,
}

/// Names a partition of a topic in checkpoints: (0 events, 1 acks, 2 users; partition).
pub type CheckpointKey = (u8, u32);

/// A row, and what it was made of where that matters. The rows of one fact are written by one call,
/// its [`Row::Timeline`] first.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Write {
    /// The row.
    pub row: Row,
    /// Of the event, for [`Row::Timeline`]; for [`Row::Profile`] only its place, which says which of two is the later one. Else
    /// `None`.
    pub event: Option<Source>,
}

/// What a row was made of. A timeline has it as the tag and, behind it, the value.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Source {
    /// Where it lies in the log.
    pub position: Position,
    /// The byte that says which type the value has.
    pub tag: u8,
    /// The bytes as they lie in the log.
    pub value: Bytes,
}

/// Row writes. Only the projector calls this.
#[async_trait]
pub trait Rows: Send + Sync {
    /// Writes rows and then, never before them, the checkpoints. Idempotent.
    async fn apply(
        &self,
        writes: Vec<Write>,
        checkpoints: Vec<(CheckpointKey, Checkpoint)>,
    ) -> Result<(), Error>;

    /// The checkpoints that were written last.
    async fn checkpoints(&self) -> Result<Vec<(CheckpointKey, Checkpoint)>, Error>;

    /// Canonical rows of one table in key order after `after`: at most `limit`, perhaps fewer, and none only at the end of the table.
    /// Checkpoints and the like are no rows. For comparing two versions of a read model. `page` is one that was read before, of which
    /// only the memory is used.
    async fn canonical(
        &self,
        table: &'static str,
        after: Option<&[u8]>,
        limit: usize,
        page: Page,
    ) -> Result<Page, Error>;

    /// The tables that [`Rows::canonical`] knows.
    fn tables(&self) -> &'static [&'static str];
}

/// One version of the read models: everything that can be asked and written.
pub trait ReadModel: Directory + Timeline + Rows {}
impl<T: Directory + Timeline + Rows> ReadModel for T {}

/// Versions of the read models: the live one, and the next one while it is being built.
#[async_trait]
pub trait ReadStore: Send + Sync {
    /// The live version. Cheap; hold it for one operation, not for longer.
    fn live(&self) -> Arc<dyn ReadModel>;

    /// Number of the live version, from 1.
    fn live_version(&self) -> u64;

    /// What is wrong with the live version that somebody must see to, although it goes on answering; `None`: nothing. Cheap.
    fn trouble(&self) -> Option<String> {
        None
    }

    /// Looks which version is live, and makes that the one which is asked. Where processes share a store, another one may have
    /// switched, and without this it is seen a moment later only.
    async fn refresh(&self) -> Result<(), Error>;

    /// Makes an empty version beside the live one; what was left of an earlier try is thrown away.
    async fn create_next(&self) -> Result<Arc<dyn ReadModel>, Error>;

    /// Makes the next version the live one, durably. The old one is kept until the next rebuild.
    async fn switch(&self) -> Result<(), Error>;

    /// The version that was live before the present one, to be brought up to date before [`switch_back`](Self::switch_back).
    /// [`Error::Unfit`] if there is none.
    async fn former(&self) -> Result<Arc<dyn ReadModel>, Error>;

    /// Makes the version that was live before the present one live again, durably; the present one is kept in its place,
    /// so that this can be undone in the same way. What was written since the switch is not in it: a projector goes on
    /// from its checkpoints. [`Error::Unfit`] if there is none.
    async fn switch_back(&self) -> Result<(), Error>;

    /// Makes all that was applied durable.
    async fn persist(&self) -> Result<(), Error>;
}

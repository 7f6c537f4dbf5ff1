//! How the services call each other. In one process these traits are called directly; between processes they are gRPC.

use std::sync::Arc;

use async_trait::async_trait;
use parley_domain::{
    ClientMessageId, Cursors, GroupId, MediaDescription, MediaFault, MessageId, MessageKind,
    NotificationKind, Position, ProfileChanged, ReceiptCounts, Rejection, Role, RollbackReason, Seq,
    Timestamp, UserId,
};

use crate::event::Content;
use crate::trace::TraceContext;

/// What an edge asks of the owner of a group's partition.
#[derive(Debug, Clone)]
pub struct Request {
    /// The group.
    pub group_id: GroupId,
    /// Who asks.
    pub actor: UserId,
    /// What.
    pub wish: Wish,
}

/// The wish itself.
#[derive(Debug, Clone)]
pub enum Wish {
    /// `POST /groups`.
    Create {
        /// Name.
        name: String,
        /// Description.
        description: String,
        /// Members beside the caller.
        members: Vec<UserId>,
        /// Digest of the request.
        recipe: [u8; 32],
    },
    /// `PATCH /groups/{id}`.
    Update {
        /// The new name, if any.
        name: Option<String>,
        /// The new description, if any.
        description: Option<String>,
    },
    /// `POST /groups/{id}/members`.
    AddMembers(Vec<UserId>),
    /// `DELETE /groups/{id}/members/{user_id}`.
    RemoveMember(UserId),
    /// `PUT /groups/{id}/owner`.
    TransferOwnership(UserId),
    /// `PUT /groups/{id}/members/{user_id}/role`.
    SetRole(UserId, Role),
    /// `DELETE /groups/{id}`.
    Dissolve,
    /// `send_group_message`. Boxed, as it is the largest.
    Send(Box<Send>),
    /// Cursors of several members at once; the actor of the request means nothing.
    AdvanceCursors(Vec<parley_domain::CursorWish>),
    /// `notify_create_group`.
    NotifyCreated,
    /// A message turned out to be impossible. By the system; the actor means nothing.
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
    /// Who has some messages, counted: `(seq, sender)` each, at most 100. Nobody, where the sender is no member any more.
    CountReceipts(Vec<(Seq, UserId)>),
}

/// A message to send, in clear.
#[derive(Debug, Clone)]
pub struct Send {
    /// The sender's id.
    pub client_message_id: ClientMessageId,
    /// Its type.
    pub kind: MessageKind,
    /// Text and media URL.
    pub content: Content,
    /// What was found of its media.
    pub media: Option<Result<MediaDescription, MediaFault>>,
    /// The sender is over its rate: refuse unless it is a repeat.
    pub over_rate: Option<Rejection>,
    /// The span of the edge, if this one is traced.
    pub trace: Option<TraceContext>,
}

/// What comes of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    /// The group changed, or is so already. `created` only for a group that is new.
    Group {
        /// The group's state afterwards.
        group: GroupSummary,
        /// It was made by this very request.
        created: bool,
    },
    /// The message is durable.
    Accepted {
        /// Its id.
        message_id: MessageId,
        /// Its place in the group.
        seq: Seq,
        /// Its place in the log.
        position: Position,
        /// When.
        created_at: Timestamp,
        /// It had been accepted before.
        duplicate: bool,
    },
    /// For each wish, in order.
    Cursors(Vec<Result<Cursors, Rejection>>),
    /// `create_group_notified`.
    Notified {
        /// Members that were told.
        online: u32,
        /// Members that will be told when they connect.
        pending: u32,
    },
    /// For each message, in order.
    Receipts(Vec<ReceiptCounts>),
    /// Done.
    Done,
    /// This writer doesn't own the partition, or not under that term: nothing of it was appended here. Ask again, whoever
    /// does, with the same ids. Only between processes.
    NotOwner,
}

impl Wish {
    /// Whether to ask again, if the outcome of the first time is unknown, gives the same in the end. The others would be
    /// refused for what they did themselves.
    #[must_use]
    pub fn is_repeatable(&self) -> bool {
        match self {
            Self::Create { .. }
            | Self::Update { .. }
            | Self::AddMembers(_)
            | Self::SetRole(..)
            | Self::Send(_)
            | Self::AdvanceCursors(_)
            | Self::NotifyCreated
            | Self::RollBack { .. }
            | Self::CountReceipts(_) => true,
            Self::RemoveMember(_) | Self::TransferOwnership(_) | Self::Dissolve => false,
        }
    }
}

/// A group without its members.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GroupSummary {
    /// Its id.
    pub group_id: GroupId,
    /// Name.
    pub name: String,
    /// Description.
    pub description: String,
    /// Owner now.
    pub owner: UserId,
    /// Who made it.
    pub created_by: UserId,
    /// When.
    pub created_at: Timestamp,
    /// When it last changed, messages aside.
    pub updated_at: Timestamp,
    /// Members now.
    pub member_count: u32,
    /// Last event.
    pub head: Seq,
}

/// The answer's way back. Called exactly once: if it is dropped, the answer is `outcome_unknown`.
pub struct ReplyTo(Option<Box<Callback>>);

type Callback = dyn FnOnce(Result<Reply, Rejection>) + std::marker::Send + Sync;

impl ReplyTo {
    /// Calls back with the answer. The callback must not block: it runs on the owner's task.
    pub fn new(callback: impl FnOnce(Result<Reply, Rejection>) + std::marker::Send + Sync + 'static) -> Self {
        Self(Some(Box::new(callback)))
    }

    /// Answers.
    pub fn answer(mut self, result: Result<Reply, Rejection>) {
        if let Some(callback) = self.0.take() {
            callback(result);
        }
    }
}

impl Drop for ReplyTo {
    fn drop(&mut self) {
        if let Some(callback) = self.0.take() {
            callback(Err(outcome_unknown()));
        }
    }
}

/// `outcome_unknown`, with what to do.
#[must_use]
pub fn outcome_unknown() -> Rejection {
    Rejection::new(
        parley_domain::Code::OutcomeUnknown,
        "it may or may not have happened: repeat the request with the same id to find out",
    )
    .retry_after(1_000)
}

/// The owners of the partitions, as an edge sees them.
#[async_trait]
pub trait Commands: std::marker::Send + Sync {
    /// Hands a request over; never waits. Requests of one caller to one group are decided in the order of the calls.
    /// A full queue answers `busy` at once.
    fn submit(&self, request: Request, reply_to: ReplyTo);

    /// Stores a profile; returns once it is durable.
    async fn put_profile(&self, profile: ProfileChanged) -> Result<(), Rejection>;
}

/// The partitions that this process owns, as other processes ask for them.
#[async_trait]
pub trait Owner: std::marker::Send + Sync {
    /// As [`Commands::submit`], under a term; answers [`Reply::NotOwner`] under any other than the partition's.
    fn submit(&self, term: u64, request: Request, reply_to: ReplyTo);

    /// Stores a profile; [`Reply::Done`] once it is durable, or [`Reply::NotOwner`].
    async fn put_profile(&self, term: u64, profile: ProfileChanged) -> Result<Reply, Rejection>;
}

/// Submits and waits for the answer.
///
/// # Errors
/// The [`Rejection`], `outcome_unknown` if the owner vanished or took longer than `wait`.
pub async fn call(
    commands: &dyn Commands,
    request: Request,
    wait: std::time::Duration,
) -> Result<Reply, Rejection> {
    let (tx, rx) = tokio::sync::oneshot::channel();
    commands.submit(request, ReplyTo::new(move |result| drop(tx.send(result))));
    match tokio::time::timeout(wait, rx).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) | Err(_) => Err(outcome_unknown()),
    }
}

/// Tells users who are online that they are in a group now.
#[derive(Debug, Clone)]
pub struct Notice {
    /// The group.
    pub group: GroupSummary,
    /// At creation or later.
    pub kind: NotificationKind,
    /// By whom.
    pub added_by: UserId,
    /// The joining event.
    pub seq: Seq,
    /// When.
    pub at: Timestamp,
    /// Whom to tell.
    pub users: Arc<[UserId]>,
    /// In which of their sessions.
    pub audience: Audience,
}

/// In which of their sessions users are told something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// In all.
    All,
    /// In those that aren't subscribed to the group: the server stands in for a creator who said nothing.
    Unsubscribed,
    /// In none: they were told before, and it is only asked who is online.
    Nobody,
}

/// The edges, as an owner of partitions sees them.
#[async_trait]
pub trait Notices: std::marker::Send + Sync {
    /// Sends a notice to those of its users who are online, and returns who was.
    async fn notify(&self, notice: Notice) -> Vec<UserId>;
}

/// The other edges, as an edge sees them.
pub trait Peers: std::marker::Send + Sync {
    /// Somebody types here: tells the members at other edges. Best effort, never waits.
    fn typing(&self, group: GroupId, user: &UserId);
}

/// There are no others.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoPeers;

impl Peers for NoPeers {
    fn typing(&self, _: GroupId, _: &UserId) {}
}

/// How far the projectors have come: what an owner may forget, and what a reader must wait for.
#[async_trait]
pub trait Progress: std::marker::Send + Sync {
    /// Returns once everything that was in the log at the time of the call is in the read models;
    /// `false` if that took longer than `wait`. With a group only its partition counts.
    async fn caught_up(&self, group: Option<GroupId>, wait: std::time::Duration) -> bool;

    /// The next offset of `parley.events` that is not in the read models yet.
    fn projected(&self, partition: u32) -> u64;
}

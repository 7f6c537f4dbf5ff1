//! The core of Parley: what a group is, what may happen to it, and what each fact means for the read models.
//!
//! Everything here is a function of its arguments. There is no clock, no randomness, no I/O and no async:
//! the time and fresh ids arrive in a [`Context`], and the rest of the program moves values in and out.
//!
//! - [`decide()`]: a [`Command`] against a [`Group`] gives a [`Decision`] or a [`Rejection`].
//! - [`Group::evolve`]: a [`Fact`] that happened changes the group. It never fails and reads no configuration.
//! - [`project()`]: a fact gives the [`Row`]s of the read models.
//! - [`Validity`]: which records of a partition count (the claims of design decision 2).

mod command;
mod cursor;
mod decide;
mod event;
mod group;
mod ids;
mod limits;
mod media;
mod notification;
mod partition;
mod project;
mod rejection;
mod time;
mod validity;

pub use command::{Command, CreateGroup, Earlier, SealedContent, SendMessage};
pub use cursor::{CursorOutcome, CursorWish, Cursors, advance_cursors};
pub use decide::{Context, Decision, check_name, decide};
pub use event::{
    CursorAdvance, Event, Fact, MessageKind, MessageSent, ProfileChanged, RollbackReason, Withheld,
};
pub use group::{Group, Membership, ReceiptCounts, Role, Stay};
pub use ids::{ClientMessageId, Epoch, EventId, GroupId, IdError, KeyId, MediaId, MessageId, Seq, UserId};
pub use limits::Limits;
pub use media::{MediaClaims, MediaDescription, MediaFault};
pub use notification::{NotificationKind, notification_id};
pub use partition::{PartitionCount, Position, murmur2, partition_of};
pub use project::{MembershipChange, Row, project, project_cursor, project_profile};
pub use rejection::{Code, Rejection};
pub use time::Timestamp;
pub use validity::{Stamp, Validity, Verdict};

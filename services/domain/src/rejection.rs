//! The domain said no. What broke (an `Error`) is something else.

use std::fmt;

/// Every error code of the contract. `/v1` only grows, so new ones may be added, none renamed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[allow(missing_docs, reason = "each is explained by its entry in `Code::advice` and by the contract")]
pub enum Code {
    BadRequest,
    Unauthenticated,
    TokenExpired,
    Forbidden,
    NotAMember,
    MediaForbidden,
    GroupNotFound,
    MessageNotFound,
    MediaNotFound,
    MemberNotFound,
    UserNotFound,
    NotificationNotFound,
    NotFound,
    IdempotencyConflict,
    OwnerMustTransfer,
    GroupFull,
    TooManyGroups,
    GroupDissolved,
    TooLarge,
    MediaNotUploaded,
    MediaMismatch,
    RateLimited,
    Internal,
    Busy,
    Unavailable,
    OutcomeUnknown,
}

impl Code {
    /// All of them, in the contract's order.
    pub const ALL: [Self; 26] = [
        Self::BadRequest,
        Self::Unauthenticated,
        Self::TokenExpired,
        Self::Forbidden,
        Self::NotAMember,
        Self::MediaForbidden,
        Self::GroupNotFound,
        Self::MessageNotFound,
        Self::MediaNotFound,
        Self::MemberNotFound,
        Self::UserNotFound,
        Self::NotificationNotFound,
        Self::NotFound,
        Self::IdempotencyConflict,
        Self::OwnerMustTransfer,
        Self::GroupFull,
        Self::TooManyGroups,
        Self::GroupDissolved,
        Self::TooLarge,
        Self::MediaNotUploaded,
        Self::MediaMismatch,
        Self::RateLimited,
        Self::Internal,
        Self::Busy,
        Self::Unavailable,
        Self::OutcomeUnknown,
    ];
}

/// A command that was refused. It left no trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rejection {
    /// What clients go by.
    pub code: Code,
    /// What to do about it, for a person.
    pub message: String,
    /// When it is worth another try, where that is known.
    pub retry_after_ms: Option<u64>,
}

impl Rejection {
    /// A rejection with an explanation.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after_ms: None }
    }

    /// `bad_request`.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self::new(Code::BadRequest, message)
    }

    /// `group_not_found`.
    #[must_use]
    pub fn group_not_found() -> Self {
        Self::new(Code::GroupNotFound, "no group has this id")
    }

    /// `not_a_member`.
    #[must_use]
    pub fn not_a_member() -> Self {
        Self::new(Code::NotAMember, "you are not a member of this group: an owner or admin can add you")
    }

    /// `group_dissolved`.
    #[must_use]
    pub fn group_dissolved() -> Self {
        Self::new(Code::GroupDissolved, "the group was dissolved by its owner")
    }

    /// With a hint when to try again.
    #[must_use]
    pub fn retry_after(mut self, millis: u64) -> Self {
        self.retry_after_ms = Some(millis);
        self
    }
}

impl fmt::Display for Rejection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}: {}", self.code, self.message)
    }
}

//! Error codes and close codes, as clients see them.

use parley_domain::Code;

/// The code's name on the wire.
#[must_use]
pub fn name(code: Code) -> &'static str {
    entry(code).0
}

/// The HTTP status that goes with a code.
#[must_use]
pub fn http_status(code: Code) -> u16 {
    entry(code).1
}

/// Whether the same request may succeed later.
#[must_use]
pub fn retryable(code: Code) -> bool {
    matches!(code, Code::RateLimited | Code::Busy | Code::Unavailable | Code::OutcomeUnknown | Code::Internal)
}

fn entry(code: Code) -> (&'static str, u16) {
    match code {
        Code::BadRequest => ("bad_request", 400),
        Code::Unauthenticated => ("unauthenticated", 401),
        Code::TokenExpired => ("token_expired", 401),
        Code::Forbidden => ("forbidden", 403),
        Code::NotAMember => ("not_a_member", 403),
        Code::MediaForbidden => ("media_forbidden", 403),
        Code::GroupNotFound => ("group_not_found", 404),
        Code::MessageNotFound => ("message_not_found", 404),
        Code::MediaNotFound => ("media_not_found", 404),
        Code::MemberNotFound => ("member_not_found", 404),
        Code::UserNotFound => ("user_not_found", 404),
        Code::NotificationNotFound => ("notification_not_found", 404),
        Code::NotFound => ("not_found", 404),
        Code::IdempotencyConflict => ("idempotency_conflict", 409),
        Code::OwnerMustTransfer => ("owner_must_transfer", 409),
        Code::GroupFull => ("group_full", 409),
        Code::TooManyGroups => ("too_many_groups", 409),
        Code::GroupDissolved => ("group_dissolved", 410),
        Code::TooLarge => ("too_large", 413),
        Code::MediaNotUploaded => ("media_not_uploaded", 422),
        Code::MediaMismatch => ("media_mismatch", 422),
        Code::RateLimited => ("rate_limited", 429),
        Code::Internal => ("internal", 500),
        Code::Busy => ("busy", 503),
        Code::Unavailable => ("unavailable", 503),
        Code::OutcomeUnknown => ("outcome_unknown", 504),
    }
}

/// Why the server closes a WebSocket. Below 3500 the client reconnects, from 3500 on it doesn't.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Close {
    /// The client closed.
    Normal,
    /// RFC 6455 was broken.
    Protocol,
    /// A text was no UTF-8.
    InvalidText,
    /// A frame beyond the limit; don't repeat it.
    TooLarge,
    /// A planned stop.
    GoingAway,
    /// The token expired, or none came in time.
    TokenExpired,
    /// Took no byte for too long.
    TooSlow,
    /// No pong came.
    NoPong,
    /// A bad token.
    BadToken,
    /// Ten frames in a row that were no JSON object.
    ProtocolViolation,
    /// The user has too many connections; the oldest goes.
    TooManyConnections,
}

impl Close {
    /// All of them.
    pub const ALL: [Self; 11] = [
        Self::Normal,
        Self::Protocol,
        Self::InvalidText,
        Self::TooLarge,
        Self::GoingAway,
        Self::TokenExpired,
        Self::TooSlow,
        Self::NoPong,
        Self::BadToken,
        Self::ProtocolViolation,
        Self::TooManyConnections,
    ];

    /// The status code of the close frame.
    #[must_use]
    pub fn code(self) -> u16 {
        match self {
            Self::Normal => 1000,
            Self::Protocol => 1002,
            Self::InvalidText => 1007,
            Self::TooLarge => 1009,
            Self::GoingAway => 3001,
            Self::TokenExpired => 3005,
            Self::TooSlow => 3008,
            Self::NoPong => 3012,
            Self::BadToken => 3500,
            Self::ProtocolViolation => 3501,
            Self::TooManyConnections => 3504,
        }
    }

    /// Whether a client that finds its connection closed so opens another one: by the range of the code, as it does for a code
    /// that it doesn't know. [`Close::Normal`] is no exception. The server only gives it back to a client that closed, which
    /// knows what it wants; from anybody between the two it is a lost connection like any other.
    #[must_use]
    pub fn reconnects(self) -> bool {
        self.code() < 3_500
    }

    /// The reason in the close frame.
    #[must_use]
    pub fn reason(self) -> &'static str {
        match self {
            Self::Normal => "",
            Self::Protocol => "protocol error",
            Self::InvalidText => "text is not UTF-8",
            Self::TooLarge => "frame too large",
            Self::GoingAway => "going away",
            Self::TokenExpired => "token expired or late",
            Self::TooSlow => "too slow",
            Self::NoPong => "no pong",
            Self::BadToken => "unauthenticated",
            Self::ProtocolViolation => "protocol violation",
            Self::TooManyConnections => "too many connections",
        }
    }
}

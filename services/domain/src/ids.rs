//! Names of things. Ids that Parley makes are UUIDv7; order never comes from an id, but from `seq`.

use std::fmt;
use std::sync::Arc;

use uuid::Uuid;

/// The dense offset of an event within its group: 1, 2, 3 … with no hole. 0 means "before the first".
pub type Seq = u64;

/// Why a string is no id.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum IdError {
    /// Not a UUID in its usual text form.
    #[error("not a UUID")]
    NotUuid,
    /// Empty, or longer than the kind of id allows.
    #[error("must have 1 to {bytes_max} bytes")]
    Length {
        /// The greatest allowed length.
        bytes_max: usize,
    },
    /// Holds control characters or the like.
    #[error("must be printable")]
    NotPrintable,
}

macro_rules! uuid_id {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $name(pub Uuid);

        impl $name {
            /// Parses the usual text form.
            ///
            /// # Errors
            /// [`IdError::NotUuid`] for anything else.
            pub fn parse(text: &str) -> Result<Self, IdError> {
                Uuid::try_parse(text).map(Self).map_err(|_| IdError::NotUuid)
            }

            /// The 16 bytes, big-endian.
            #[must_use]
            pub fn as_bytes(&self) -> &[u8; 16] {
                self.0.as_bytes()
            }

            /// From 16 bytes.
            #[must_use]
            pub fn from_bytes(bytes: [u8; 16]) -> Self {
                Self(Uuid::from_bytes(bytes))
            }

            /// From a slice that must have 16 bytes.
            #[must_use]
            pub fn from_slice(bytes: &[u8]) -> Option<Self> {
                Uuid::from_slice(bytes).ok().map(Self)
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    };
}

uuid_id!(
    /// A group, and so a stream of events.
    GroupId
);
uuid_id!(
    /// A message, given by the server.
    MessageId
);
uuid_id!(
    /// An uploaded or to be uploaded object.
    MediaId
);
uuid_id!(
    /// One event in the log; consumers drop repeats by it (`ce_id`).
    EventId
);
uuid_id!(
    /// One incarnation of the log: positions and `seq` of another epoch mean nothing in this one.
    Epoch
);
uuid_id!(
    /// A data key, random; named by each event whose content is sealed under it.
    KeyId
);

/// A user: the `sub` of the token. 1 to 128 bytes of printable UTF-8. Cheap to clone.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct UserId(Arc<str>);

/// No control, no line or paragraph separator, no noncharacter, and nothing that turns the direction of what follows, by
/// which one id could look like another.
fn is_printable(c: char) -> bool {
    let turns = matches!(c, '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
    let is_no_character =
        matches!(u32::from(c) & 0xffff, 0xfffe | 0xffff) || matches!(c, '\u{fdd0}'..='\u{fdef}');
    !(c.is_control() || turns || is_no_character || matches!(c, '\u{2028}' | '\u{2029}' | '\u{feff}'))
}

impl UserId {
    /// The greatest length.
    pub const BYTES_MAX: usize = 128;

    /// Checks and takes a user id.
    ///
    /// # Errors
    /// [`IdError::Length`] or [`IdError::NotPrintable`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            return Err(IdError::Length { bytes_max: Self::BYTES_MAX });
        }
        // Nearly all ids are ASCII, and are parsed with every record and frame.
        let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic() || byte == b' ');
        if !is_plain && !text.chars().all(is_printable) {
            return Err(IdError::NotPrintable);
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

impl fmt::Display for UserId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl std::borrow::Borrow<str> for UserId {
    fn borrow(&self) -> &str {
        &self.0
    }
}

/// The sender's own name for a message: 1 to 64 bytes. The same id again is the same message.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct ClientMessageId(Arc<str>);

impl ClientMessageId {
    /// The greatest length.
    pub const BYTES_MAX: usize = 64;

    /// Checks and takes a client message id.
    ///
    /// # Errors
    /// [`IdError::Length`].
    pub fn parse(text: &str) -> Result<Self, IdError> {
        if text.is_empty() || text.len() > Self::BYTES_MAX {
            return Err(IdError::Length { bytes_max: Self::BYTES_MAX });
        }
        Ok(Self(text.into()))
    }

    /// The text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ClientMessageId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

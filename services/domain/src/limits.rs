//! The limits of the contract that the core decides by. Those of transports live beside the transports.

/// Limits on groups and messages. 0 is no value here: the configuration refuses it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Members of one group.
    pub group_members_max: u32,
    /// Length of a message's text.
    pub text_bytes_max: usize,
}

impl Limits {
    /// User ids in one call that changes membership.
    pub const MEMBERS_PER_CALL_MAX: usize = 1_000;
    /// Entries of one `CursorsAdvanced`.
    pub const CURSORS_PER_EVENT_MAX: usize = 1_000;
    /// Length of a group's name.
    pub const NAME_BYTES_MAX: usize = 256;
    /// Length of a group's description.
    pub const DESCRIPTION_BYTES_MAX: usize = 4_096;
}

impl Default for Limits {
    fn default() -> Self {
        Self { group_members_max: 100_000, text_bytes_max: 16 * 1024 }
    }
}

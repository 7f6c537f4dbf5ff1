//! What a value of the log says, kept beside it where it was encoded: readers in the writer's own process needn't decode it again.

use std::sync::Arc;

use bytes::Bytes;
use parley_domain::{Event, Fact};

use crate::event::{self, CursorsAdvanced, DecodeError};

/// What a fact or a list of cursors takes in memory by itself, and what each user in it does, roughly.
const OVERHEAD_BYTES: usize = 512;
const USER_BYTES: usize = 48;
const CURSOR_BYTES: usize = 128;

/// What a value was encoded from, if that is known. It says nothing that the value doesn't, so any two are equal.
#[derive(Debug, Clone, Default)]
pub struct Decoded(Option<Said>);

#[derive(Debug, Clone)]
enum Said {
    Fact(Arc<Fact>),
    Cursors(Arc<CursorsAdvanced>),
}

impl PartialEq for Decoded {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Decoded {}

impl From<Arc<Fact>> for Decoded {
    fn from(fact: Arc<Fact>) -> Self {
        Self(Some(Said::Fact(fact)))
    }
}

impl From<Arc<CursorsAdvanced>> for Decoded {
    fn from(cursors: Arc<CursorsAdvanced>) -> Self {
        Self(Some(Said::Cursors(cursors)))
    }
}

impl Decoded {
    /// The fact; decoded from its value if need be.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn fact(&self, ce_type: &str, value: &Bytes) -> Result<Arc<Fact>, DecodeError> {
        match &self.0 {
            Some(Said::Fact(fact)) => Ok(fact.clone()),
            Some(Said::Cursors(_)) | None => event::decode_fact(ce_type, value.clone()).map(Arc::new),
        }
    }

    /// The cursors; decoded from their value if need be.
    ///
    /// # Errors
    /// [`DecodeError`].
    pub fn cursors(&self, value: &Bytes) -> Result<Arc<CursorsAdvanced>, DecodeError> {
        match &self.0 {
            Some(Said::Cursors(cursors)) => Ok(cursors.clone()),
            Some(Said::Fact(_)) | None => event::decode_cursors(value.clone()).map(Arc::new),
        }
    }

    /// What it takes in memory beside its value, roughly, in bytes.
    #[must_use]
    pub fn bytes(&self, value: &Bytes) -> usize {
        match &self.0 {
            None => 0,
            Some(Said::Cursors(cursors)) => OVERHEAD_BYTES + cursors.advances.len() * CURSOR_BYTES,
            Some(Said::Fact(fact)) => {
                let users = match &fact.event {
                    Event::GroupCreated { members: users, .. }
                    | Event::MembersAdded { users, .. }
                    | Event::MembersRemoved { users, .. } => users.len(),
                    Event::RoleChanged { .. }
                    | Event::OwnerTransferred { .. }
                    | Event::GroupUpdated { .. }
                    | Event::GroupDissolved { .. }
                    | Event::MessageSent(_)
                    | Event::MessageRolledBack { .. } => 0,
                };
                // Texts and what is sealed lie here once more.
                OVERHEAD_BYTES + value.len() + users * USER_BYTES
            }
        }
    }
}

//! The log on Apache Kafka (see the parts). Work in progress: the signatures stand.

mod assignments;
mod error;
mod options;
mod roster;

use std::sync::Arc;

pub use self::assignments::{Assignment, AssignmentError, AssignmentOptions, Assignments};
pub use self::error::OpenError;
pub use self::options::KafkaOptions;
pub use self::roster::{Roster, RosterError, RosterWatch, Sighting};

/// A log on Kafka. Implements [`crate::EventLog`] (soon).
#[derive(Debug)]
pub struct KafkaLog {}

impl KafkaLog {
    /// Opens the log: makes the topics that aren't there, and checks those that are.
    ///
    /// # Errors
    /// [`OpenError`].
    pub async fn open(options: KafkaOptions) -> Result<Arc<Self>, OpenError> {
        options.check()?;
        todo!()
    }

    /// Who is there.
    #[must_use]
    pub fn roster(&self) -> Roster {
        todo!()
    }
}

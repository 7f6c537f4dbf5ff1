//! Who is there: instances publish what they are and hold as JSON, and follow what the others publish.

use std::time::Duration;

use bytes::Bytes;

use crate::port::ReadError;

/// Publishes and follows `parley.roster`. Cheap to clone. Made by [`super::KafkaLog::roster`].
#[derive(Debug, Clone)]
pub struct Roster {}

/// What an instance said of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sighting {
    /// The instance.
    pub instance: String,
    /// What it published; `None`: it left.
    pub json: Option<Bytes>,
    /// How long ago that was, by the broker's clock against ours.
    pub age: Duration,
}

/// Why nothing was published.
#[derive(Debug, thiserror::Error)]
#[error("can't publish to the roster: {0}")]
pub struct RosterError(String);

impl Roster {
    /// Says what this instance is. Others see it for as long as they think is right; say it again in time.
    ///
    /// # Errors
    /// If it isn't known to be published.
    pub async fn publish(&self, _instance: &str, _json: Bytes) -> Result<(), RosterError> {
        todo!()
    }

    /// Says that this instance has gone.
    ///
    /// # Errors
    /// As [`Roster::publish`].
    pub async fn leave(&self, _instance: &str) -> Result<(), RosterError> {
        todo!()
    }

    /// Follows from so long ago on.
    ///
    /// # Errors
    /// If Kafka doesn't answer.
    pub async fn watch(&self, _last: Duration) -> Result<RosterWatch, ReadError> {
        todo!()
    }
}

/// Follows the roster.
#[derive(Debug)]
pub struct RosterWatch {}

impl RosterWatch {
    /// The next sightings in their order, at least one; waits while there is none. Cancel-safe.
    ///
    /// # Errors
    /// [`ReadError::Closed`] once the log is closed.
    pub async fn next(&mut self) -> Result<Vec<Sighting>, ReadError> {
        todo!()
    }

    /// Those that are there now; none means that all was given that was published before the call.
    ///
    /// # Errors
    /// As [`RosterWatch::next`], and [`ReadError::Io`] if Kafka doesn't answer.
    pub async fn next_now(&mut self) -> Result<Vec<Sighting>, ReadError> {
        todo!()
    }
}

//! The wall clock, read in this one place.

use parley_domain::Timestamp;

/// Now.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the place where the clock is read")]
pub fn now() -> Timestamp {
    let since = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

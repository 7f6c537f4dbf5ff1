//! The wall clock, read in this one place.

use parley_domain::Timestamp;

/// Now.
#[must_use]
pub fn now() -> Timestamp {
    let since = exact().duration_since(std::time::UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// Now, as exactly as the machine knows it: for spans.
#[must_use]
#[allow(clippy::disallowed_methods, reason = "this is the place where the clock is read")]
pub fn exact() -> std::time::SystemTime {
    std::time::SystemTime::now()
}

//! The engines behind the port.

#[cfg(feature = "cassandra")]
pub mod cassandra;
pub mod embedded;
mod stay;

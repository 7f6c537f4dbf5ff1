//! The engines behind the port.

pub mod embedded;
#[cfg(feature = "kafka")]
pub mod kafka;

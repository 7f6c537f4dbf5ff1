//! The engines behind the port.

pub mod embedded;

//! Where the objects lie.

pub mod embedded;
pub mod s3;

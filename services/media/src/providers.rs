//! Where the objects lie.

pub mod directory;
pub mod embedded;
pub mod s3;

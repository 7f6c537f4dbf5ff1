//! Writers that share partitions, on the embedded log: whatever the assignment says, only the one whose claim is the latest is
//! believed, and nobody answers from a state that isn't the log's any more.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking"
)]

mod doubles;
mod owners;
mod room;
mod snapshots;
mod support;

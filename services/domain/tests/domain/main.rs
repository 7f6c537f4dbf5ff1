//! The core by its values: given events, when a command, then an event or a rejection; and properties of random
//! histories. Nothing here needs a clock, a disk or a task.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    clippy::wildcard_enum_match_arm,
    reason = "tests fail by panicking, their numbers are small, and each looks at the few events that it is about"
)]

mod access;
mod cases;
mod counting;
mod cursors;
mod folding;
mod given;
mod history;
mod lifecycle;
mod membership;
mod message;
mod projection;
mod roll_back;
mod tables;
mod validity;

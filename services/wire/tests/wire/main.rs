//! The formats: what is written can be read, garbage can't do harm, and what is published doesn't change by accident.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod codec;
mod codes;
mod documents;
mod frames;
mod golden;
mod schema;
mod tls;
mod values;

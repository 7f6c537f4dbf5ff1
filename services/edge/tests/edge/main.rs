//! An edge by itself: what clients see of it when what lies behind it is late, or says nothing.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    reason = "tests fail by panicking"
)]

mod bodies;
mod late_stores;
mod support;

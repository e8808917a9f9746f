//! The plugin as people run it, and what stands in files beside it: documentation, alerts, charts, vectors that others share.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod alerts;
mod charts;
mod docs;
#[path = "../golden/mod.rs"]
mod golden;
mod outputs;
mod vectors;
#[path = "../../src/words/mod.rs"]
#[allow(dead_code, reason = "the plugin uses more of it than its documentation does")]
mod words;

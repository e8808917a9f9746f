//! The simulated site, without a cluster: what its devices say, and the manifests that declare them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod devices;
mod manifests;

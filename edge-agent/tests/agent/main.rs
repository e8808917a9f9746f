//! The agent from outside: its drivers against devices that play their protocol by hand, its process against a small gateway, and a box
//! without an uplink against a fleet's broker and a peer on the other side.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

mod download;
mod driver_camera;
mod driver_http;
mod driver_order;
mod driver_weighing;
mod fleet;
mod gate;
mod link;
mod lone_box;
mod post;
mod uplink;

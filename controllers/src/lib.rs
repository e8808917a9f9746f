//! What to do: one folder a kind, each `observe -> decide -> act -> status`, and the small kit that they share.

pub mod bilateral_link;
mod claim;
pub mod crossing;
pub mod device;
pub mod device_model;
pub mod edge_agent;
pub mod firmware_release;
pub mod igv;
pub mod kit;
pub mod lane;
pub mod lane_drain;
pub mod phase;
mod run;
pub mod station;

pub use run::{Controllers, Parts, WarmCaches, start, warm};

//! What to do: one folder a kind, each `observe -> plan -> act -> report`, and the small kit that they share.

pub mod crossing;
pub mod device;
pub mod device_model;
pub mod edge_agent;
pub mod firmware_release;
pub mod kit;
pub mod lane;
mod run;

pub use run::{Controllers, Parts, Warm, start, warm};

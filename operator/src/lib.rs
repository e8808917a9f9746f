//! The control plane: one process that composes controllers, MQTT gateway, HTTP and leader election.
//!
//! `run` is the story: what starts when, and in which order it ends. Everything else is one concern a folder.

pub mod artifacts;
pub mod broker;
pub mod client;
pub mod enrol;
pub mod generate;
pub mod health;
pub mod http;
pub mod identity;
pub mod keys;
pub mod lease;
pub mod logging;
pub mod metrics;
pub mod run;
pub mod settings;
pub mod transport;
pub mod uplink;

//! The control plane: one process that composes controllers, MQTT gateway, HTTP and leader election.
//!
//! `run` is the story: what starts when, and in which order it ends. Everything else is one concern a folder. Agents reach the process
//! through `broker` (MQTT) and `http` (enrolment, artifacts); `uplink` keeps what each agent shall hold and last reported, behind the
//! contract in `transport`. The public modules are those that the binary and the integration tests use.

pub mod broker;
pub mod generate;
pub mod logging;
pub mod run;
pub mod settings;
pub mod transport;
pub mod uplink;

mod artifacts;
mod client;
mod enrol;
mod health;
mod http;
mod identity;
mod keys;
mod lease;
mod metrics;

//! How Kalong is proven: a real control plane, a simulated site, and what the tests and the demo share.
#![allow(
    missing_docs,
    reason = "only this workspace's tests and programs use it: a name that says all needs no sentence"
)]

pub mod cluster;
pub mod demo;
pub mod scenario;
pub mod site;
pub mod throttle;

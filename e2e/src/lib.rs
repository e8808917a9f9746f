//! How Kalong is proven: a real control plane, a simulated site, and what the tests and the demo share.

pub mod cluster;
pub mod demo;
pub mod scenario;
pub mod site;
pub mod throttle;

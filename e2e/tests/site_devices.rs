//! The simulated devices answer their protocols as the standards and `docs/device-contract` say. Everything here is spoken
//! by hand, byte by byte: it shares no protocol code with the simulator, nor with the edge agent.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test fails by panicking"
)]

#[path = "site_devices/bench.rs"]
mod bench;
#[path = "site_devices/faults.rs"]
mod faults;
#[path = "site_devices/fleet.rs"]
mod fleet;
#[path = "site_devices/generic.rs"]
mod generic;
#[path = "site_devices/guards.rs"]
mod guards;
#[path = "site_devices/modbus.rs"]
mod modbus;
#[path = "site_devices/onvif.rs"]
mod onvif;
#[path = "site_devices/peer.rs"]
mod peer;
#[path = "site_devices/process.rs"]
mod process;
#[path = "site_devices/toledo.rs"]
mod toledo;
#[path = "site_devices/traffic.rs"]
mod traffic;

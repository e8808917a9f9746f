//! The gate: one process beside the devices. It realises what it was told, reports what is, and needs nobody in between.

pub mod backoff;
pub mod clock;
pub mod crash;
pub mod driver;
pub mod firmware;
pub mod fleet;
pub mod https;
pub mod interlock;
pub mod link;
pub mod probe;
pub mod realise;
pub mod seal;
pub mod settings;
pub mod store;
pub mod uplink;

#[cfg(test)]
pub(crate) mod testing;

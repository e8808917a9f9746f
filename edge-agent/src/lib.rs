//! The edge agent: one process beside the devices of a gate. It realises what is desired, reports what is, and needs no operator to go on.

pub mod backoff;
pub mod clock;
pub mod context;
pub mod counters;
pub mod crash;
pub mod device;
pub mod driver;
pub mod firmware;
pub mod fleet;
pub mod https;
pub mod lane;
pub mod link;
pub mod presence;
pub mod probe;
pub mod realise;
pub mod reported;
pub mod seal;
pub mod settings;
pub mod store;
pub mod uplink;

#[cfg(test)]
pub(crate) mod testing;

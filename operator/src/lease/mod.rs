//! Who leads: one Lease, taken and kept by compare-and-swap. Its `leaseTransitions` is the term that fences all that agents are told.
//!
//! Loss of the Lease ends the process; a restart is the clean-up. See kube#485 for why this is our own.

pub mod decide;
pub mod instance;
pub mod keeper;
pub mod pod;

pub use keeper::{LeaseError, LeaseHandle, Standing};

/// Name of the Lease in the operator's namespace.
pub const LEASE: &str = "kalong-operator";

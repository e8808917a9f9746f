//! Leader election over one Lease, taken and kept by compare-and-swap. Its `leaseTransitions` is the term that fences every message to agents.
//!
//! `election` is the loop that seeks and renews the Lease, `decide` its pure rules, `handle` what the rest of the process sees. Loss of the
//! Lease ends the process; a restart is the clean-up. kube#485 is why this is our own code.

pub mod decide;
pub mod election;
pub mod instance;
pub mod pod;

mod handle;

pub use handle::LeaseHandle;

/// Name of the Lease in the operator's namespace.
pub const LEASE: &str = "kalong-operator";

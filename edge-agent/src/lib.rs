//! The gate.
pub mod driver;
pub mod probe;

//! x
pub mod fetch;

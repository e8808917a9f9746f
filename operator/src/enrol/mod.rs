//! x
pub mod certificate;
pub mod token;

//! The small kit that all controllers share.

pub mod link;

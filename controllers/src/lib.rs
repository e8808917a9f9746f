//! What to do: one folder a kind, each `observe -> plan -> act -> report`, and the small kit that they share.

pub mod kit;

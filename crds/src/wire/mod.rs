//! What operator and agent say to each other. The rules are in `docs/wire.md`.
//!
//! Down goes desired state, signed and fenced by the lease term; up comes reported state. Both are sets of items with a
//! digest over the whole, sent as differences, in numbered parts of at most [`MAX_MESSAGE`] bytes.

pub mod control;
pub mod desired;
pub mod digest;
pub mod enrol;
pub mod envelope;
pub mod event;
pub mod order;
pub mod parts;
pub mod release;
pub mod reported;
pub mod signature;
pub mod telemetry;
pub mod topic;

/// The largest message on the wire, in bytes.
pub const MAX_MESSAGE: usize = 64 * 1024;
/// The largest desired or reported item, in bytes of its JSON.
pub const MAX_ITEM: usize = 4 * 1024;
/// Bytes of items that one part carries at most; the rest of a message is envelope and signature.
pub const PART_BUDGET: usize = 56 * 1024;

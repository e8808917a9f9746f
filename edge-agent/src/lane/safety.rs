//! Whether a device may be touched, as the box itself reads its lane and its interlocks.

/// Whether the lane and the interlocks allow a device to be touched.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Safety {
    /// The device may be touched.
    Safe,
    /// It must not be touched, and why.
    Unsafe(String),
}

//! Claims on lanes: the LaneDrains that other controllers make for themselves, and what they read from all of them.
//!
//! A claim asks that a lane be empty and stay empty until the claim ends. Who asks stands in `spec.requester`, what for in the label
//! `kalong.dev/purpose`, and how far it is in the status, which [`lane_drain`](crate::lane_drain) alone decides and writes.

mod changes;
mod hold;
mod own;
mod progress;

pub(crate) use changes::{ClaimChanges, Ensure, WantedClaim};
#[cfg(test)]
pub(crate) use hold::hold_until;
pub(crate) use hold::{after, hold, on_lane};
pub(crate) use own::{OwnClaim, own_claims, requester};
pub(crate) use progress::{ClaimProgress, reason_of_wait};

//! The promise of operator and agent as processes: on the real API server, with real boxes and devices on sockets, they keep their word when
//! leaders die, when what is stored makes no sense, when the API server is busy, when a token is stolen, when a device goes.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

mod api_faults;
mod bad_input;
mod closing;
mod credentials;
mod deletion;
mod door;
mod enrolment;
mod first_lane;
mod fixture;
mod home;
mod lease;
mod metrics;
mod moving;
mod neighbours;
mod planned;
mod site;
mod suspension;

//! Tests of the uplink as a whole. `pair` sets the state of one agent against a model agent, with a link that loses what it likes;
//! `harness` runs a whole uplink with recorded sessions.

mod convergence;
mod event_stream;
mod harness;
mod model;
mod orders;
mod pair;
mod session;
mod telemetry;

//! The simulated site: read from Git, and a process whose devices speak their real protocols.
//!
//! [`gitops`] reads what people declare, [`facts`] what only the simulator knows; [`layout`] joins them, [`simulator`] is the devices
//! themselves, and [`SiteProcess`] runs them as a process for tests and the demo, with a client of the control port. [`release`] and
//! [`image`] make firmware for them, good and bad; [`scale`] makes more of a site.

pub mod author;
pub mod client;
pub mod command;
pub mod facts;
pub mod fleet;
pub mod gitops;
pub mod image;
pub mod layout;
pub mod model;
pub mod preset;
pub mod process;
pub mod release;
pub mod report;
pub mod scale;
pub mod simulator;
pub mod traffic;

pub use client::{ControlClient, ControlError};
pub use layout::Layout;
pub use preset::{Preset, SiteSource};
pub use process::{SiteError, SiteOptions, SiteProcess};

/// Name of the Secret with the login of the simulated devices that want one. It is never in Git.
pub const LOGIN_SECRET: &str = "device-login-1";
/// User name of the simulated devices that ask for one. Public, like everything about them.
pub const DEMO_USERNAME: &str = "kalong";
/// Password of the simulated devices that ask for one. Public, like everything about them.
pub const DEMO_PASSWORD: &str = "simulated-site";

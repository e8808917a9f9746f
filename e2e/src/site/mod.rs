//! The simulated site: presets with their manifests, and a process whose devices speak their real protocols.
//!
//! [`preset`] says how many of what, [`layout`] gives every device a name, a slot and an address, [`manifests`](manifests::manifests) writes the
//! files of `gitops/sites`, [`simulator`] is the devices themselves, and [`SiteProcess`] runs them as a process for tests and the
//! demo, with a client of the control port. [`release`] and [`image`] make firmware for them, good and bad.

pub mod author;
pub mod client;
pub mod command;
pub mod fleet;
pub mod image;
pub mod layout;
pub mod manifests;
pub mod model;
pub mod plan;
pub mod preset;
pub mod process;
pub mod release;
pub mod report;
pub mod simulator;
pub mod traffic;

pub use client::{ControlClient, ControlError};
pub use layout::Layout;
pub use manifests::{LOGIN_SECRET, Manifest, Render, manifests};
pub use plan::SitePlan;
pub use process::{SiteError, SiteOptions, SiteProcess};

/// User name of the simulated devices that ask for one. Public, like everything about them.
pub const DEMO_USERNAME: &str = "kalong";
/// Password of the simulated devices that ask for one. Public, like everything about them.
pub const DEMO_PASSWORD: &str = "simulated-site";

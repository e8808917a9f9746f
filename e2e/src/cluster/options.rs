//! How a control plane is to be started.

use super::assets::Assets;

/// Which port the API server listens on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ApiPort {
    /// Any that is free; another one is taken when it is lost in between.
    #[default]
    Free,
    /// This one, or an error.
    Fixed(u16),
}

/// How to start a control plane.
#[derive(Clone, Debug)]
pub struct StartOptions {
    pub assets: Assets,
    pub api_port: ApiPort,
    /// The beginning of the name of the run's folder.
    pub name: String,
}

impl StartOptions {
    /// These programs, any free port.
    #[must_use]
    pub fn new(assets: Assets) -> Self {
        Self { assets, api_port: ApiPort::Free, name: "plane".into() }
    }
}

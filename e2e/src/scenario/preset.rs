//! The sites that a scenario can be run on.

use clap::ValueEnum;

use crate::site::plan::SitePlan;
use crate::site::preset;

/// Which site.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// A small gate: 44 devices behind two boxes.
    L0,
    /// Mong Cai in phase 1: 311 devices behind fourteen boxes.
    #[default]
    L1,
}

impl Preset {
    /// Its plan.
    #[must_use]
    pub fn plan(self) -> SitePlan {
        match self {
            Self::L0 => preset::l0(),
            Self::L1 => preset::l1(),
        }
    }

    /// Its name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::L0 => "l0",
            Self::L1 => "l1",
        }
    }
}

//! The example sites, by the names that command lines give them.

use std::path::PathBuf;

use clap::ValueEnum;

use crate::cluster::workspace_directory;

/// One of the two sites in `gitops/sites`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, ValueEnum)]
pub enum Preset {
    /// A small gate: 44 devices behind two boxes.
    L0,
    /// Mong Cai in phase 1: 311 devices behind fourteen boxes.
    #[default]
    L1,
}

/// Where a site is described.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SiteSource {
    /// The folder of its kustomization: what people declare.
    pub gitops: PathBuf,
    /// The file of what only the simulator knows.
    pub facts: PathBuf,
}

impl Preset {
    /// Its name on command lines.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::L0 => "l0",
            Self::L1 => "l1",
        }
    }

    #[must_use]
    pub fn source(self) -> SiteSource {
        let folder = match self {
            Self::L0 => "l0",
            Self::L1 => "mong-cai",
        };
        let root = workspace_directory();
        SiteSource {
            gitops: root.join("gitops").join("sites").join(folder),
            facts: root.join("e2e").join("sites").join(folder).with_extension("yaml"),
        }
    }
}

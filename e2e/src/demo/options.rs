//! The command line of the demo.

use std::ffi::OsString;
use std::path::PathBuf;

use clap::Parser;

use crate::site::Preset;

/// Shows Kalong on a simulated border gate: a real Kubernetes API server, the operator, edge agents and devices that speak
/// their real protocols
#[derive(Debug, Parser)]
#[command(
    name = "cargo demo --",
    after_help = "Stays until Ctrl-C, and leaves nothing behind outside the target folder."
)]
pub struct Options {
    /// Check what the demo promises, unattended, print a line for each expectation, and end with 0 only if all held
    #[arg(long)]
    pub exit: bool,
    /// Write the expectations with their figures to this file
    #[arg(long, value_name = "FILE", requires = "exit")]
    pub json: Option<PathBuf>,
    /// Use this cluster instead of one of our own; everything that is made there is removed at the end
    #[arg(long, value_name = "FILE")]
    pub kubeconfig: Option<PathBuf>,
    /// The site: l0 is a small gate, l1 is Mong Cai in phase 1
    #[arg(long, value_enum, default_value = "l1")]
    pub preset: Preset,
    /// Folder with etcd, kube-apiserver and kubectl, instead of building them; KUBEBUILDER_ASSETS does the same
    #[arg(long, value_name = "DIR")]
    pub assets: Option<PathBuf>,
}

impl Options {
    /// Reads the command line; a `--` that cargo's alias passed on counts for nothing.
    #[must_use]
    pub fn read() -> Self {
        let mut words: Vec<OsString> = std::env::args_os().collect();
        if words.get(1).is_some_and(|word| word == "--") {
            words.remove(1);
        }
        Self::parse_from(words)
    }
}

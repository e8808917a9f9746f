//! `kubectl kalong release`: an author makes a key, writes a release from an artifact, signs it, and anyone checks it. No
//! cluster is needed, so that the key can stay on a machine without a network.

mod artifact;
mod key;
mod keygen;
mod manifest;
mod new;
mod sign;
mod verify;

use clap::Subcommand;
use kalong_crds::wire::digest::CanonicalError;

use crate::Outcome;
use crate::output::OutputError;
use crate::terminal::Terminal;

/// Make, sign and check firmware releases, without a cluster
#[derive(Subcommand)]
pub(crate) enum Verb {
    Keygen(keygen::Arguments),
    New(new::Arguments),
    Sign(sign::Arguments),
    Verify(verify::Arguments),
}

/// Why a release could not be handled.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub(crate) enum ReleaseError {
    #[error(transparent)]
    #[strum(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    #[strum(transparent)]
    Manifest(#[from] manifest::ManifestError),
    /// A key or a key document.
    #[error(transparent)]
    #[strum(transparent)]
    Key(#[from] key::KeyError),
    /// The release has no signed form.
    #[error(transparent)]
    #[strum(to_string = "manifest")]
    Canonical(#[from] CanonicalError),
}

pub(crate) fn run(verb: Verb, terminal: &Terminal) -> Result<Outcome, ReleaseError> {
    match verb {
        Verb::Keygen(arguments) => keygen::run(&arguments, terminal),
        Verb::New(arguments) => new::run(arguments),
        Verb::Sign(arguments) => sign::run(&arguments, terminal),
        Verb::Verify(arguments) => verify::run(&arguments),
    }
}

//! `kubectl kalong release sign`: an author's signature into the manifest.

use std::path::PathBuf;

use kalong_crds::wire::release::sign;

use super::{ReleaseError, key, manifest};
use crate::Outcome;
use crate::terminal::Terminal;

/// Put your signature into a release
///
/// Signs the release without its address, so that a mirror may move it. Your older signature in the file is replaced,
/// other authors' signatures stay. Comments in the file are not kept.
#[derive(clap::Args)]
#[command(
    after_help = "Example, in place:\n  kubectl kalong release sign release.yaml --key author-a.pem -o release.yaml"
)]
pub(crate) struct Arguments {
    /// File with one FirmwareRelease
    file: PathBuf,
    /// Your private key in PKCS#8 PEM
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// Name of the key; without it the one in the key's file
    #[arg(long, value_name = "ID", value_parser = key::parse_name)]
    key_id: Option<String>,
    /// File for the signed manifest; without it stdout
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Outcome, ReleaseError> {
    let mut release = manifest::read(&arguments.file)?;
    let signer = key::read_private(&arguments.key, arguments.key_id.as_deref())?;
    let signature = sign(&signer, &release.spec.document()?);
    let signatures = &mut release.spec.signatures;
    signatures.retain(|s| s.key_id != signature.key_id);
    signatures.push(signature);
    signatures.sort_by(|a, b| a.key_id.cmp(&b.key_id));
    let names: Vec<&str> = signatures.iter().map(|s| s.key_id.as_str()).collect();
    let note = format!(
        "Signed by {}. A published release never changes: publish this file as a new object.",
        names.join(", ")
    );
    manifest::write(&release, arguments.out.as_deref())?;
    terminal.note(&note);
    Ok(Outcome::Done)
}

//! `kubectl kalong release keygen`: a key pair of an author.

use std::path::PathBuf;

use super::{ReleaseError, key};
use crate::Outcome;
use crate::output;
use crate::terminal::Terminal;

/// Make an author's key pair
///
/// Writes the private key (PKCS#8 PEM, readable by you alone, never overwritten) and a public key document for the
/// operator's --release-keys. With --keys the key is added to a document that exists, whose number rises by one.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  kubectl kalong release keygen --out author-a.pem --key-id author-a --keys release-keys.json"
)]
pub(crate) struct Arguments {
    /// File for the private key
    #[arg(short, long, value_name = "FILE")]
    out: PathBuf,
    /// Name of the key, as releases will name it
    #[arg(long, value_name = "ID", value_parser = key::parse_name)]
    key_id: String,
    /// Key document to write or to add to; without it the private key's file name and `.pub.json`
    #[arg(long, value_name = "FILE")]
    keys: Option<PathBuf>,
}

pub(super) fn run(arguments: &Arguments, terminal: &Terminal) -> Result<Outcome, ReleaseError> {
    let document_path = arguments.keys.clone().unwrap_or_else(|| {
        let mut name = arguments.out.clone().into_os_string();
        name.push(".pub.json");
        PathBuf::from(name)
    });
    let (pem, public) = key::generate(&arguments.key_id)?;
    let document = key::with_key(&document_path, public)?;
    let text = output::document(output::Format::Json, &document)?;
    output::create_private(&arguments.out, &pem)?;
    output::replace(&document_path, &text)?;
    output::print(&format!(
        "private key   {}\nkey document  {} (number {}, keys: {})\n",
        arguments.out.display(),
        document_path.display(),
        document.number,
        document.keys.len()
    ))?;
    terminal.note("Keep the private key offline; give the key document to the operator with --release-keys.");
    Ok(Outcome::Done)
}

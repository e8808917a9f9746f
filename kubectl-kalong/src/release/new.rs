//! `kubectl kalong release new`: a manifest from an artifact file.

use std::path::PathBuf;

use clap::ValueEnum;
use kalong_crds::FirmwareRelease;
use kalong_crds::firmware_release::{Artifact, FirmwareReleaseSpec, ReleaseKind};
use kalong_crds::units::Name;

use super::{ReleaseError, artifact, key, manifest};
use crate::Outcome;

/// Write the manifest of a release from its artifact
///
/// Measures digest and length of the artifact. The manifest is not signed yet: `release sign` does that.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  kubectl kalong release new --model plate-camera --version 2.1.0 --counter 3 --artifact image.bin \\\n    --url https://artifacts.example/plate-camera-2.1.0.bin -o release.yaml"
)]
pub(crate) struct Arguments {
    /// DeviceModel that the release is made for; may be given several times
    #[arg(long = "model", value_name = "NAME", required = true, value_parser = key::parse_name)]
    models: Vec<String>,
    /// Version as the device reports it once the release runs
    #[arg(long, value_parser = parse_version)]
    version: String,
    /// Security counter, which never falls on a device
    #[arg(long, value_name = "NUMBER", value_parser = clap::value_parser!(i64).range(0..=4_294_967_295))]
    counter: i64,
    /// The artifact's file
    #[arg(long, value_name = "FILE")]
    artifact: PathBuf,
    /// Address from which the operator will fetch the artifact
    #[arg(long, value_parser = parse_url)]
    url: String,
    /// Name of the FirmwareRelease; without it made from the first model and the version
    #[arg(long, value_parser = key::parse_name)]
    name: Option<String>,
    /// Namespace, which is the site; without it the file names none
    #[arg(short, long)]
    namespace: Option<String>,
    /// What kind of artifact it is
    #[arg(long, value_enum, default_value_t = Kind::Firmware)]
    kind: Kind,
    /// Hardware revision that the release runs on; may be given several times, none means all
    #[arg(long = "hardware-revision", value_name = "REVISION")]
    hardware_revisions: Vec<String>,
    /// Version that must run before; may be given several times, none means any
    #[arg(long, value_name = "VERSION")]
    requires: Vec<String>,
    /// Time after which it must not be installed, for example 2027-12-31T00:00:00Z
    #[arg(long, value_name = "TIME", value_parser = parse_time)]
    expires: Option<String>,
    /// File for the manifest; without it stdout
    #[arg(short, long, value_name = "FILE")]
    out: Option<PathBuf>,
}

/// Kinds of artifacts, by their names on the command line
#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    Firmware,
    Model,
    Map,
    ZoneSet,
    Agent,
}

impl From<Kind> for ReleaseKind {
    fn from(kind: Kind) -> Self {
        match kind {
            Kind::Firmware => Self::Firmware,
            Kind::Model => Self::Model,
            Kind::Map => Self::Map,
            Kind::ZoneSet => Self::ZoneSet,
            Kind::Agent => Self::Agent,
        }
    }
}

fn parse_version(text: &str) -> Result<String, String> {
    let inner = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '+' | '_' | '-');
    let first = text.chars().next().is_some_and(|c| c.is_ascii_alphanumeric());
    if first && text.len() <= 63 && text.chars().all(inner) {
        Ok(text.to_owned())
    } else {
        Err("write at most 63 letters, digits, `.`, `+`, `_` and `-`, beginning with a letter or digit".to_owned())
    }
}

fn parse_url(text: &str) -> Result<String, String> {
    let host = text.strip_prefix("https://").unwrap_or_default();
    if !host.is_empty() && text.len() <= 1024 && !text.chars().any(char::is_whitespace) {
        Ok(text.to_owned())
    } else {
        Err("write an address that begins with https:// and has at most 1024 characters".to_owned())
    }
}

fn parse_time(text: &str) -> Result<String, String> {
    // Exactly this shape: the text itself is signed, and the CRD takes no other.
    match text.parse::<jiff::Timestamp>() {
        Ok(_) if text.len() == 20 && text.ends_with('Z') && text.as_bytes().get(10) == Some(&b'T') => {
            Ok(text.to_owned())
        }
        _ => Err("write the time in UTC with whole seconds, for example 2027-12-31T00:00:00Z".to_owned()),
    }
}

/// A DNS name from model and version.
fn default_name(model: &str, version: &str) -> String {
    let text = format!("{model}-{version}").to_ascii_lowercase();
    let mapped: String = text.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    mapped.chars().take(63).collect::<String>().trim_matches(['-', '.']).to_owned()
}

pub(super) fn run(arguments: Arguments) -> Result<Outcome, ReleaseError> {
    let measured = artifact::measure(&arguments.artifact)?;
    let first = arguments.models.first().map_or("", String::as_str);
    let name = arguments.name.unwrap_or_else(|| default_name(first, &arguments.version));
    let spec = FirmwareReleaseSpec {
        kind: arguments.kind.into(),
        models: arguments.models.into_iter().map(Name::from).collect(),
        hardware_revisions: arguments.hardware_revisions,
        version: arguments.version,
        security_counter: arguments.counter,
        artifact: Artifact { url: arguments.url, digest: measured.digest, size: measured.size },
        requires: arguments.requires,
        signatures: Vec::new(),
        expires: arguments.expires,
    };
    let mut release = FirmwareRelease::new(&name, spec);
    release.metadata.namespace = arguments.namespace;
    manifest::write(&release, arguments.out.as_deref())?;
    Ok(Outcome::Done)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn default_name_is_a_dns_name() {
        assert_eq!(default_name("plate-camera", "2.1.0+Build_7"), "plate-camera-2.1.0-build-7");
        assert!(key::parse_name(&default_name(&"m".repeat(63), "1")).is_ok());
    }

    #[test]
    fn times_have_the_one_shape_that_is_signed() {
        assert!(parse_time("2027-12-31T00:00:00Z").is_ok());
        for bad in ["2027-12-31", "2027-12-31T00:00:00+07:00", "2027-12-31 00:00:00Z", "2027-13-31T00:00:00Z"] {
            assert!(parse_time(bad).is_err(), "{bad}");
        }
    }
}

//! `kubectl kalong release verify`: the verification that operator and agent will make, made beforehand.

use std::fmt::Write;
use std::path::PathBuf;

use jiff::Timestamp;
use kalong_crds::FirmwareRelease;
use kalong_crds::device_model::DeviceClass;
use kalong_crds::firmware_release::ReleaseSignature;
use kalong_crds::units::Digest;
use kalong_crds::wire::release::{ReleaseError as Verdict, ReleaseKeys, SignedRelease, signatures_needed};
use serde::Serialize;

use super::artifact::{self, Measured};
use super::{ReleaseError, key, manifest};
use crate::Outcome;
use crate::output::{self, Format};

/// Check a release against pinned keys
///
/// Judges signatures and their number, expiry, and with --artifact the digest and the length of the bytes. Exit code 3 when
/// the release is refused.
#[derive(clap::Args)]
#[command(
    after_help = "Example:\n  kubectl kalong release verify release.yaml --keys release-keys.json --class Barrier --artifact image.bin"
)]
pub(crate) struct Arguments {
    /// File with one FirmwareRelease
    file: PathBuf,
    /// Key document with the pinned keys
    #[arg(long, value_name = "FILE")]
    keys: PathBuf,
    /// Class of the models, as in `DeviceModel.spec.class`; Barrier and LanePlc need two authors
    #[arg(long, value_parser = parse_class)]
    class: Option<DeviceClass>,
    /// The artifact's file
    #[arg(long, value_name = "FILE")]
    artifact: Option<PathBuf>,
    /// Form of the output; without it text
    #[arg(short, long, value_enum)]
    output: Option<Format>,
}

fn parse_class(text: &str) -> Result<DeviceClass, String> {
    serde_json::from_value(serde_json::Value::String(text.to_owned()))
        .map_err(|_| "write a class of `kubectl explain devicemodel.spec.class`, for example Barrier".to_owned())
}

/// What one signature is worth.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
enum Worth {
    /// It fits, and the key is pinned.
    Right,
    /// The key is pinned, and the signature does not fit.
    Wrong,
    /// The key is not pinned: it counts for nothing.
    UnknownKey,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Judged {
    key_id: String,
    worth: Worth,
}

/// The verification, as a program reads it.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Verification {
    name: String,
    version: String,
    security_counter: i64,
    digest: Digest,
    size: i64,
    signatures: Vec<Judged>,
    signatures_needed: usize,
    /// Whether the artifact was compared.
    artifact_compared: bool,
    /// Why it is refused; nothing when it is verified.
    refused: Vec<String>,
}

pub(super) fn run(arguments: &Arguments) -> Result<Outcome, ReleaseError> {
    let release = manifest::read(&arguments.file)?;
    let keys = key::read_document(&arguments.keys)?;
    let measured = arguments.artifact.as_deref().map(artifact::measure).transpose()?;
    let needed = arguments.class.map_or(1, signatures_needed);
    let verification = judge(&release, &keys, needed, measured.as_ref(), Timestamp::now())?;
    let text = match arguments.output {
        Some(format) => output::document(format, &verification)?,
        None => describe(&verification),
    };
    output::print(&text)?;
    Ok(if verification.refused.is_empty() { Outcome::Done } else { Outcome::Refused })
}

fn judge(
    release: &FirmwareRelease,
    keys: &ReleaseKeys,
    needed: usize,
    measured: Option<&Measured>,
    now: Timestamp,
) -> Result<Verification, ReleaseError> {
    let name = release.metadata.name.clone().unwrap_or_default();
    let spec = &release.spec;
    let signed = spec.signed(&name)?;
    let mut refused = Vec::new();
    if let Err(verdict) = signed.verify(keys, needed) {
        refused.push(verdict.to_string());
    }
    if spec.expires.as_ref().and_then(|e| e.parse::<Timestamp>().ok()).is_some_and(|end| end <= now) {
        refused.push("the release has expired: publish a new one with a later `expires`".to_owned());
    }
    if let Some(measured) = measured {
        if measured.size != spec.artifact.size {
            let Measured { size, .. } = measured;
            refused.push(format!(
                "the artifact has {size} bytes and the release names {}: is it the right file?",
                spec.artifact.size
            ));
        }
        if measured.digest != spec.artifact.digest {
            refused.push(format!("the artifact's digest is {}: is it the right file?", measured.digest));
        }
    }
    let signatures = spec.signatures.iter().map(|s| judged(s, &signed, keys)).collect();
    Ok(Verification {
        name,
        version: spec.version.clone(),
        security_counter: spec.security_counter,
        digest: spec.artifact.digest.clone(),
        size: spec.artifact.size,
        signatures,
        signatures_needed: needed,
        artifact_compared: measured.is_some(),
        refused,
    })
}

/// One signature alone, by the same verification that the agent makes of all.
fn judged(signature: &ReleaseSignature, signed: &SignedRelease, keys: &ReleaseKeys) -> Judged {
    let alone = SignedRelease { signatures: vec![signature.clone()], ..signed.clone() };
    let worth = match alone.verify(keys, 1) {
        Ok(_) | Err(Verdict::Document(_) | Verdict::Canonical(_)) => Worth::Right,
        Err(Verdict::Wrong(_)) => Worth::Wrong,
        Err(Verdict::TooFew { .. } | Verdict::NoKeys) => Worth::UnknownKey,
    };
    Judged { key_id: signature.key_id.to_string(), worth }
}

fn describe(verification: &Verification) -> String {
    let mut text = String::new();
    // Writing to a String cannot fail.
    let _ = writeln!(text, "RELEASE   {}", verification.name);
    let _ = writeln!(text, "VERSION   {} (counter {})", verification.version, verification.security_counter);
    let compared =
        if verification.artifact_compared { "compared with the artifact" } else { "not compared: give --artifact" };
    let _ = writeln!(text, "DIGEST    {}", verification.digest);
    let _ = writeln!(text, "SIZE      {} bytes", verification.size);
    let _ = writeln!(text, "ARTIFACT  {compared}");
    let _ = writeln!(text, "AUTHORS   {} needed", verification.signatures_needed);
    for signature in &verification.signatures {
        let word = match signature.worth {
            Worth::Right => "right",
            Worth::Wrong => "wrong",
            Worth::UnknownKey => "of a key that is not pinned",
        };
        let _ = writeln!(text, "          {} {word}", signature.key_id);
    }
    if verification.refused.is_empty() {
        text.push_str("VERIFIED\n");
    }
    for reason in &verification.refused {
        let _ = writeln!(text, "REFUSED   {reason}");
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use kalong_crds::wire::release::sign;
    use kalong_crds::wire::signature::Signer;

    #[test]
    fn expired_release_is_refused_from_the_second_of_its_end() {
        let signer = Signer::from_pkcs8("a", &Signer::generate().unwrap()).unwrap();
        let spec = serde_json::json!({
            "models": ["m"], "version": "1", "securityCounter": 1, "expires": "2027-01-01T00:00:00Z",
            "artifact": {"url": "https://a/b", "digest": Digest::of(b"x"), "size": 1},
        });
        let mut release = FirmwareRelease::new("r", serde_json::from_value(spec).unwrap());
        release.spec.signatures = vec![sign(&signer, &release.spec.document().unwrap())];
        let keys = ReleaseKeys { number: 1, keys: vec![signer.public()] };
        let at = |time: &str| judge(&release, &keys, 1, None, time.parse().unwrap()).unwrap().refused.len();
        assert_eq!(at("2026-12-31T23:59:59Z"), 0);
        assert_eq!(at("2027-01-01T00:00:00Z"), 1);
    }
}

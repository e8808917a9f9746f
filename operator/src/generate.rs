//! Files that are generated from the types: CRDs with the policy that guards deletion, and the JSON Schemas of the wire.
//!
//! They are checked in; `--check` exits with 1 if one is not current.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use kalong_crds::schema;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::desired::Desired;
use kalong_crds::wire::enrol::{EnrolRequest, EnrolResponse, Refusal};
use kalong_crds::wire::envelope::Envelope;
use kalong_crds::wire::event::Events;
use kalong_crds::wire::order::{AgentOrder, DeviceOrder, IgvOrder, LaneOrder, LinkOrder};
use kalong_crds::wire::release::{ReleaseKeys, SignedRelease};
use kalong_crds::wire::reported::Reported;
use kalong_crds::wire::telemetry::Telemetry;
use schemars::{JsonSchema, schema_for};
use serde_json::Value;

use crate::settings::GenerateArguments;

const CRDS: &str = "charts/kalong-crds/templates";
const WIRE: &str = "docs/wire";

/// Why files cannot be written, or are not current.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// A type has no document.
    #[error("a document cannot be made: {0}")]
    Json(#[from] serde_json::Error),
    /// A document is no YAML.
    #[error("{0} cannot be written as YAML: {1}")]
    Yaml(String, String),
    /// Helm would take it for one of its own expressions.
    #[error("{0} contains `{{{{`, which Helm would read as an expression: word the comment differently")]
    Template(String),
    /// The file cannot be read or written.
    #[error("{0} cannot be used ({1}): run this in the repository's root, or give --out")]
    File(PathBuf, #[source] io::Error),
    /// A file is not what the types say.
    #[error("{file} is not current: run `{command}` and check in what it writes")]
    Outdated {
        /// The file that differs from the types.
        file: PathBuf,
        /// The command that makes the file current.
        command: &'static str,
    },
}

/// Contents of generated files by file name.
type GeneratedFiles = BTreeMap<String, String>;

/// Writes or checks the CRDs.
pub fn crds(arguments: &GenerateArguments) -> Result<(), GenerateError> {
    const COMMAND: &str = "cargo run -p kalong-operator -- crds";
    settle(&crd_files()?, arguments, Path::new(CRDS), COMMAND)
}

/// Writes or checks the schemas of the wire.
pub fn schemas(arguments: &GenerateArguments) -> Result<(), GenerateError> {
    const COMMAND: &str = "cargo run -p kalong-operator -- schema";
    settle(&schema_files()?, arguments, Path::new(WIRE), COMMAND)
}

fn settle(
    files: &GeneratedFiles,
    arguments: &GenerateArguments,
    default: &Path,
    command: &'static str,
) -> Result<(), GenerateError> {
    let folder = arguments.out.as_deref().unwrap_or(default);
    for (name, text) in files {
        let file = folder.join(name);
        let failed = |e| GenerateError::File(file.clone(), e);
        if !arguments.check {
            fs::create_dir_all(folder).and_then(|()| fs::write(&file, text)).map_err(failed)?;
            continue;
        }
        match fs::read_to_string(&file) {
            Ok(found) if found == *text => {}
            Ok(_) => return Err(GenerateError::Outdated { file, command }),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                return Err(GenerateError::Outdated { file, command });
            }
            Err(error) => return Err(failed(error)),
        }
    }
    Ok(())
}

fn crd_files() -> Result<GeneratedFiles, GenerateError> {
    let mut files = GeneratedFiles::new();
    for document in schema::crd_documents()? {
        let kind = document.pointer("/spec/names/singular").and_then(Value::as_str).unwrap_or_default();
        files.insert(format!("{kind}.yaml"), yaml(kind, std::slice::from_ref(&document))?);
    }
    files.insert("deletion-policy.yaml".to_owned(), yaml("deletion-policy", &schema::deletion_policy())?);
    Ok(files)
}

fn yaml(name: &str, documents: &[Value]) -> Result<String, GenerateError> {
    let mut parts = Vec::new();
    for document in documents {
        let body =
            serde_saphyr::to_string(document).map_err(|e| GenerateError::Yaml(name.to_owned(), e.to_string()))?;
        parts.push(format!("{}\n", body.trim_end()));
    }
    let text = parts.join("---\n");
    if text.contains("{{") {
        return Err(GenerateError::Template(name.to_owned()));
    }
    Ok(text)
}

fn schema_files() -> Result<GeneratedFiles, GenerateError> {
    fn of<T: JsonSchema>(name: &str) -> Result<(String, String), GenerateError> {
        Ok((format!("{name}.json"), serde_json::to_string_pretty(&schema_for!(T))? + "\n"))
    }
    [
        of::<Envelope<Desired>>("desired"),
        of::<Envelope<Control>>("ctl"),
        of::<Envelope<Reported>>("reported"),
        of::<Envelope<Events>>("event"),
        of::<Envelope<Renewal>>("csr"),
        of::<Envelope<Telemetry>>("telemetry"),
        of::<AgentOrder>("order-agent"),
        of::<DeviceOrder>("order-device"),
        of::<LaneOrder>("order-lane"),
        of::<IgvOrder>("order-igv"),
        of::<LinkOrder>("order-link"),
        of::<EnrolRequest>("enrol-request"),
        of::<EnrolResponse>("enrol-response"),
        of::<Refusal>("refusal"),
        of::<SignedRelease>("signed-release"),
        of::<ReleaseKeys>("release-keys"),
    ]
    .into_iter()
    .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_current_and_what_was_edited_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let out = Some(folder.path().to_owned());
        let write = GenerateArguments { out: out.clone(), check: false };
        let check = GenerateArguments { out, check: true };
        let missing = crds(&check).unwrap_err().to_string();
        assert!(missing.contains("bilaterallink.yaml") && missing.contains("cargo run"), "{missing}");
        for generate in [crds, schemas] {
            generate(&write).unwrap();
            generate(&check).unwrap();
        }
        fs::write(folder.path().join("lane.yaml"), "edited").unwrap();
        assert!(crds(&check).unwrap_err().to_string().contains("lane.yaml"));
    }

    #[test]
    fn every_kind_has_a_file_and_the_policy_too() {
        let names: Vec<String> = crd_files().unwrap().into_keys().collect();
        let expected = [
            "bilaterallink",
            "crossing",
            "deletion-policy",
            "device",
            "devicemodel",
            "edgeagent",
            "firmwarerelease",
            "igv",
            "inspectionstation",
            "lane",
            "lanedrain",
            "phase",
        ];
        assert_eq!(names, expected.map(|n| format!("{n}.yaml")));
    }
}

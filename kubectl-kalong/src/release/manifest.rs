//! The FirmwareRelease file: read strictly, written whole.
//!
//! A field that the types do not know would be carried unsigned, so it is refused instead of dropped.

use std::path::{Path, PathBuf};

use kalong_crds::{Category, FirmwareRelease, GROUP, VERSION};
use serde_json::Value;

use crate::output::{self, OutputError};

/// The API server takes no larger object.
const MAX_MANIFEST: u64 = 1024 * 1024;

/// Why a manifest cannot be used.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ManifestError {
    #[error(transparent)]
    File(#[from] OutputError),
    #[error("{} is not one YAML document: put one FirmwareRelease into a file of its own", path.display())]
    Yaml {
        path: PathBuf,
        #[source]
        source: Box<serde_saphyr::Error>,
    },
    #[error("{} is no FirmwareRelease of {GROUP}/{VERSION}: begin one with `kubectl kalong release new`", _0.display())]
    OtherKind(PathBuf),
    /// A value of the wrong kind, or one missing.
    #[error("{} does not follow the FirmwareRelease: compare with `kubectl explain firmwarerelease.spec` (a version like 2.10 needs quotes)", path.display())]
    Shape {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// A field that would not be signed.
    #[error("{}: `{field}` is not a field of a FirmwareRelease and would not be signed: remove it or correct its name", path.display())]
    Unknown { path: PathBuf, field: String },
}

impl From<&ManifestError> for &'static str {
    fn from(error: &ManifestError) -> Self {
        match error {
            ManifestError::File(e) => e.category(),
            _ => "manifest",
        }
    }
}

/// Reads the one release of a file.
pub(super) fn read(path: &Path) -> Result<FirmwareRelease, ManifestError> {
    let text = output::read_text(path, MAX_MANIFEST)?;
    let value: Value = serde_saphyr::from_str(&text)
        .map_err(|source| ManifestError::Yaml { path: path.to_owned(), source: Box::new(source) })?;
    let is = |key: &str, word: &str| value.get(key).and_then(Value::as_str) == Some(word);
    if !is("kind", "FirmwareRelease") || !is("apiVersion", &format!("{GROUP}/{VERSION}")) {
        return Err(ManifestError::OtherKind(path.to_owned()));
    }
    let shape = |source| ManifestError::Shape { path: path.to_owned(), source };
    let release: FirmwareRelease = serde_json::from_value(value.clone()).map_err(shape)?;
    let kept = serde_json::to_value(&release).map_err(shape)?;
    match lost(&value, &kept) {
        Some(field) => Err(ManifestError::Unknown { path: path.to_owned(), field }),
        None => Ok(release),
    }
}

/// The first path whose value the types would not carry. An absent value, `null` and an empty list are the same.
fn lost(written: &Value, kept: &Value) -> Option<String> {
    let empty = Value::Null;
    match (written, kept) {
        (Value::Null, _) => None,
        (Value::Object(written), kept) => written
            .iter()
            .find_map(|(key, value)| lost(value, kept.get(key).unwrap_or(&empty)).map(|rest| join(key, &rest))),
        (Value::Array(written), Value::Array(kept)) if written.len() == kept.len() => written
            .iter()
            .zip(kept)
            .enumerate()
            .find_map(|(i, (written, kept))| lost(written, kept).map(|rest| join(&format!("[{i}]"), &rest))),
        (Value::Array(written), Value::Null) if written.is_empty() => None,
        (written, kept) => (written != kept).then(String::new),
    }
}

fn join(key: &str, rest: &str) -> String {
    match rest.chars().next() {
        None => key.to_owned(),
        Some('[') => format!("{key}{rest}"),
        Some(_) => format!("{key}.{rest}"),
    }
}

/// The text of the file.
pub(super) fn text(release: &FirmwareRelease) -> Result<String, OutputError> {
    output::yaml(release)
}

/// Writes the release to a file, or to stdout.
pub(super) fn write(release: &FirmwareRelease, out: Option<&Path>) -> Result<(), OutputError> {
    let text = text(release)?;
    match out {
        Some(path) => output::replace(path, &text),
        None => output::print(&text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_field_that_is_not_kept_is_named_with_its_path() {
        let kept = json!({"spec": {"a": 1, "list": [{"b": 2}]}});
        assert_eq!(lost(&json!({"spec": {"a": 1, "none": null, "empty": []}}), &kept), None);
        assert_eq!(lost(&json!({"spec": {"typo": 1}}), &kept), Some("spec.typo".into()));
        assert_eq!(lost(&json!({"spec": {"list": [{"b": 2, "c": {"d": 1}}]}}), &kept), Some("spec.list[0].c.d".into()));
    }
}

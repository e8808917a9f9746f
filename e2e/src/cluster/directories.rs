//! Where the control plane keeps its files: below the target folder, so that nothing is left outside it.

use std::env;
use std::path::{Path, PathBuf};

/// The target folder of this workspace: `CARGO_TARGET_DIR`, or `target` beside the workspace's manifest.
#[must_use]
pub fn target_directory() -> PathBuf {
    match env::var_os("CARGO_TARGET_DIR").filter(|value| !value.is_empty()) {
        Some(given) => env::current_dir().unwrap_or_default().join(given),
        None => workspace_directory().join("target"),
    }
}

/// The root of the workspace.
#[must_use]
pub fn workspace_directory() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).to_owned()
}

pub(super) fn modules_directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("controlplane")
}

/// Built tools, a folder for each set of versions.
pub(super) fn assets_directory() -> PathBuf {
    target_directory().join("kalong").join("controlplane")
}

/// What lives as long as a run: data, logs, keys.
pub(super) fn runs_directory() -> PathBuf {
    target_directory().join("kalong").join("run")
}

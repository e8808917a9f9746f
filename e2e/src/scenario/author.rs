//! What an author of firmware does: build an image, put it on a server, write and sign the release with `kubectl kalong release`.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kalong_crds::units::Digest;
use kalong_crds::wire::release::signatures_needed;

use super::agents::search_path;
use super::cluster::write_private;
use super::failure::ScenarioError;
use super::live::LiveSite;
use super::program::Program;
use crate::cluster::Tool;
use crate::site::author::{DEMO_AUTHORS, demo_keys};
use crate::site::image::{self, Behaviour};
use crate::site::model::Model;

/// Hashing and signing a small file.
const SIGN_DEADLINE: Duration = Duration::from_secs(30);

/// What is wrong with a release on its way to the device; what is wrong with the image itself is its [`Behaviour`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    None,
    /// A stranger signed it under an author's name.
    Signature,
    /// The server has other bytes than those that were signed.
    Digest,
}

/// A release to be made.
#[derive(Clone, Debug)]
pub struct Publication<'a> {
    pub name: String,
    /// The model that it is for.
    pub model: &'a Model,
    pub version: &'a str,
    pub counter: i64,
    pub behaviour: &'a [Behaviour],
    /// What is wrong with it.
    pub flaw: Flaw,
}

/// A release that is declared.
#[derive(Clone, Debug)]
pub struct Published {
    pub name: String,
    pub version: String,
    /// Digest of the image that was signed.
    pub digest: Digest,
}

/// Makes the release and declares it in the site.
///
/// # Errors
/// The plugin or the API server says no.
pub async fn publish(site: &LiveSite, wanted: &Publication<'_>) -> Result<Published, ScenarioError> {
    let folder = site.cluster.directory().join("releases").join(&wanted.name);
    fs::create_dir_all(&folder).map_err(ScenarioError::file(format!("making {}", folder.display())))?;
    let bytes = image::build(&wanted.model.name, wanted.version, wanted.behaviour, wanted.model.image_size());
    let digest = Digest::of(&bytes);
    let artifact = folder.join("image.bin");
    fs::write(&artifact, &bytes).map_err(ScenarioError::file(format!("writing {}", artifact.display())))?;
    let served = match wanted.flaw {
        Flaw::None | Flaw::Signature => bytes,
        // Of the same length, so that nothing but the digest gives it away.
        Flaw::Digest => bytes.iter().map(|byte| !byte).collect(),
    };
    site.shelf.put(digest.hex(), served);
    let manifest = folder.join("release.yaml");
    new(site, wanted, &artifact, &format!("{}/{}", site.shelf.base(), digest.hex()), &manifest).await?;
    let keys = match wanted.flaw {
        Flaw::Signature => strangers(site, &folder).await?,
        Flaw::None | Flaw::Digest => authors(&folder)?,
    };
    // As many as the class of the model asks for.
    for (name, key) in keys.into_iter().take(signatures_needed(wanted.model.class())) {
        sign(site, &manifest, &name, &key).await?;
    }
    site.cluster.kubectl(["apply".into(), "-f".into(), manifest.into_os_string()]).await?;
    Ok(Published { name: wanted.name.clone(), version: wanted.version.to_owned(), digest })
}

async fn new(
    site: &LiveSite,
    wanted: &Publication<'_>,
    artifact: &Path,
    url: &str,
    out: &Path,
) -> Result<(), ScenarioError> {
    let counter = wanted.counter.to_string();
    plugin(site)
        .args(["kalong", "release", "new", "--model", &wanted.model.name, "--version", wanted.version])
        .args(["--counter", &counter, "--url", url, "--name", &wanted.name, "-n", site.namespace()])
        .args(["--hardware-revision", wanted.model.hardware(), "--artifact"])
        .args([artifact.as_os_str()])
        .args(["-o"])
        .args([out.as_os_str()])
        .run(SIGN_DEADLINE)
        .await
        .map(drop)
}

async fn sign(site: &LiveSite, manifest: &Path, name: &str, key: &Path) -> Result<(), ScenarioError> {
    plugin(site)
        .args(["kalong", "release", "sign", "--key-id", name, "--key"])
        .args([key.as_os_str(), manifest.as_os_str()])
        .args(["-o"])
        .args([manifest.as_os_str()])
        .run(SIGN_DEADLINE)
        .await
        .map(drop)
}

fn plugin(site: &LiveSite) -> Program {
    site.cluster.program(Tool::Kubectl).env("PATH", search_path(&site.binaries))
}

/// The demo's authors, whom the operator's key document trusts.
fn authors(folder: &Path) -> Result<Vec<(String, PathBuf)>, ScenarioError> {
    let mut files = Vec::new();
    for (name, der) in demo_keys() {
        let path = folder.join(format!("{name}.pem"));
        let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", STANDARD.encode(der));
        write_private(&path, &pem)?;
        files.push((name.to_owned(), path));
    }
    Ok(files)
}

/// Keys that nobody trusts, made a moment ago, to sign with under the authors' names.
async fn strangers(site: &LiveSite, folder: &Path) -> Result<Vec<(String, PathBuf)>, ScenarioError> {
    let mut files = Vec::new();
    for name in DEMO_AUTHORS {
        let path = folder.join(format!("not-{name}.pem"));
        plugin(site)
            .args(["kalong", "release", "keygen", "--key-id", name, "--out"])
            .args([path.as_os_str()])
            .run(SIGN_DEADLINE)
            .await?;
        files.push((name.to_owned(), path));
    }
    Ok(files)
}

/// The version after this one: its last number raised.
#[must_use]
pub fn next_version(version: &str) -> String {
    match version.rsplit_once('.') {
        Some((stem, last)) => format!("{stem}.{}", last.parse::<u32>().unwrap_or_default().saturating_add(1)),
        None => format!("{version}.1"),
    }
}

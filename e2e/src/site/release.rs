//! Releases of simulated firmware: an image, its FirmwareRelease and the demo authors' signatures.

use kalong_crds::firmware_release::{Artifact, FirmwareRelease, FirmwareReleaseSpec};
use kalong_crds::units::{Digest, Name};
use kalong_crds::wire::digest::CanonicalError;
use kalong_crds::wire::release::{sign, signatures_needed};
use kalong_crds::wire::signature::{SignatureError, Signer};
use thiserror::Error;

use super::author::demo_signers;
use super::image::{self, Behaviour};
use super::model::Model;

/// A release with its bytes.
#[derive(Clone, Debug)]
pub struct Release {
    /// Name of the FirmwareRelease.
    pub name: String,
    /// Its spec, signed.
    pub spec: FirmwareReleaseSpec,
    /// The bytes that a file server must give for `spec.artifact.url`.
    pub image: Vec<u8>,
}

/// What a new release is to be.
#[derive(Clone, Debug)]
pub struct ReleaseOf<'a> {
    /// The model that it is for.
    pub model: &'static Model,
    /// Its version.
    pub version: &'a str,
    /// Its security counter; those of the factory have 1.
    pub counter: i64,
    /// What is wrong with it; empty means that it is good.
    pub behaviour: &'a [Behaviour],
}

/// Why no release could be made.
#[derive(Debug, Error)]
pub enum ReleaseMakeError {
    /// The demo's keys.
    #[error("the demo's author keys cannot be used")]
    Key(#[from] SignatureError),
    /// The document.
    #[error("the release has no canonical form")]
    Document(#[from] CanonicalError),
    /// Longer than a number can say.
    #[error("the image is too long")]
    TooLong(#[from] std::num::TryFromIntError),
}

impl ReleaseMakeError {
    /// The word for logs.
    pub fn category(&self) -> &'static str {
        match self {
            Self::Key(_) => "key",
            Self::Document(_) => "document",
            Self::TooLong(_) => "tooLong",
        }
    }
}

/// Name of the release that a model leaves the factory with, where it can tell its version.
pub fn factory_name(model: &Model) -> Option<String> {
    model.tells_version().then(|| format!("{}-{}", model.name, model.version))
}

/// The image that a model leaves the factory with.
pub fn factory_image(model: &Model) -> Vec<u8> {
    image::build(model.name, model.version, &[], model.image_size)
}

/// The release that a model leaves the factory with.
///
/// # Errors
/// See [`ReleaseMakeError`].
pub fn factory(model: &'static Model, artifacts: &str) -> Result<Release, ReleaseMakeError> {
    release(&ReleaseOf { model, version: model.version, counter: 1, behaviour: &[] }, artifacts)
}

/// A signed release whose bytes are at `<artifacts>/<64 hexadecimal digits>`.
///
/// # Errors
/// See [`ReleaseMakeError`].
pub fn release(wanted: &ReleaseOf<'_>, artifacts: &str) -> Result<Release, ReleaseMakeError> {
    let image = image::build(wanted.model.name, wanted.version, wanted.behaviour, wanted.model.image_size);
    let digest = Digest::of(&image);
    let spec = FirmwareReleaseSpec {
        kind: Default::default(),
        models: vec![wanted.model.name.into()],
        hardware_revisions: vec![wanted.model.hardware.to_owned()],
        version: wanted.version.to_owned(),
        security_counter: wanted.counter,
        artifact: Artifact { url: format!("{artifacts}/{}", digest.hex()), digest, size: i64::try_from(image.len())? },
        requires: vec![],
        signatures: vec![],
        expires: None,
    };
    let needed = signatures_needed(wanted.model.class);
    let mut release = Release { name: format!("{}-{}", wanted.model.name, wanted.version), spec, image };
    let authors = demo_signers()?;
    release.sign_again(authors.get(..needed).unwrap_or(&authors))?;
    Ok(release)
}

impl Release {
    /// The object, named and in this namespace.
    pub fn object(&self, namespace: &str) -> FirmwareRelease {
        let mut object = FirmwareRelease::new(&self.name, self.spec.clone());
        object.metadata.namespace = Some(namespace.to_owned());
        object
    }

    /// Replaces the signatures by those of these authors over the spec as it is now: after it was bent on purpose, or to have
    /// it signed by a stranger.
    ///
    /// # Errors
    /// The spec has no canonical form.
    pub fn sign_again(&mut self, authors: &[Signer]) -> Result<(), ReleaseMakeError> {
        let document = self.spec.document()?;
        self.spec.signatures = authors.iter().map(|author| sign(author, &document)).collect();
        Ok(())
    }

    /// The same release under another name, where two of one version are needed.
    pub fn named(mut self, name: &str) -> Self {
        self.name = name.to_owned();
        self
    }

    /// Its name as it stands in `spec.firmware.release`.
    pub fn reference(&self) -> Name {
        Name(self.name.clone())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::author::{demo_release_keys, stranger};
    use crate::site::model::{CATALOGUE, find};

    #[test]
    fn factory_releases_are_believed_with_the_demo_keys_alone() {
        let keys = demo_release_keys().unwrap();
        for model in CATALOGUE.iter().filter(|m| m.tells_version()) {
            let release = factory(model, "https://artifacts.example").unwrap();
            let signed = release.spec.signed(&release.name).unwrap();
            let document = signed.verify(&keys, signatures_needed(model.class)).unwrap();
            assert_eq!(document.artifact.digest, Digest::of(&factory_image(model)));
            assert_eq!(Some(release.name), factory_name(model));
        }
    }

    #[test]
    fn signature_of_a_stranger_under_an_authors_name_is_refused() {
        let release = factory(find("dome-camera").unwrap(), "https://artifacts.example").unwrap();
        let mut signed = release.spec.signed("x").unwrap();
        signed.signatures = vec![sign(&stranger("demo-author-1").unwrap(), &signed.document)];
        assert!(signed.verify(&demo_release_keys().unwrap(), 1).is_err());
    }
}

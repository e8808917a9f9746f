//! Releases of simulated firmware: an image, its FirmwareRelease and the demo authors' signatures.

use kalong_crds::firmware_release::{Artifact, FirmwareRelease, FirmwareReleaseSpec};
use kalong_crds::units::Digest;
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
    pub name: String,
    pub spec: FirmwareReleaseSpec,
    /// The bytes that a file server must give for `spec.artifact.url`.
    pub image: Vec<u8>,
}

/// What a new release is to be.
#[derive(Clone, Debug)]
pub struct ReleaseOf<'a> {
    /// The model that it is for.
    pub model: &'a Model,
    pub version: &'a str,
    /// Its security counter; those of the factory have 1.
    pub counter: i64,
    /// What is wrong with it; empty means that it is good.
    pub behaviour: &'a [Behaviour],
}

/// Why no release could be made.
#[derive(Debug, Error)]
pub enum ReleaseMakeError {
    #[error("the demo's author keys cannot be used")]
    Key(#[from] SignatureError),
    #[error("the release has no canonical form")]
    Document(#[from] CanonicalError),
    /// Longer than a number can say.
    #[error("the image is too long")]
    TooLong(#[from] std::num::TryFromIntError),
}

/// A signed release whose bytes are at `<artifacts>/<64 hexadecimal digits>`.
///
/// # Errors
/// See [`ReleaseMakeError`].
pub fn release(wanted: &ReleaseOf<'_>, artifacts: &str) -> Result<Release, ReleaseMakeError> {
    let model = wanted.model;
    let image = image::build(&model.name, wanted.version, wanted.behaviour, model.image_size());
    let digest = Digest::of(&image);
    let mut spec = FirmwareReleaseSpec {
        kind: Default::default(),
        models: vec![model.name.as_str().into()],
        hardware_revisions: vec![model.hardware().to_owned()],
        version: wanted.version.to_owned(),
        security_counter: wanted.counter,
        artifact: Artifact { url: format!("{artifacts}/{}", digest.hex()), digest, size: i64::try_from(image.len())? },
        requires: vec![],
        signatures: vec![],
        expires: None,
    };
    let (authors, document) = (demo_signers()?, spec.document()?);
    let needed = authors.iter().take(signatures_needed(model.class()));
    spec.signatures = needed.map(|author: &Signer| sign(author, &document)).collect();
    Ok(Release { name: format!("{}-{}", model.name, wanted.version), spec, image })
}

impl Release {
    /// The object, named and in this namespace.
    pub fn object(&self, namespace: &str) -> FirmwareRelease {
        let mut object = FirmwareRelease::new(&self.name, self.spec.clone());
        object.metadata.namespace = Some(namespace.to_owned());
        object
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::author::{demo_release_keys, stranger};
    use crate::site::{Layout, Preset};

    /// What leaves the factory is in Git; made again from its parts it is the same, signatures included.
    #[test]
    fn factory_releases_in_git_are_of_the_images_that_devices_run() {
        let layout = Layout::read(&Preset::L1.source()).unwrap();
        for model in layout.models().filter(|model| model.firmware.is_some()) {
            let wanted = ReleaseOf { model, version: model.version(), counter: 1, behaviour: &[] };
            let made = release(&wanted, &layout.facts.artifacts).unwrap();
            let declared = layout.objects.releases.iter().find(|r| r.metadata.name.as_ref() == Some(&made.name));
            assert_eq!(declared.unwrap().spec, made.spec, "{}", made.name);
            assert_eq!(made.image, model.factory_image());
        }
    }

    #[test]
    fn signature_of_a_stranger_under_an_authors_name_is_refused() {
        let layout = Layout::read(&Preset::L0.source()).unwrap();
        let keys = demo_release_keys().unwrap();
        let mut signed = layout.objects.releases[0].spec.signed("x").unwrap();
        signed.verify(&keys, 1).unwrap();
        signed.signatures = vec![sign(&stranger("demo-author-1").unwrap(), &signed.document)];
        assert!(signed.verify(&keys, 1).is_err());
    }
}

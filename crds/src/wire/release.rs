//! The author's signature on a release: what is signed, by which pinned keys it is judged, and how many are needed.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::digest::{CanonicalError, canonical};
use super::signature::{PublicKey, Signer};
use crate::device_model::DeviceClass;
use crate::firmware_release::{FirmwareReleaseSpec, ReleaseSignature};
use crate::units::{Digest, Name};

/// The first line of what an author signs.
pub const RELEASE_CONTEXT: &str = "kalong.dev/release/v1";

/// A release as its author signed it. `document` is the canonical JSON text itself, so that nothing is lost on the way.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct SignedRelease {
    /// Name of the FirmwareRelease.
    pub name: String,
    /// The canonical JSON of the spec without `signatures` and `artifact.url`.
    pub document: String,
    /// The authors' signatures.
    pub signatures: Vec<ReleaseSignature>,
}

/// The part of a release that is signed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseDocument {
    /// Names of models.
    pub models: Vec<Name>,
    /// Revisions of hardware; none means all.
    #[serde(default)]
    pub hardware_revisions: Vec<String>,
    /// Version as the device will report it.
    pub version: String,
    /// Counter that never falls on a device.
    pub security_counter: i64,
    /// Digest and length.
    pub artifact: ReleaseArtifact,
    /// Versions of which one must run before.
    #[serde(default)]
    pub requires: Vec<String>,
    /// When the release must not be installed any more.
    #[serde(default)]
    pub expires: Option<String>,
}

/// The bytes of a release, without their address.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseArtifact {
    /// Digest over all bytes.
    pub digest: Digest,
    /// Length in bytes.
    pub size: i64,
}

/// The pinned keys of the authors: a numbered document.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct ReleaseKeys {
    /// Number of the document; a higher one replaces a lower one.
    pub number: u64,
    /// The keys whose signatures count.
    pub keys: Vec<PublicKey>,
}

/// Why a release is not believed.
#[derive(Debug, thiserror::Error)]
pub enum ReleaseError {
    /// The spec has no canonical form.
    #[error(transparent)]
    Canonical(#[from] CanonicalError),
    /// The document cannot be read.
    #[error("the release document cannot be read: {0}")]
    Document(#[from] serde_json::Error),
    /// No author key is pinned.
    #[error("no author key is pinned: give the operator a key document with --release-keys and enrol the agent again")]
    NoKeys,
    /// A signature is there and wrong.
    #[error("the signature of key `{0}` does not fit the release: sign it again with `kubectl kalong release sign`")]
    Wrong(String),
    /// Too few signatures of pinned keys.
    #[error("{found} of {needed} needed signatures by pinned keys: have the release signed by another author")]
    TooFew {
        /// Signatures of different pinned keys that fit.
        found: usize,
        /// Signatures that are needed.
        needed: usize,
    },
}

impl FirmwareReleaseSpec {
    /// The canonical JSON text that is signed and carried.
    pub fn document(&self) -> Result<String, CanonicalError> {
        let mut value = serde_json::to_value(self)?;
        if let Value::Object(map) = &mut value {
            map.remove("signatures");
            if let Some(Value::Object(artifact)) = map.get_mut("artifact") {
                artifact.remove("url");
            }
        }
        canonical(&value)
    }

    /// The release as it is carried to an agent.
    pub fn signed(&self, name: &str) -> Result<SignedRelease, CanonicalError> {
        Ok(SignedRelease { name: name.to_owned(), document: self.document()?, signatures: self.signatures.clone() })
    }
}

/// The signature of an author over a release document.
pub fn sign(signer: &Signer, document: &str) -> ReleaseSignature {
    ReleaseSignature { key_id: Name(signer.public().key_id), signature: signer.sign(&signed_bytes(document)) }
}

fn signed_bytes(document: &str) -> Vec<u8> {
    format!("{RELEASE_CONTEXT}\n{document}").into_bytes()
}

/// How many authors must have signed firmware for devices of this class.
pub fn signatures_needed(class: DeviceClass) -> usize {
    if class.is_safety() { 2 } else { 1 }
}

impl SignedRelease {
    /// The document, once enough different pinned keys have signed it. A wrong signature of a pinned key refuses the whole.
    pub fn verify(&self, keys: &ReleaseKeys, needed: usize) -> Result<ReleaseDocument, ReleaseError> {
        if keys.keys.is_empty() {
            return Err(ReleaseError::NoKeys);
        }
        let bytes = signed_bytes(&self.document);
        let mut good: Vec<&str> = Vec::new();
        for signature in &self.signatures {
            let Some(key) = keys.keys.iter().find(|k| k.key_id == signature.key_id.as_str()) else { continue };
            if !key.verifies(&bytes, &signature.signature) {
                return Err(ReleaseError::Wrong(key.key_id.clone()));
            }
            // Two names for one key are one author.
            if !good.contains(&key.public_key.as_str()) {
                good.push(&key.public_key);
            }
        }
        if good.len() < needed {
            return Err(ReleaseError::TooFew { found: good.len(), needed });
        }
        self.read()
    }

    /// The document without any judgement of its signatures.
    pub fn read(&self) -> Result<ReleaseDocument, ReleaseError> {
        Ok(serde_json::from_str(&self.document)?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::firmware_release::Artifact;

    fn spec() -> FirmwareReleaseSpec {
        FirmwareReleaseSpec {
            kind: Default::default(),
            models: vec!["plate-camera".into()],
            hardware_revisions: vec![],
            version: "2.1.0".into(),
            security_counter: 3,
            artifact: Artifact { url: "https://artifacts.example/a".into(), digest: Digest::of(b"image"), size: 5 },
            requires: vec![],
            signatures: vec![],
            expires: None,
        }
    }

    fn author(id: &str) -> Signer {
        Signer::from_pkcs8(id, &Signer::generate().unwrap()).unwrap()
    }

    fn signed_by(authors: &[&Signer]) -> SignedRelease {
        let mut spec = spec();
        let document = spec.document().unwrap();
        spec.signatures = authors.iter().map(|a| sign(a, &document)).collect();
        spec.signed("r").unwrap()
    }

    fn keys(authors: &[&Signer]) -> ReleaseKeys {
        ReleaseKeys { number: 1, keys: authors.iter().map(|a| a.public()).collect() }
    }

    #[test]
    fn address_and_signatures_are_not_signed() {
        let document = spec().document().unwrap();
        assert!(!document.contains("url") && !document.contains("signatures"));
        let mut moved = spec();
        moved.artifact.url = "https://elsewhere.example/b".into();
        assert_eq!(document, moved.document().unwrap());
    }

    #[test]
    fn safety_classes_need_two_different_authors() {
        let (a, b) = (author("a"), author("b"));
        assert!(signed_by(&[&a]).verify(&keys(&[&a, &b]), 1).is_ok());
        assert!(matches!(
            signed_by(&[&a]).verify(&keys(&[&a, &b]), 2),
            Err(ReleaseError::TooFew { found: 1, needed: 2 })
        ));
        assert!(matches!(signed_by(&[&a, &a]).verify(&keys(&[&a, &b]), 2), Err(ReleaseError::TooFew { found: 1, .. })));
        assert!(signed_by(&[&a, &b]).verify(&keys(&[&a, &b]), 2).is_ok());
    }

    #[test]
    fn changed_document_and_foreign_key_are_refused() {
        let (a, stranger) = (author("a"), author("stranger"));
        let mut bent = signed_by(&[&a]);
        bent.document = bent.document.replace("2.1.0", "2.1.1");
        assert!(matches!(bent.verify(&keys(&[&a]), 1), Err(ReleaseError::Wrong(_))));
        assert!(matches!(signed_by(&[&stranger]).verify(&keys(&[&a]), 1), Err(ReleaseError::TooFew { found: 0, .. })));
        assert!(matches!(signed_by(&[&a]).verify(&ReleaseKeys::default(), 1), Err(ReleaseError::NoKeys)));
    }
}

//! The vectors of `tests/vectors`, which other implementations share: canonical JSON, release documents, signatures.

use std::collections::BTreeMap;
use std::path::Path;

use kalong_crds::firmware_release::{FirmwareReleaseSpec, ReleaseSignature};
use kalong_crds::wire::digest::canonical;
use kalong_crds::wire::release::{ReleaseKeys, SignedRelease};
use kalong_crds::wire::signature;
use serde::Deserialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

fn read<T: DeserializeOwned>(name: &str) -> T {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/vectors").join(name);
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

#[derive(Deserialize)]
struct Canonical {
    accepted: Vec<CanonicalCase>,
    refused: Vec<String>,
}

#[derive(Deserialize)]
struct CanonicalCase {
    fact: String,
    json: String,
    canonical: String,
}

#[derive(Deserialize)]
struct Release {
    fact: String,
    spec: FirmwareReleaseSpec,
    document: String,
    signatures: BTreeMap<String, String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct Message {
    fact: String,
    key_id: String,
    topic: String,
    envelope: String,
    message: String,
}

#[test]
fn canonical_json_equals_the_vectors() {
    let vectors: Canonical = read("canonical.json");
    assert!(!vectors.accepted.is_empty() && !vectors.refused.is_empty());
    for case in vectors.accepted {
        let value: Value = serde_json::from_str(&case.json).unwrap();
        assert_eq!(canonical(&value).unwrap(), case.canonical, "{}", case.fact);
    }
    for text in vectors.refused {
        assert!(canonical(&serde_json::from_str(&text).unwrap()).is_err(), "{text}");
    }
}

#[test]
fn release_documents_and_signatures_equal_the_vectors() {
    let keys: ReleaseKeys = read("keys.json");
    let vectors: Vec<Release> = read("releases.json");
    assert!(!vectors.is_empty());
    for Release { fact, spec, document, signatures } in vectors {
        assert_eq!(spec.document().unwrap(), document, "{fact}");
        let signatures: Vec<ReleaseSignature> =
            signatures.into_iter().map(|(id, signature)| ReleaseSignature { key_id: id.into(), signature }).collect();
        let needed = signatures.len();
        let signed = SignedRelease { name: "r".into(), document, signatures };
        assert_eq!(signed.verify(&keys, needed).unwrap().version, spec.version, "{fact}");
    }
}

#[test]
fn signed_messages_open_as_in_the_vectors() {
    let keys: ReleaseKeys = read("keys.json");
    let vectors: Vec<Message> = read("messages.json");
    assert!(!vectors.is_empty());
    for Message { fact, key_id, topic, envelope, message } in vectors {
        assert!(keys.keys.iter().any(|k| k.key_id == key_id), "{fact}");
        assert_eq!(signature::open(&keys.keys, &topic, message.as_bytes()).unwrap(), envelope.as_bytes(), "{fact}");
        assert!(signature::open(&keys.keys, &format!("{topic}x"), message.as_bytes()).is_err(), "{fact}");
    }
}

//! The release key document: the authors whose signatures on firmware are accepted.

use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use kalong_crds::wire::release::ReleaseKeys;

use super::KeysError;

/// Bytes; a key document has a few hundred for each key.
const LONGEST: u64 = 64 * 1024;

/// Reads the document. Without a file no author is trusted, so no release is usable.
pub fn read_release_keys(file: Option<&Path>) -> Result<ReleaseKeys, KeysError> {
    let Some(path) = file else { return Ok(ReleaseKeys::default()) };
    let bad = |why: String| KeysError::Document { file: path.display().to_string(), why };
    let length = std::fs::metadata(path).map_err(|e| bad(e.to_string()))?.len();
    if length > LONGEST {
        return Err(bad(format!("{length} bytes, at most {LONGEST}")));
    }
    let text = std::fs::read(path).map_err(|e| bad(e.to_string()))?;
    parse(&text).map_err(bad)
}

fn parse(text: &[u8]) -> Result<ReleaseKeys, String> {
    let document: ReleaseKeys = serde_json::from_slice(text).map_err(|e| e.to_string())?;
    for key in &document.keys {
        let length = URL_SAFE_NO_PAD.decode(&key.public_key).map_or(0, |k| k.len());
        if length != 32 {
            return Err(format!("key `{}` is no Ed25519 key in base64url", key.key_id));
        }
        if document.keys.iter().filter(|k| k.key_id == key.key_id).count() > 1 {
            return Err(format!("key `{}` is there twice", key.key_id));
        }
    }
    Ok(document)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_document_with_a_bad_or_doubled_key_is_refused() {
        let key = "A".repeat(43);
        let good = format!(r#"{{"number":1,"keys":[{{"keyId":"a","publicKey":"{key}"}}]}}"#);
        assert_eq!(parse(good.as_bytes()).unwrap().keys.len(), 1);
        let twice = format!(
            r#"{{"number":1,"keys":[{{"keyId":"a","publicKey":"{key}"}},{{"keyId":"a","publicKey":"{key}"}}]}}"#
        );
        assert!(parse(twice.as_bytes()).unwrap_err().contains("twice"));
        let short = r#"{"number":1,"keys":[{"keyId":"a","publicKey":"AAAA"}]}"#;
        assert!(parse(short.as_bytes()).unwrap_err().contains("Ed25519"));
        assert!(parse(b"{}").is_err());
    }
}

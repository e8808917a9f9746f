//! Authors' keys: the private one in PEM, the public ones in a numbered document.

use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kalong_crds::wire::release::ReleaseKeys;
use kalong_crds::wire::signature::{PublicKey, SignatureError, Signer};

use crate::output::{self, OutputError};

/// Far more than a key or a key document needs.
const MAX_KEY_FILE: u64 = 64 * 1024;
const BEGIN: &str = "-----BEGIN PRIVATE KEY-----";
const END: &str = "-----END PRIVATE KEY-----";
/// Stands before the PEM block, where RFC 7468 allows explanatory text, so that a key knows its name.
const KEY_ID: &str = "Key-Id:";
/// PKCS#8 version 1 of an Ed25519 seed (RFC 8410); OpenSSL reads it, and does not read the version 2 that ring writes.
const PKCS8_V1_PREFIX: [u8; 16] = [0x30, 0x2e, 2, 1, 0, 0x30, 5, 6, 3, 0x2b, 0x65, 0x70, 4, 0x22, 4, 0x20];
const SEED_IN_PKCS8: std::ops::Range<usize> = 16..48;

/// Why a key cannot be used.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub(crate) enum KeyError {
    #[error(transparent)]
    #[strum(transparent)]
    File(#[from] OutputError),
    #[error("{} holds no Ed25519 private key in PKCS#8 PEM: make one with `kubectl kalong release keygen`", _0.display())]
    #[strum(to_string = "private-key")]
    NoPrivateKey(PathBuf),
    /// Nobody says whose key it is.
    #[error("{} does not say its name: give it with --key-id, as it stands in the key document", _0.display())]
    #[strum(to_string = "private-key")]
    NoName(PathBuf),
    #[error("{} is no key document: it looks like {{\"number\": 1, \"keys\": [{{\"keyId\": ..., \"publicKey\": ...}}]}}", path.display())]
    #[strum(to_string = "key-document")]
    Document {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// The name belongs to another key.
    #[error("{} already has another key `{id}`: a key's name is never used twice, choose a new one", path.display())]
    #[strum(to_string = "key-document")]
    NameTaken { path: PathBuf, id: String },
    /// The key could not be made.
    #[error("no key could be made: run the command on a machine with a source of randomness")]
    #[strum(to_string = "machine")]
    Generate(#[source] SignatureError),
}

/// A new key: its PEM text and its public half.
pub(super) fn generate(id: &str) -> Result<(String, PublicKey), KeyError> {
    let made = Signer::generate().map_err(KeyError::Generate)?;
    let seed = made.get(SEED_IN_PKCS8).ok_or(KeyError::Generate(SignatureError::BadKey))?;
    let der = [&PKCS8_V1_PREFIX[..], seed].concat();
    let public = Signer::from_pkcs8(id, &der).map_err(KeyError::Generate)?.public();
    Ok((format!("{KEY_ID} {id}\n{BEGIN}\n{}\n{END}\n", STANDARD.encode(&der)), public))
}

/// Reads a private key. `name` wins over the one in the file.
pub(super) fn read_private(path: &Path, name: Option<&str>) -> Result<Signer, KeyError> {
    let text = output::read_text(path, MAX_KEY_FILE)?;
    let none = || KeyError::NoPrivateKey(path.to_owned());
    let (before, rest) = text.split_once(BEGIN).ok_or_else(none)?;
    let (body, _) = rest.split_once(END).ok_or_else(none)?;
    let der = STANDARD.decode(body.split_whitespace().collect::<String>()).map_err(|_| none())?;
    let own = before.lines().find_map(|line| line.trim().strip_prefix(KEY_ID)).map(str::trim);
    let id = name.or(own).ok_or_else(|| KeyError::NoName(path.to_owned()))?;
    Signer::from_pkcs8(id, &der).map_err(|_| none())
}

pub(super) fn read_document(path: &Path) -> Result<ReleaseKeys, KeyError> {
    let text = output::read_text(path, MAX_KEY_FILE)?;
    serde_json::from_str(&text).map_err(|source| KeyError::Document { path: path.to_owned(), source })
}

/// The document with this key and the next number; the first one where there is no file yet.
pub(super) fn with_key(path: &Path, key: PublicKey) -> Result<ReleaseKeys, KeyError> {
    let mut document = if path.exists() { read_document(path)? } else { ReleaseKeys::default() };
    if document.keys.iter().any(|k| k.key_id == key.key_id) {
        return Err(KeyError::NameTaken { path: path.to_owned(), id: key.key_id });
    }
    document.number += 1;
    document.keys.push(key);
    document.keys.sort_by(|a, b| a.key_id.cmp(&b.key_id));
    Ok(document)
}

/// Reads the name of a key: lower-case letters, digits, hyphens and dots, as the API wants it.
pub(super) fn parse_name(text: &str) -> Result<String, String> {
    let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    let inner = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '.');
    if text.len() <= 63 && edge(text.chars().next()) && edge(text.chars().last()) && text.chars().all(inner) {
        Ok(text.to_owned())
    } else {
        Err("write at most 63 lower-case letters, digits, `-` and `.`, for example barrier-author-1".to_owned())
    }
}

//! The operator's signature on everything that it tells an agent.
//!
//! A signed message is one line `kalong1 <kid> <base64url signature>`, a line feed, and the envelope bytes as they are.
//! The signature covers the topic, a line feed, and those bytes; nothing is parsed before it was verified.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::signature::{ED25519, Ed25519KeyPair, KeyPair, UnparsedPublicKey};
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

const PREFIX: &str = "kalong1";

/// A public Ed25519 key with its name.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct PublicKey {
    /// Name of the key.
    pub key_id: String,
    /// The 32 bytes in unpadded base64url.
    pub public_key: String,
}

/// A signing key with its name.
#[derive(Debug)]
pub struct Signer {
    key_id: String,
    pair: Ed25519KeyPair,
}

/// Why a key or a signed message is not believed.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum SignatureError {
    /// The key document cannot be read.
    #[error("the signing key is no Ed25519 key in PKCS#8: make a new one")]
    BadKey,
    /// The message does not begin with a signature line.
    #[error("the message carries no signature line")]
    Unsigned,
    /// The key is not one of the pinned ones.
    #[error("the message is signed with the unknown key `{0}`: enrol again if the operator's key was replaced")]
    UnknownKey(String),
    /// The signature does not fit.
    #[error("the signature does not fit this topic and message")]
    #[strum(to_string = "wrong-signature")]
    Wrong,
}

impl Signer {
    /// Reads a key in PKCS#8 DER.
    pub fn from_pkcs8(key_id: &str, der: &[u8]) -> Result<Self, SignatureError> {
        let pair = Ed25519KeyPair::from_pkcs8_maybe_unchecked(der).map_err(|_| SignatureError::BadKey)?;
        Ok(Self { key_id: key_id.to_owned(), pair })
    }

    /// Makes a new key in PKCS#8 DER.
    pub fn generate() -> Result<Vec<u8>, SignatureError> {
        let random = ring::rand::SystemRandom::new();
        Ed25519KeyPair::generate_pkcs8(&random).map(|der| der.as_ref().to_vec()).map_err(|_| SignatureError::BadKey)
    }

    /// The public half.
    pub fn public(&self) -> PublicKey {
        PublicKey { key_id: self.key_id.clone(), public_key: URL_SAFE_NO_PAD.encode(self.pair.public_key().as_ref()) }
    }

    /// The raw signature over these bytes in unpadded base64url.
    pub fn sign(&self, bytes: &[u8]) -> String {
        URL_SAFE_NO_PAD.encode(self.pair.sign(bytes).as_ref())
    }

    /// The message to send on this topic.
    pub fn seal(&self, topic: &str, envelope: &[u8]) -> Vec<u8> {
        let mut out = format!("{PREFIX} {} {}\n", self.key_id, self.sign(&covered(topic, envelope))).into_bytes();
        out.extend_from_slice(envelope);
        out
    }
}

impl PublicKey {
    /// Whether the signature over these bytes is this key's.
    pub fn verifies(&self, bytes: &[u8], signature: &str) -> bool {
        let (Ok(key), Ok(signature)) = (URL_SAFE_NO_PAD.decode(&self.public_key), URL_SAFE_NO_PAD.decode(signature))
        else {
            return false;
        };
        UnparsedPublicKey::new(&ED25519, key).verify(bytes, &signature).is_ok()
    }
}

/// The envelope bytes of a message, once its signature was verified with one of the pinned keys.
pub fn open<'m>(keys: &[PublicKey], topic: &str, message: &'m [u8]) -> Result<&'m [u8], SignatureError> {
    let end = message.iter().take(512).position(|b| *b == b'\n').ok_or(SignatureError::Unsigned)?;
    let (line, rest) = message.split_at(end);
    let envelope = rest.get(1..).unwrap_or_default();
    let line = std::str::from_utf8(line).map_err(|_| SignatureError::Unsigned)?;
    let mut words = line.split(' ');
    let (Some(PREFIX), Some(kid), Some(signature), None) = (words.next(), words.next(), words.next(), words.next())
    else {
        return Err(SignatureError::Unsigned);
    };
    let key = keys
        .iter()
        .find(|k| k.key_id == kid)
        .ok_or_else(|| SignatureError::UnknownKey(kid.chars().take(63).collect()))?;
    if key.verifies(&covered(topic, envelope), signature) { Ok(envelope) } else { Err(SignatureError::Wrong) }
}

fn covered(topic: &str, envelope: &[u8]) -> Vec<u8> {
    [topic.as_bytes(), b"\n", envelope].concat()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn signer(id: &str) -> Signer {
        Signer::from_pkcs8(id, &Signer::generate().unwrap()).unwrap()
    }

    #[test]
    fn only_the_same_topic_bytes_and_key_open() {
        let (ours, theirs) = (signer("op-1"), signer("op-1"));
        let message = ours.seal("t/1", b"{\"a\":1}");
        assert_eq!(open(&[ours.public()], "t/1", &message).unwrap(), b"{\"a\":1}");
        assert!(matches!(open(&[ours.public()], "t/2", &message), Err(SignatureError::Wrong)));
        assert!(matches!(open(&[theirs.public()], "t/1", &message), Err(SignatureError::Wrong)));
        assert!(matches!(open(&[], "t/1", &message), Err(SignatureError::UnknownKey(_))));
        assert!(matches!(open(&[ours.public()], "t/1", b"{\"a\":1}"), Err(SignatureError::Unsigned)));
        let mut bent = message.clone();
        *bent.last_mut().unwrap() = b']';
        assert!(open(&[ours.public()], "t/1", &bent).is_err());
    }
}

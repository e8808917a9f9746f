//! The key that signs messages to agents, and what is derived from it.

use std::fmt;

use kalong_crds::wire::signature::{PublicKey, SignatureError, Signer};
use ring::hmac;

const SEALING_SEED: &[u8] = b"kalong.dev/sealing-seed/v1";

/// The signing key as stored; each part that signs makes its own signer of it.
pub struct SigningKey {
    id: String,
    pkcs8: Vec<u8>,
    public: PublicKey,
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SigningKey").field("public", &self.public).finish_non_exhaustive()
    }
}

impl SigningKey {
    /// Reads a key in PKCS#8 DER.
    pub fn read(id: &str, pkcs8: Vec<u8>) -> Result<Self, SignatureError> {
        let public = Signer::from_pkcs8(id, &pkcs8)?.public();
        Ok(Self { id: id.to_owned(), pkcs8, public })
    }

    pub fn signer(&self) -> Result<Signer, SignatureError> {
        Signer::from_pkcs8(&self.id, &self.pkcs8)
    }

    /// The public half, which agents pin.
    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Seed of the ephemeral HPKE keys: stable over restarts, so that the hash of an order with a sealed credential stays the same.
    pub fn sealing_seed(&self) -> [u8; 32] {
        let tag = hmac::sign(&hmac::Key::new(hmac::HMAC_SHA256, &self.pkcs8), SEALING_SEED);
        <[u8; 32]>::try_from(tag.as_ref()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seed_is_stable_and_differs_between_keys() {
        let (a, b) = (Signer::generate().unwrap(), Signer::generate().unwrap());
        let seed = |key: &Vec<u8>| SigningKey::read("op-1", key.clone()).unwrap().sealing_seed();
        assert_eq!(seed(&a), seed(&a));
        assert_ne!(seed(&a), seed(&b));
        assert!(!format!("{:?}", SigningKey::read("op-1", a).unwrap()).contains("pkcs8"));
    }
}

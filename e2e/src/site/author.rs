//! The two authors of the demo's firmware. Their keys follow from words that stand below: **whoever has this file can sign
//! as them**. They exist so that checked-in releases carry true signatures, and are worthless outside the demo.

use kalong_crds::units::Digest;
use kalong_crds::wire::release::ReleaseKeys;
use kalong_crds::wire::signature::{SignatureError, Signer};

/// Names of the demo's author keys; whatever is in these names is public.
pub const DEMO_AUTHORS: [&str; 2] = ["demo-author-1", "demo-author-2"];
/// PKCS#8 of an Ed25519 key up to its 32 bytes (RFC 8410, section 7).
const PKCS8_PREFIX: [u8; 16] =
    [0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];

/// The private keys of both authors, in PKCS#8 DER, by name.
pub fn demo_keys() -> [(&'static str, Vec<u8>); 2] {
    DEMO_AUTHORS.map(|name| {
        let seed = format!("kalong.dev demo key, worthless outside the demo: {name}");
        let hash = ring::digest::digest(&ring::digest::SHA256, seed.as_bytes());
        (name, [PKCS8_PREFIX.as_slice(), hash.as_ref()].concat())
    })
}

/// Both authors, ready to sign.
///
/// # Errors
/// The crypto library refuses its own key format.
pub fn demo_signers() -> Result<Vec<Signer>, SignatureError> {
    demo_keys().iter().map(|(name, der)| Signer::from_pkcs8(name, der)).collect()
}

/// The key document that trusts both authors, for `--release-keys`.
///
/// # Errors
/// As [`demo_signers`].
pub fn demo_release_keys() -> Result<ReleaseKeys, SignatureError> {
    Ok(ReleaseKeys { number: 1, keys: demo_signers()?.iter().map(Signer::public).collect() })
}

/// A key that no document trusts: what it signs must be refused.
///
/// # Errors
/// As [`demo_signers`].
pub fn stranger(name: &str) -> Result<Signer, SignatureError> {
    let hash = Digest::of(b"kalong.dev demo: nobody's key");
    let seed = ring::digest::digest(&ring::digest::SHA256, hash.as_str().as_bytes());
    Signer::from_pkcs8(name, &[PKCS8_PREFIX.as_slice(), seed.as_ref()].concat())
}

//! Opens device credentials that were sealed to this box. HPKE (RFC 9180), base mode.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeR, Serializable};
use kalong_crds::units::AgentId;
use kalong_crds::wire::order::{SEALING_INFO, Sealed};
use ring::rand::SecureRandom;
use serde::Deserialize;

use crate::driver::DeviceCredential;

type Secret = <X25519HkdfSha256 as Kem>::PrivateKey;

/// Why a sealed credential cannot be used. It never contains what was inside.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum SealError {
    /// The key of the box cannot be made or read.
    #[error("the sealing key of this box cannot be used: enrol it again")]
    #[strum(to_string = "sealing-key")]
    Key,
    /// It was sealed to another box or device, or was changed on the way.
    #[error("the credential was not sealed to this box and device: declare the Secret again under a new name")]
    Unreadable,
    /// What was sealed is no credential.
    #[error("the sealed Secret has no `username` and `password`: declare one that has, under a new name")]
    NoCredential,
}

#[derive(Deserialize)]
struct OpenedCredential {
    username: String,
    password: String,
}

/// A new key pair: private, public, both raw.
pub fn generate() -> Result<(Vec<u8>, Vec<u8>), SealError> {
    let mut seed = [0_u8; 32];
    ring::rand::SystemRandom::new().fill(&mut seed).map_err(|_| SealError::Key)?;
    let (secret, public) = X25519HkdfSha256::derive_keypair(&seed);
    Ok((secret.to_bytes().to_vec(), public.to_bytes().to_vec()))
}

/// The credential of this device, if it was sealed for exactly this box and device.
pub fn open(secret: &[u8], agent: &AgentId, uid: &str, sealed: &Sealed) -> Result<DeviceCredential, SealError> {
    let secret = Secret::from_bytes(secret).map_err(|_| SealError::Key)?;
    let bytes = |text: &str| STANDARD.decode(text).map_err(|_| SealError::Unreadable);
    let encapsulated = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(&bytes(&sealed.encapsulated)?)
        .map_err(|_| SealError::Unreadable)?;
    let plain = hpke::single_shot_open::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret,
        &encapsulated,
        SEALING_INFO,
        &bytes(&sealed.ciphertext)?,
        format!("{agent}/{uid}").as_bytes(),
    )
    .map_err(|_| SealError::Unreadable)?;
    let inside: OpenedCredential = serde_json::from_slice(&plain).map_err(|_| SealError::NoCredential)?;
    Ok(DeviceCredential { username: inside.username, password: inside.password })
}

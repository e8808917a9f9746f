//! Device credentials: read once by name from an immutable Secret, sealed to the agent's key, never kept in the clear.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hpke::aead::ChaCha20Poly1305;
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::{Deserializable, Kem, OpModeS, Serializable};
use k8s_openapi::api::core::v1::Secret;
use kalong_crds::units::AgentId;
use kalong_crds::wire::order::{SEALING_INFO, Sealed};
use kalong_crds::{Device, EdgeAgent};
use kube::{Api, ResourceExt};
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::SeedableRng;

use crate::kit::context::Context;
use crate::kit::{Error, within};

/// The credential that the declaration names.
#[derive(Debug)]
pub(super) enum Credential {
    NotNamed,
    Sealed(Sealed),
    /// It cannot be used as it is, and what to do.
    Unusable(String),
    /// The agent has not given its sealing key yet.
    NoKeyYet,
    /// The API server could not be asked.
    Failed(Error),
}

/// The credential that the device names, sealed to its agent.
pub(super) async fn sealed(ctx: &Context, device: &Device, agent: &AgentId, object: Option<&EdgeAgent>) -> Credential {
    let Some(secret_name) = &device.spec.connection.secret_ref else { return Credential::NotNamed };
    let Some(key) = object.and_then(|a| a.status.as_ref()).and_then(|s| s.sealing_key.clone()) else {
        return Credential::NoKeyYet;
    };
    let uid = device.uid().unwrap_or_default();
    let slot = (uid.clone(), secret_name.0.clone(), key.clone());
    if let Some(known) = ctx.credentials.lock().get(&slot) {
        return Credential::Sealed(known.clone());
    }
    let api: Api<Secret> = Api::namespaced(ctx.client.clone(), &device.namespace().unwrap_or_default());
    let secret = match within("read the device's credential", api.get_opt(secret_name.as_str())).await {
        Ok(Some(secret)) => secret,
        Ok(None) => {
            return Credential::Unusable(format!(
                "Secret {secret_name} does not exist: create it with `username` and `password`."
            ));
        }
        Err(error) => return Credential::Failed(error.into()),
    };
    if secret.immutable != Some(true) {
        return Credential::Unusable(format!(
            "Secret {secret_name} is not immutable: create it with `immutable: true`; a new password is a new Secret under a new name."
        ));
    }
    let field =
        |name: &str| secret.data.as_ref().and_then(|d| d.get(name)).and_then(|v| String::from_utf8(v.0.clone()).ok());
    let (Some(username), Some(password)) = (field("username"), field("password")) else {
        return Credential::Unusable(format!("Secret {secret_name} needs the keys `username` and `password` as text."));
    };
    let plain = serde_json::json!({"username": username, "password": password}).to_string();
    let context = format!("{}/{}", secret.uid().unwrap_or_default(), secret.resource_version().unwrap_or_default());
    match seal(&ctx.settings.sealing_seed, &context, &key, &format!("{agent}/{uid}"), plain.as_bytes()) {
        Some(sealed) => {
            ctx.credentials.lock().insert(slot, sealed.clone());
            Credential::Sealed(sealed)
        }
        None => {
            Credential::Unusable(format!("The sealing key of agent {agent} cannot be used: enrol the agent again."))
        }
    }
}

/// Seals under an ephemeral key that is derived from a secret of the operator, so that the same credential gives the same bytes
/// after a restart and no order changes.
fn seal(seed: &[u8; 32], context: &str, sealing_key: &str, associated: &str, plain: &[u8]) -> Option<Sealed> {
    let key = STANDARD.decode(sealing_key).ok()?;
    let key = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(&key).ok()?;
    let mac = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, seed);
    let derived = ring::hmac::sign(
        &mac,
        [context.as_bytes(), b"\n", sealing_key.as_bytes(), b"\n", associated.as_bytes()].concat().as_slice(),
    );
    let mut rng = ChaCha20Rng::from_seed(derived.as_ref().try_into().ok()?);
    let (encapsulated, ciphertext) = hpke::single_shot_seal::<ChaCha20Poly1305, HkdfSha256, X25519HkdfSha256, _>(
        &OpModeS::Base,
        &key,
        SEALING_INFO,
        plain,
        associated.as_bytes(),
        &mut rng,
    )
    .ok()?;
    Some(Sealed { encapsulated: STANDARD.encode(encapsulated.to_bytes()), ciphertext: STANDARD.encode(ciphertext) })
}

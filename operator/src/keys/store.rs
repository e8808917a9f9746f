//! Keys in Secrets: generated once if absent, never overwritten where agents pin them.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kalong_crds::field_manager;
use kalong_crds::units::Digest;
use kalong_crds::wire::signature::Signer;
use kube::api::PostParams;
use kube::{Api, Client, ResourceExt};

use super::authority::CertificateFacts;
use super::{
    CA_SECRET, CertificateAndKey, CertificateAuthority, Keys, KeysError, SERVER_SECRET, SIGNING_SECRET,
    ServerCertificate, SigningKey,
};
use crate::client::call;

const MANAGED_BY: &str = "app.kubernetes.io/managed-by";
const OURS: &str = "kalong-operator";
const TLS: &str = "kubernetes.io/tls";
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
const FURTHER: &str = "ca.crt";
const SIGNING_KEY: &str = "key.pk8";
const SIGNING_KEY_ID: &str = "keyId";

type SecretData = BTreeMap<String, ByteString>;

/// The Secrets of the operator's namespace.
#[derive(Clone)]
pub struct KeyStore {
    secrets: Api<Secret>,
    namespace: String,
    server_names: Vec<String>,
}

impl KeyStore {
    /// `server_names` are the names that a generated server certificate must carry.
    pub fn new(client: Client, namespace: &str, server_names: Vec<String>) -> Self {
        Self { secrets: Api::namespaced(client, namespace), namespace: namespace.to_owned(), server_names }
    }

    /// Reads all keys and generates those that are absent. Only the leader may call this.
    pub async fn load(&self) -> Result<Keys, KeysError> {
        let authority = self.authority().await?;
        let server = self.server(&authority).await?;
        let signing = self.signing().await?;
        Ok(Keys { authority: Arc::new(authority), server: Arc::new(server), signing: Arc::new(signing) })
    }

    /// Reads authority and server certificate again. The signing key stays, since agents pinned it; a new one needs a restart.
    pub async fn reload(&self, keys: &Keys) -> Result<Keys, KeysError> {
        let authority = self.authority().await?;
        let server = self.server(&authority).await?;
        Ok(Keys { authority: Arc::new(authority), server: Arc::new(server), signing: Arc::clone(&keys.signing) })
    }

    async fn authority(&self) -> Result<CertificateAuthority, KeysError> {
        let secret = self.get_or_make(CA_SECRET, || {
            let pair = CertificateAuthority::generate(Timestamp::now())?;
            Ok(self.secret(CA_SECRET, TLS, pair_data(pair)))
        });
        let secret = secret.await?;
        let pair = CertificateAndKey {
            certificate_pem: text(&secret, CA_SECRET, CERTIFICATE)?,
            key_pem: text(&secret, CA_SECRET, KEY)?,
        };
        let further = text(&secret, CA_SECRET, FURTHER).unwrap_or_default();
        CertificateAuthority::read(&pair, &further).map_err(|e| unusable(CA_SECRET, CERTIFICATE, &e))
    }

    async fn server(&self, authority: &CertificateAuthority) -> Result<ServerCertificate, KeysError> {
        let now = Timestamp::now();
        let make = || Ok(self.secret(SERVER_SECRET, TLS, pair_data(authority.server(&self.server_names, now)?)));
        let secret = self.get_or_make(SERVER_SECRET, make).await?;
        let (server, facts) = read_server(&secret)?;
        if !authority.outdated(&facts, &self.server_names, now) {
            return Ok(server);
        }
        // A given certificate is renewed by its owner.
        if secret.labels().get(MANAGED_BY).map(String::as_str) != Some(OURS) {
            tracing::warn!(
                secret = SERVER_SECRET,
                end = %facts.not_after,
                "The given server certificate expires soon, or does not match --server-names or the authority; renew it."
            );
            return Ok(server);
        }
        let by_us = parameters();
        let mut renewed = secret.clone();
        renewed.metadata.managed_fields = None;
        renewed.data = Some(pair_data(authority.server(&self.server_names, now)?));
        let written = self.secrets.replace(SERVER_SECRET, &by_us, &renewed);
        let renewed = call("renew the server certificate", written).await?;
        let (server, facts) = read_server(&renewed)?;
        tracing::info!(secret = SERVER_SECRET, end = %facts.not_after, "The server certificate was renewed.");
        Ok(server)
    }

    async fn signing(&self) -> Result<SigningKey, KeysError> {
        let secret = self.get_or_make(SIGNING_SECRET, || {
            let key = Signer::generate()?;
            let public = Signer::from_pkcs8("", &key)?.public().public_key;
            let id: String = format!("op-{}", Digest::of(public.as_bytes()).hex()).chars().take(11).collect();
            let data =
                [(SIGNING_KEY.to_owned(), ByteString(key)), (SIGNING_KEY_ID.to_owned(), ByteString(id.into_bytes()))];
            Ok(self.secret(SIGNING_SECRET, "Opaque", data.into()))
        });
        let secret = secret.await?;
        let id = text(&secret, SIGNING_SECRET, SIGNING_KEY_ID)?;
        let id = id.trim();
        if id.is_empty() || id.len() > 63 || !id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._".contains(&b)) {
            return Err(unusable(SIGNING_SECRET, SIGNING_KEY_ID, &"letters, digits, `-`, `.`, `_`, at most 63"));
        }
        let key = bytes(&secret, SIGNING_SECRET, SIGNING_KEY)?;
        SigningKey::read(id, key.to_vec()).map_err(|e| unusable(SIGNING_SECRET, SIGNING_KEY, &e))
    }

    async fn get_or_make(
        &self,
        name: &'static str,
        make: impl FnOnce() -> Result<Secret, KeysError>,
    ) -> Result<Secret, KeysError> {
        if let Some(secret) = call("read the operator's Secrets", self.secrets.get_opt(name)).await? {
            return Ok(secret);
        }
        match call("create the operator's Secrets", self.secrets.create(&parameters(), &make()?)).await {
            Ok(secret) => {
                tracing::info!(secret = name, "A key was generated; put this Secret into the backup.");
                Ok(secret)
            }
            // It was restored at this very moment; the restored one counts.
            Err(error) if error.is_already_exists() => {
                Ok(call("read the operator's Secrets", self.secrets.get(name)).await?)
            }
            Err(error) => Err(error.into()),
        }
    }

    fn secret(&self, name: &str, kind: &str, data: SecretData) -> Secret {
        Secret {
            metadata: ObjectMeta {
                name: Some(name.to_owned()),
                namespace: Some(self.namespace.clone()),
                labels: Some([(MANAGED_BY.to_owned(), OURS.to_owned())].into()),
                ..ObjectMeta::default()
            },
            type_: Some(kind.to_owned()),
            data: Some(data),
            ..Secret::default()
        }
    }
}

fn read_server(secret: &Secret) -> Result<(ServerCertificate, CertificateFacts), KeysError> {
    let chain_pem = text(secret, SERVER_SECRET, CERTIFICATE)?;
    let key_pem = text(secret, SERVER_SECRET, KEY)?;
    let facts = CertificateFacts::of_pem(&chain_pem)
        .ok_or_else(|| unusable(SERVER_SECRET, CERTIFICATE, &"no certificate in PEM"))?;
    Ok((ServerCertificate { chain_pem, key_pem, not_after: facts.not_after }, facts))
}

fn pair_data(pair: CertificateAndKey) -> SecretData {
    let CertificateAndKey { certificate_pem, key_pem } = pair;
    [
        (CERTIFICATE.to_owned(), ByteString(certificate_pem.into_bytes())),
        (KEY.to_owned(), ByteString(key_pem.into_bytes())),
    ]
    .into()
}

fn bytes<'s>(secret: &'s Secret, name: &'static str, key: &'static str) -> Result<&'s [u8], KeysError> {
    let data = secret.data.as_ref().and_then(|d| d.get(key));
    data.map(|b| b.0.as_slice()).ok_or(KeysError::Missing { secret: name, key })
}

fn text(secret: &Secret, name: &'static str, key: &'static str) -> Result<String, KeysError> {
    let bytes = bytes(secret, name, key)?;
    String::from_utf8(bytes.to_vec()).map_err(|_| unusable(name, key, &"not a text"))
}

fn unusable(secret: &'static str, key: &'static str, why: &dyn std::fmt::Display) -> KeysError {
    KeysError::Unusable { secret, key, why: why.to_string() }
}

fn parameters() -> PostParams {
    PostParams { field_manager: Some(field_manager::OPERATOR.to_owned()), ..PostParams::default() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_without_its_key_says_what_to_do() {
        let secret = Secret::default();
        let message = text(&secret, CA_SECRET, KEY).unwrap_err().to_string();
        assert!(
            message.contains("kalong-ca") && message.contains("tls.key") && message.contains("backup"),
            "{message}"
        );
    }
}

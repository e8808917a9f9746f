//! The door where boxes ask to come in, from outside: `POST /enrol` as anybody may say it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
use http::request::Builder;
use http::{Request, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper_util::rt::TokioIo;
use jiff::{SignedDuration, Timestamp};
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kalong_crds::EdgeAgent;
use kalong_crds::units::Digest;
use kalong_crds::wire::enrol::{TOKEN_EXPIRES_KEY, TOKEN_HASH_KEY, TRUST_CONFIG_MAP, token_secret_name};
use kube::Api;
use kube::api::PostParams;
use rcgen::{CertificateParams, DnType, KeyPair, SanType};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::site::TestSite;

const DEADLINE: Duration = Duration::from_secs(40);
/// With which a box says that secrets may be encrypted for it.
pub const SEALING_KEY: [u8; 32] = [7; 32];

/// What was said, and with which status.
#[derive(Debug)]
pub struct Said {
    pub status: StatusCode,
    pub body: Value,
}

impl Said {
    pub fn message(&self) -> &str {
        self.body["message"].as_str().unwrap_or_default()
    }
}

/// The door of one operator.
pub struct Door {
    address: SocketAddr,
    roots: Arc<rustls::RootCertStore>,
}

/// A certificate with its key, both in PEM.
pub struct Identity<'a> {
    pub certificate: &'a str,
    pub key: &'a KeyPair,
}

impl Door {
    pub async fn of(site: &TestSite<'_>, address: SocketAddr) -> Self {
        let maps: Api<ConfigMap> = Api::namespaced(site.client.clone(), site.operator_namespace());
        let trust = maps.get(TRUST_CONFIG_MAP).await.unwrap();
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(trust.data.unwrap()["ca.crt"].as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        Self { address, roots: roots.into() }
    }

    /// Asks for a certificate.
    pub async fn ask(&self, agent: &str, token: &str, csr: &str) -> Said {
        let body = json!({"agent": agent, "token": token, "csr": csr, "sealingKey": STANDARD.encode(SEALING_KEY)});
        let request = Request::post("/enrol").header("content-type", "application/json");
        self.send(None, request, body.to_string()).await
    }

    /// Asks for an artifact that is not there, with or without a certificate.
    pub async fn artifact(&self, identity: Option<Identity<'_>>) -> StatusCode {
        let request = Request::get(format!("/artifacts/{}", "a".repeat(64)));
        self.send(identity, request, String::new()).await.status
    }

    fn tls(&self, identity: Option<Identity<'_>>) -> TlsConnector {
        let config = rustls::ClientConfig::builder().with_root_certificates(Arc::clone(&self.roots));
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(Identity { certificate, key }) => {
                let chain = CertificateDer::pem_slice_iter(certificate.as_bytes()).map(Result::unwrap).collect();
                let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
                config.with_client_auth_cert(chain, key).unwrap()
            }
        };
        Arc::new(config).into()
    }

    async fn send(&self, identity: Option<Identity<'_>>, request: Builder, body: String) -> Said {
        let request = request.header("host", self.address.to_string()).body(Full::new(Bytes::from(body))).unwrap();
        let tls = self.tls(identity);
        let exchange = async {
            let stream = TcpStream::connect(self.address).await.unwrap();
            let stream = tls.connect(ServerName::from(self.address.ip()), stream).await.unwrap();
            let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
            tokio::spawn(connection);
            let answer = sender.send_request(request).await.unwrap();
            let status = answer.status();
            let bytes = answer.into_body().collect().await.unwrap().to_bytes();
            Said { status, body: serde_json::from_slice(&bytes).unwrap_or_default() }
        };
        timeout(DEADLINE, exchange).await.unwrap()
    }
}

/// A certificate request for this name, with these further names.
pub fn request(name: &str, further: &[SanType]) -> String {
    request_with(&KeyPair::generate().unwrap(), name, further)
}

/// The same, with a key that the test has.
pub fn request_with(key: &KeyPair, name: &str, further: &[SanType]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = further.to_vec();
    params.serialize_request(key).unwrap().pem().unwrap()
}

/// Stores the hash of a token for this box as the plugin does, and returns the token.
pub async fn token(site: &TestSite<'_>, agent: &str, life: SignedDuration) -> String {
    let mut bytes = [0_u8; 32];
    ring::rand::SecureRandom::fill(&ring::rand::SystemRandom::new(), &mut bytes).unwrap();
    let token = URL_SAFE_NO_PAD.encode(bytes);
    let object: EdgeAgent = site.get(agent).await;
    let secret = json!({
        "apiVersion": "v1", "kind": "Secret",
        "metadata": {"name": token_secret_name(agent), "ownerReferences": [{
            "apiVersion": "kalong.dev/v1alpha1", "kind": "EdgeAgent", "name": agent, "uid": object.metadata.uid,
        }]},
        "stringData": {
            TOKEN_HASH_KEY: Digest::of(token.as_bytes()).as_str(),
            TOKEN_EXPIRES_KEY: (Timestamp::now() + life).to_string(),
        },
    });
    let secrets: Api<Secret> = Api::namespaced(site.client.clone(), &site.name);
    secrets.create(&PostParams::default(), &serde_json::from_value(secret).unwrap()).await.unwrap();
    token
}

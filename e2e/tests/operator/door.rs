//! The door where boxes ask to come in, from outside: `POST /enrol` as anybody may say it.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use bytes::Bytes;
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
use rustls::pki_types::{CertificateDer, ServerName};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::site::TestSite;

const DEADLINE: Duration = Duration::from_secs(40);

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
    tls: tokio_rustls::TlsConnector,
}

impl Door {
    pub async fn of(site: &TestSite<'_>, address: SocketAddr) -> Self {
        let maps: Api<ConfigMap> = Api::namespaced(site.client.clone(), site.operator_namespace());
        let trust = maps.get(TRUST_CONFIG_MAP).await.unwrap();
        let mut roots = rustls::RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(trust.data.unwrap()["ca.crt"].as_bytes()) {
            roots.add(certificate.unwrap()).unwrap();
        }
        let config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
        Self { address, tls: Arc::new(config).into() }
    }

    /// Asks for a certificate.
    pub async fn ask(&self, agent: &str, token: &str, csr: &str) -> Said {
        let body = json!({"agent": agent, "token": token, "csr": csr, "sealingKey": STANDARD.encode([7_u8; 32])});
        timeout(DEADLINE, self.post(body.to_string())).await.unwrap()
    }

    async fn post(&self, body: String) -> Said {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let stream = self.tls.connect(ServerName::from(self.address.ip()), stream).await.unwrap();
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let request = Request::post("/enrol")
            .header("host", self.address.to_string())
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(body)))
            .unwrap();
        let answer = sender.send_request(request).await.unwrap();
        let status = answer.status();
        let bytes = answer.into_body().collect().await.unwrap().to_bytes();
        Said { status, body: serde_json::from_slice(&bytes).unwrap_or_default() }
    }
}

/// A certificate request for this name, with these further names.
pub fn request(name: &str, further: &[SanType]) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = rcgen::DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    params.subject_alt_names = further.to_vec();
    params.serialize_request(&KeyPair::generate().unwrap()).unwrap().pem().unwrap()
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

//! Kubeconfig files: one cluster, one user, one context.

use std::io;
use std::path::{Path, PathBuf};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};
use thiserror::Error;

use super::credentials::{CertificatePair, write_private};

/// Why a kubeconfig could not be written or used.
#[derive(Debug, Error)]
pub enum KubeconfigError {
    /// The file could not be written.
    #[error("writing {path} failed: {source}")]
    Write { path: PathBuf, source: io::Error },
    /// The client library does not accept it.
    #[error("the kubeconfig that was just made is not understood: {0}")]
    Read(#[from] kube::config::KubeconfigError),
}

/// How the user proves who it is.
pub(super) enum Proof<'a> {
    Certificate(&'a CertificatePair),
    Token(&'a str),
}

/// The text of a kubeconfig. Values are base64, a URL of ours, and names that the API server accepted: none needs quoting in YAML.
pub(super) fn text(server: &str, ca: &str, user: &str, namespace: &str, proof: &Proof<'_>) -> String {
    let proof = match proof {
        Proof::Certificate(identity) => format!(
            "    client-certificate-data: {}\n    client-key-data: {}\n",
            STANDARD.encode(&identity.certificate),
            STANDARD.encode(&identity.key)
        ),
        Proof::Token(token) => format!("    token: {token}\n"),
    };
    format!(
        "apiVersion: v1\nkind: Config\nclusters:\n- name: kalong-e2e\n  cluster:\n    server: {server}\n    \
         certificate-authority-data: {ca}\nusers:\n- name: \"{user}\"\n  user:\n{proof}contexts:\n- name: kalong-e2e\n  context:\n    \
         cluster: kalong-e2e\n    user: \"{user}\"\n    namespace: {namespace}\ncurrent-context: kalong-e2e\n",
        ca = STANDARD.encode(ca)
    )
}

pub(super) fn write(path: &Path, text: &str) -> Result<(), KubeconfigError> {
    write_private(path, text).map_err(|source| KubeconfigError::Write { path: path.to_owned(), source })
}

/// What a client needs to speak to that server.
pub(super) async fn config(text: &str) -> Result<Config, KubeconfigError> {
    let mut config =
        Config::from_custom_kubeconfig(Kubeconfig::from_yaml(text)?, &KubeConfigOptions::default()).await?;
    // Loopback is never reached through the proxy of the environment.
    config.proxy_url = None;
    Ok(config)
}

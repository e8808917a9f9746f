//! Certificates and keys of one control plane: an authority for the API server and its clients, another for etcd.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use thiserror::Error;

/// First address of the Service range that `process` gives to the API server: the Service `kubernetes`.
const SERVICE_ADDRESS: &str = "10.0.0.1";

/// Why certificates could not be made.
#[derive(Debug, Error)]
pub enum CredentialError {
    #[error("making a certificate failed: {0}")]
    Certificate(#[from] rcgen::Error),
    /// The file could not be written.
    #[error("writing {path} failed: {source}")]
    Write { path: PathBuf, source: io::Error },
}

/// A certificate and its key, as PEM.
#[derive(Clone)]
pub(super) struct CertificatePair {
    pub(super) certificate: String,
    pub(super) key: String,
}

/// All that the processes need, written below one folder, and the identities of those that use a kubeconfig.
pub(super) struct Credentials {
    directory: PathBuf,
    pub(super) ca: String,
    pub(super) etcd_ca: String,
    pub(super) admin: CertificatePair,
    pub(super) controller_manager: CertificatePair,
    pub(super) etcd_client: CertificatePair,
}

impl Credentials {
    pub(super) fn create(directory: PathBuf) -> Result<Self, CredentialError> {
        fs::create_dir_all(&directory).map_err(|source| CredentialError::Write { path: directory.clone(), source })?;
        let ca = authority("kalong-e2e")?;
        let etcd_ca = authority("kalong-e2e-etcd")?;
        let credentials = Self {
            ca: ca.pem(),
            etcd_ca: etcd_ca.pem(),
            // The group that every cluster's bootstrap policy makes cluster-admin.
            admin: client(&ca, "kalong-e2e-admin", Some("system:masters"))?,
            controller_manager: client(&ca, "system:kube-controller-manager", None)?,
            etcd_client: client(&etcd_ca, "kube-apiserver", None)?,
            directory,
        };
        credentials.write("ca.crt", &credentials.ca)?;
        credentials.write("etcd-ca.crt", &credentials.etcd_ca)?;
        credentials.write_identity("etcd-client", &credentials.etcd_client)?;
        credentials.write_identity("apiserver", &server(&ca, "kube-apiserver")?)?;
        credentials.write_identity("etcd", &server(&etcd_ca, "etcd")?)?;
        let tokens = KeyPair::generate()?;
        credentials.write("service-accounts.key", &tokens.serialize_pem())?;
        credentials.write("service-accounts.pub", &tokens.public_key_pem())?;
        Ok(credentials)
    }

    /// The path of a file by its name, for a flag.
    pub(super) fn file(&self, name: &str) -> String {
        self.directory.join(name).display().to_string()
    }

    fn write_identity(&self, name: &str, identity: &CertificatePair) -> Result<(), CredentialError> {
        self.write(&format!("{name}.crt"), &identity.certificate)?;
        self.write(&format!("{name}.key"), &identity.key)
    }

    fn write(&self, name: &str, content: &str) -> Result<(), CredentialError> {
        let path = self.directory.join(name);
        write_private(&path, content).map_err(|source| CredentialError::Write { path, source })
    }
}

/// Writes a file that only its owner may read.
pub(super) fn write_private(path: &Path, content: &str) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    file.write_all(content.as_bytes())
}

fn authority(name: &str) -> Result<CertifiedIssuer<'static, KeyPair>, CredentialError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign, KeyUsagePurpose::DigitalSignature];
    Ok(CertifiedIssuer::self_signed(params, KeyPair::generate()?)?)
}

fn client(
    ca: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    group: Option<&str>,
) -> Result<CertificatePair, CredentialError> {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    if let Some(group) = group {
        params.distinguished_name.push(DnType::OrganizationName, group);
    }
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    issue(ca, params)
}

/// For a server that also dials its own kind, as an etcd peer does.
fn server(ca: &CertifiedIssuer<'static, KeyPair>, name: &str) -> Result<CertificatePair, CredentialError> {
    let names =
        ["localhost", "127.0.0.1", "kubernetes", "kubernetes.default", "kubernetes.default.svc", SERVICE_ADDRESS];
    let mut params = CertificateParams::new(names.map(String::from).to_vec())?;
    params.distinguished_name.push(DnType::CommonName, name);
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    issue(ca, params)
}

fn issue(
    ca: &CertifiedIssuer<'static, KeyPair>,
    mut params: CertificateParams,
) -> Result<CertificatePair, CredentialError> {
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.use_authority_key_identifier_extension = true;
    let key = KeyPair::generate()?;
    Ok(CertificatePair { certificate: params.signed_by(&key, ca)?.pem(), key: key.serialize_pem() })
}

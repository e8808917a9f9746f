//! Keys, certificate requests, and the exchange of a certificate for its successor while the old one is still good.

use jiff::Timestamp;
use kalong_crds::units::AgentId;
use rcgen::{CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, KeyPair, SanType};

use crate::store::identity::{AgentIdentity, AgentIdentityError, Validity};

/// A certificate is renewed at this share of its validity.
const RENEW_AT: (i64, i64) = (2, 3);

/// Why a certificate cannot be asked for or taken.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum RenewalError {
    /// The key or request cannot be made.
    #[error("the certificate request cannot be made")]
    Request(#[from] rcgen::Error),
    /// No request for a certificate is open.
    #[error("a certificate came that nobody asked for")]
    Unasked,
    /// It is not for this box.
    #[error("the certificate names `{0}` and not this box")]
    #[strum(to_string = "wrong-name")]
    Name(String),
    /// It cannot be used with the key of the request.
    #[error(transparent)]
    #[strum(transparent)]
    Identity(#[from] AgentIdentityError),
}

/// A new key and the request that is signed with it, both in PEM.
#[derive(Clone)]
pub struct RenewalRequest {
    /// The private key in PEM.
    pub key: String,
    /// The certificate signing request in PEM.
    pub csr: String,
}

impl std::fmt::Debug for RenewalRequest {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("RenewalRequest(..)")
    }
}

/// A new P-256 key and the request for a certificate of this box.
pub fn ask(agent: &AgentId) -> Result<RenewalRequest, RenewalError> {
    let key = KeyPair::generate()?;
    let mut params = CertificateParams::default();
    let mut name = DistinguishedName::new();
    name.push(DnType::CommonName, agent.as_str());
    name.push(DnType::OrganizationName, agent.namespace());
    params.distinguished_name = name;
    params.subject_alt_names = vec![SanType::URI(format!("spiffe://kalong.dev/agent/{agent}").try_into()?)];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    let csr = params.serialize_request(&key)?.pem()?;
    Ok(RenewalRequest { key: key.serialize_pem(), csr })
}

/// The identity with its new certificate, once that fits the key and names this box.
pub fn accept(
    identity: &AgentIdentity,
    asked: Option<&RenewalRequest>,
    certificate: String,
    authorities: String,
) -> Result<AgentIdentity, RenewalError> {
    let asked = asked.ok_or(RenewalError::Unasked)?;
    let next = AgentIdentity { certificate, authorities, key: asked.key.clone(), ..identity.clone() };
    check(&next)?;
    Ok(next)
}

/// Whether certificate, key and name of an identity belong together.
pub fn check(identity: &AgentIdentity) -> Result<(), RenewalError> {
    let unusable = |e: String| AgentIdentityError::Unusable("certificate", e);
    let (_, pem) =
        x509_parser::pem::parse_x509_pem(identity.certificate.as_bytes()).map_err(|e| unusable(e.to_string()))?;
    let certificate = pem.parse_x509().map_err(|e| unusable(e.to_string()))?;
    let name = certificate.subject().iter_common_name().next().and_then(|n| n.as_str().ok()).unwrap_or_default();
    if name != identity.agent.as_str() {
        return Err(RenewalError::Name(name.chars().take(127).collect()));
    }
    // Building the TLS client holds the key against the certificate.
    identity.tls()?;
    Ok(())
}

/// When a certificate is to be renewed.
pub fn due(validity: Validity) -> Timestamp {
    let (from, until) = (validity.from.as_second(), validity.until.as_second());
    let at = from + (until - from) / RENEW_AT.1 * RENEW_AT.0;
    Timestamp::from_second(at).unwrap_or(validity.from)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::identity::tests::identity;
    use rcgen::{BasicConstraints, IsCa, Issuer};

    fn authority() -> (String, Issuer<'static, KeyPair>) {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        (certificate.pem(), Issuer::new(params, key))
    }

    fn signed(asked: &RenewalRequest, name: &str, issuer: &Issuer<'static, KeyPair>) -> String {
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.signed_by(&KeyPair::from_pem(&asked.key).unwrap(), issuer).unwrap().pem()
    }

    #[test]
    fn new_certificate_is_taken_only_for_the_key_and_name_that_asked() {
        let (ca, issuer) = authority();
        let me = identity();
        let asked = ask(&me.agent).unwrap();
        let certificate = signed(&asked, me.agent.as_str(), &issuer);
        let next = accept(&me, Some(&asked), certificate.clone(), ca.clone()).unwrap();
        assert!(due(next.validity().unwrap()) > next.validity().unwrap().from);
        assert!(matches!(accept(&me, None, certificate.clone(), ca.clone()), Err(RenewalError::Unasked)));
        let other_key = ask(&me.agent).unwrap();
        assert!(accept(&me, Some(&other_key), certificate, ca.clone()).is_err());
        let stranger = ask(&"mc.stranger".parse().unwrap()).unwrap();
        let foreign = signed(&stranger, "mc.stranger", &issuer);
        assert!(matches!(accept(&me, Some(&stranger), foreign, ca), Err(RenewalError::Name(_))));
    }
}

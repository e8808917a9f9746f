//! The certificate of an agent: what a request may contain, and what is signed regardless of it. Pure.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::units::AgentId;
use rcgen::string::Ia5String;
use rcgen::{DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose, SanType, SubjectPublicKeyInfo};
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension, X509Extension};
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_SIG_ECDSA_WITH_SHA256, OID_X509_COMMON_NAME,
    OID_X509_ORGANIZATION_NAME,
};
use x509_parser::prelude::FromDer;
use x509_parser::x509::X509Name;

use crate::keys::CertificateAuthority;
use crate::keys::authority::{CertificateFacts, lived, remaining};

/// A request for a P-256 key is about 500 bytes in PEM.
pub const MAX_REQUEST: usize = 8 * 1024;
/// Bounds of a certificate's life; the API server takes no less than 600 s, and more than 30 days is no short life.
const SHORTEST: Duration = Duration::from_secs(3600);
const LONGEST: Duration = Duration::from_secs(720 * 3600);

/// Why a request is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", prefix = "request-")]
pub enum RequestError {
    /// Too large to be one.
    #[error("the certificate request is longer than {MAX_REQUEST} bytes")]
    TooLarge,
    #[error("the certificate request cannot be read: send PKCS#10 in PEM")]
    Unreadable,
    /// Another kind of key or signature.
    #[error("the certificate request must carry a P-256 key and an ECDSA signature with SHA-256")]
    Algorithm,
    /// The requester does not have the private key.
    #[error("the signature of the certificate request does not fit its key")]
    Possession,
    #[error("the certificate request names somebody else: its subject must be empty, or CN {0} and O the site")]
    Subject(AgentId),
    /// Something that we do not grant.
    #[error("the certificate request asks for `{0}`, which no agent gets: leave it out")]
    Extra(String),
}

/// A request whose sender proved to have the key, and which asks for nothing that is not granted.
#[derive(Debug)]
pub struct CheckedRequest {
    key: SubjectPublicKeyInfo,
}

/// A certificate as it was signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IssuedCertificate {
    pub pem: String,
    /// Serial number in hexadecimal digits.
    pub serial: String,
    pub not_after: Timestamp,
}

/// SPIFFE ID in the subject alternative name of an agent's certificate.
pub fn spiffe(agent: &AgentId) -> String {
    format!("spiffe://kalong.dev/agent/{agent}")
}

/// Checks a request of this agent. The name inside decides nothing: it may only be absent or right.
pub fn check(pem: &str, agent: &AgentId) -> Result<CheckedRequest, RequestError> {
    if pem.len() > MAX_REQUEST {
        return Err(RequestError::TooLarge);
    }
    let der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).map_err(|_| RequestError::Unreadable)?;
    let (rest, request) = X509CertificationRequest::from_der(&der).map_err(|_| RequestError::Unreadable)?;
    if !rest.is_empty() || request.certification_request_info.version.0 != 0 {
        return Err(RequestError::Unreadable);
    }
    let info = &request.certification_request_info;
    let curve = info.subject_pki.algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
    let key_fits = info.subject_pki.algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY && curve == Some(OID_EC_P256);
    if !key_fits || request.signature_algorithm.algorithm != OID_SIG_ECDSA_WITH_SHA256 {
        return Err(RequestError::Algorithm);
    }
    // Before anything else is believed: only the owner of the key may ask for it (RFC 2986 section 3).
    request.verify_signature().map_err(|_| RequestError::Possession)?;
    subject(&info.subject, agent)?;
    attributes(&request, agent)?;
    let key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(|_| RequestError::Algorithm)?;
    Ok(CheckedRequest { key })
}

fn subject(name: &X509Name<'_>, agent: &AgentId) -> Result<(), RequestError> {
    let foreign = || RequestError::Subject(agent.clone());
    let (mut common, mut site) = (0, 0);
    for attribute in name.iter_attributes() {
        let text = attribute.as_str().map_err(|_| foreign())?;
        if *attribute.attr_type() == OID_X509_COMMON_NAME && text == agent.as_str() {
            common += 1;
        } else if *attribute.attr_type() == OID_X509_ORGANIZATION_NAME && text == agent.namespace() {
            site += 1;
        } else {
            return Err(foreign());
        }
    }
    if common <= 1 && site <= 1 { Ok(()) } else { Err(foreign()) }
}

fn attributes(request: &X509CertificationRequest<'_>, agent: &AgentId) -> Result<(), RequestError> {
    let mut lists = 0;
    for attribute in request.certification_request_info.iter_attributes() {
        let ParsedCriAttribute::ExtensionRequest(wanted) = attribute.parsed_attribute() else {
            return Err(RequestError::Extra(attribute.oid.to_id_string()));
        };
        lists += 1;
        let mut seen = BTreeSet::new();
        for wanted in &wanted.extensions {
            if !seen.insert(wanted.oid.to_id_string()) {
                return Err(RequestError::Extra(format!("{} twice", wanted.oid.to_id_string())));
            }
            extension(wanted, agent)?;
        }
    }
    if lists <= 1 { Ok(()) } else { Err(RequestError::Extra("two lists of extensions".to_owned())) }
}

fn extension(wanted: &X509Extension<'_>, agent: &AgentId) -> Result<(), RequestError> {
    let refused = |what: &str| Err(RequestError::Extra(what.to_owned()));
    match wanted.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(names) => match names.general_names.as_slice() {
            [GeneralName::URI(uri)] if *uri == spiffe(agent) => Ok(()),
            _ => refused("another alternative name"),
        },
        // Bit 0, digitalSignature, is the lowest one here.
        ParsedExtension::KeyUsage(usage) if usage.flags == 1 => Ok(()),
        ParsedExtension::KeyUsage(_) => refused("another key usage"),
        ParsedExtension::ExtendedKeyUsage(usage) => {
            let foreign = usage.any
                || usage.server_auth
                || usage.code_signing
                || usage.email_protection
                || usage.time_stamping
                || usage.ocsp_signing
                || !usage.other.is_empty();
            if usage.client_auth && !foreign { Ok(()) } else { refused("another extended key usage") }
        }
        ParsedExtension::BasicConstraints(constraints)
            if !constraints.ca && constraints.path_len_constraint.is_none() =>
        {
            Ok(())
        }
        ParsedExtension::BasicConstraints(_) => refused("to be an authority"),
        _ => refused(&wanted.oid.to_id_string()),
    }
}

/// Signs a certificate for the key of this request. Nothing but the key is taken from it.
pub fn issue(
    authority: &CertificateAuthority,
    request: &CheckedRequest,
    agent: &AgentId,
    validity: SignedDuration,
    now: Timestamp,
) -> Result<IssuedCertificate, rcgen::Error> {
    let wanted = Duration::try_from(validity).unwrap_or_default().clamp(SHORTEST, LONGEST);
    // A certificate that outlives its authority would be refused without a reason that anybody could see.
    let life = wanted.min(remaining(now, authority.not_after));
    let mut params = lived(now, life)?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, agent.as_str());
    params.distinguished_name.push(DnType::OrganizationName, agent.namespace());
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(spiffe(agent))?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    let pem = params.signed_by(&request.key, authority.issuer())?.pem();
    let facts = CertificateFacts::of_pem(&pem).ok_or(rcgen::Error::CouldNotParseCertificate)?;
    Ok(IssuedCertificate { pem, serial: facts.serial, not_after: facts.not_after })
}

#[cfg(test)]
mod tests;

//! The authority of agents' certificates and the server certificate that it signs: P-256, made and read without any I/O.

use std::fmt;
use std::net::IpAddr;
use std::time::Duration;

use jiff::Timestamp;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PKCS_ECDSA_P256_SHA256, SerialNumber, date_time_ymd,
};
use ring::rand::{SecureRandom, SystemRandom};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::{FromDer, X509Certificate};

/// Validity of an authority; long, since agents pin it.
const AUTHORITY_LIFE: Duration = Duration::from_secs(3653 * 24 * 3600);
/// Validity of a server certificate, which is replaced when a third of it is left.
const SERVER_LIFE: Duration = Duration::from_secs(90 * 24 * 3600);
/// `notBefore` lies this far in the past, since other clocks may be behind.
pub const CLOCK_SLACK: Duration = Duration::from_secs(60);

/// A certificate and its key in PEM.
pub struct CertificateAndKey {
    /// Certificate, or chain with the leaf first.
    pub certificate_pem: String,
    pub key_pem: String,
}

impl fmt::Debug for CertificateAndKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAndKey").field("certificate_pem", &self.certificate_pem).finish_non_exhaustive()
    }
}

/// Why a pair cannot be an authority.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    #[error("no certificate in PEM")]
    NoCertificate,
    /// Not a key that we sign with.
    #[error("no P-256 key in PKCS#8 PEM: {0}")]
    NoKey(rcgen::Error),
    /// The key belongs to another certificate.
    #[error("key and certificate do not belong together")]
    Mismatch,
    #[error("the certificate is not one of an authority")]
    NotAuthority,
    #[error("{0}")]
    Unusable(rcgen::Error),
}

/// Signs certificates of agents and of our servers.
pub struct CertificateAuthority {
    certificate_pem: String,
    bundle_pem: String,
    issuer: Issuer<'static, KeyPair>,
    pub not_after: Timestamp,
}

impl fmt::Debug for CertificateAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CertificateAuthority").field("not_after", &self.not_after).finish_non_exhaustive()
    }
}

impl CertificateAuthority {
    pub fn generate(now: Timestamp) -> Result<CertificateAndKey, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let mut params = lived(now, AUTHORITY_LIFE)?;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Kalong edge agents");
        // It signs agents and servers only, never another authority.
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate = params.self_signed(&key)?;
        Ok(CertificateAndKey { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Reads an authority: the first certificate is the one that signs, all of them and `further` are trusted.
    pub fn read(pair: &CertificateAndKey, further: &str) -> Result<Self, AuthorityError> {
        let first = CertificateDer::from_pem_slice(pair.certificate_pem.as_bytes())
            .map_err(|_| AuthorityError::NoCertificate)?;
        let key = KeyPair::from_pkcs8_pem_and_sign_algo(&pair.key_pem, &PKCS_ECDSA_P256_SHA256)
            .map_err(AuthorityError::NoKey)?;
        let facts = CertificateFacts::of(&first).ok_or(AuthorityError::NoCertificate)?;
        if facts.public_key != key.public_key_raw() {
            return Err(AuthorityError::Mismatch);
        }
        if !facts.authority {
            return Err(AuthorityError::NotAuthority);
        }
        let not_after = facts.not_after;
        let issuer = Issuer::from_ca_cert_der(&first, key).map_err(AuthorityError::Unusable)?;
        let bundle_pem = [pair.certificate_pem.trim_end(), further.trim_end()]
            .into_iter()
            .filter(|pem| !pem.is_empty())
            .fold(String::new(), |bundle, pem| bundle + pem + "\n");
        Ok(Self { certificate_pem: pair.certificate_pem.clone(), bundle_pem, issuer, not_after })
    }

    /// All trusted authorities in PEM: during a rotation the old and the new one.
    pub fn bundle_pem(&self) -> &str {
        &self.bundle_pem
    }

    pub fn issuer(&self) -> &Issuer<'static, KeyPair> {
        &self.issuer
    }

    /// Issues a server certificate for these DNS names and addresses.
    pub fn server(&self, names: &[String], now: Timestamp) -> Result<CertificateAndKey, rcgen::Error> {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256)?;
        let life = remaining(now, self.not_after).min(SERVER_LIFE);
        let mut params = lived(now, life)?;
        params.subject_alt_names = CertificateParams::new(names)?.subject_alt_names;
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, "Kalong operator");
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        params.use_authority_key_identifier_extension = true;
        let certificate = params.signed_by(&key, &self.issuer)?;
        Ok(CertificateAndKey { certificate_pem: certificate.pem(), key_pem: key.serialize_pem() })
    }

    /// Whether a generated server certificate has to be replaced: it expires soon, lacks a name, or another authority signed it.
    pub fn outdated(&self, server: &CertificateFacts, names: &[String], now: Timestamp) -> bool {
        let life = server.not_after.duration_since(server.not_before);
        let left = server.not_after.duration_since(now);
        let complete = names.len() == server.names.len() && names.iter().all(|n| server.names.contains(n));
        let signed = CertificateDer::from_pem_slice(self.certificate_pem.as_bytes())
            .ok()
            .and_then(|ca| CertificateFacts::of(&ca))
            .is_some_and(|ca| ca.subject == server.issuer && server.authority_key == ca.own_key);
        left.saturating_mul(3) < life || !complete || !signed
    }
}

/// Time from now to then, none when it is over.
pub fn remaining(now: Timestamp, then: Timestamp) -> Duration {
    Duration::try_from(then.duration_since(now)).unwrap_or_default()
}

/// Parameters with a life, a random serial number and nothing else.
pub fn lived(now: Timestamp, life: Duration) -> Result<CertificateParams, rcgen::Error> {
    let since_epoch = remaining(Timestamp::UNIX_EPOCH, now);
    let mut serial = [0_u8; 16];
    SystemRandom::new().fill(&mut serial).map_err(|_| rcgen::Error::RingUnspecified)?;
    // RFC 5280 4.1.2.2: positive. rcgen's default is the hash of the key, the same for a renewed certificate.
    if let Some(first) = serial.first_mut() {
        *first = (*first & 0x7f) | 0x40;
    }
    let mut params = CertificateParams::default();
    params.not_before = date_time_ymd(1970, 1, 1) + since_epoch.saturating_sub(CLOCK_SLACK);
    params.not_after = date_time_ymd(1970, 1, 1) + since_epoch + life;
    params.serial_number = Some(SerialNumber::from_slice(&serial));
    Ok(params)
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CertificateFacts {
    pub not_before: Timestamp,
    pub not_after: Timestamp,
    /// Serial number in lower-case hexadecimal digits.
    pub serial: String,
    /// DNS names and addresses.
    pub names: Vec<String>,
    authority: bool,
    subject: Vec<u8>,
    issuer: Vec<u8>,
    public_key: Vec<u8>,
    own_key: Option<Vec<u8>>,
    authority_key: Option<Vec<u8>>,
}

impl CertificateFacts {
    /// Reads a certificate; none if it cannot be read.
    pub fn of(der: &[u8]) -> Option<Self> {
        use x509_parser::extensions::ParsedExtension::{AuthorityKeyIdentifier, SubjectKeyIdentifier};
        let (_, certificate) = X509Certificate::from_der(der).ok()?;
        let names = certificate.subject_alternative_name().ok().flatten();
        let mut own_key = None;
        let mut authority_key = None;
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                SubjectKeyIdentifier(id) => own_key = Some(id.0.to_vec()),
                AuthorityKeyIdentifier(id) => authority_key = id.key_identifier.as_ref().map(|k| k.0.to_vec()),
                _ => {}
            }
        }
        Some(Self {
            not_before: Timestamp::from_second(certificate.validity().not_before.timestamp()).ok()?,
            not_after: Timestamp::from_second(certificate.validity().not_after.timestamp()).ok()?,
            serial: kalong_crds::units::hex(certificate.raw_serial()),
            names: names.map_or_else(Vec::new, |n| n.value.general_names.iter().filter_map(named).collect()),
            authority: certificate.is_ca(),
            subject: certificate.subject().as_raw().to_vec(),
            issuer: certificate.issuer().as_raw().to_vec(),
            public_key: certificate.public_key().subject_public_key.data.to_vec(),
            own_key,
            authority_key,
        })
    }

    /// Reads the first certificate of a PEM text.
    pub fn of_pem(pem: &str) -> Option<Self> {
        Self::of(&CertificateDer::from_pem_slice(pem.as_bytes()).ok()?)
    }
}

fn named(name: &GeneralName<'_>) -> Option<String> {
    match name {
        GeneralName::DNSName(dns) => Some((*dns).to_owned()),
        GeneralName::IPAddress(bytes) => {
            let v4 = <[u8; 4]>::try_from(*bytes).map(IpAddr::from);
            v4.or_else(|_| <[u8; 16]>::try_from(*bytes).map(IpAddr::from)).ok().map(|ip| ip.to_string())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn now() -> Timestamp {
        "2026-09-01T00:00:00Z".parse().unwrap()
    }

    fn names(list: &[&str]) -> Vec<String> {
        list.iter().map(|n| (*n).to_owned()).collect()
    }

    fn days(n: i64) -> jiff::SignedDuration {
        jiff::SignedDuration::from_hours(24 * n)
    }

    #[test]
    fn an_authority_lives_ten_years_and_signs_for_names_and_addresses() {
        let ca = CertificateAuthority::read(&CertificateAuthority::generate(now()).unwrap(), "").unwrap();
        assert!(ca.not_after.duration_since(now()) > days(3650));
        let wanted = names(&["kalong.kalong-system.svc", "127.0.0.1", "::1"]);
        let server = CertificateFacts::of_pem(&ca.server(&wanted, now()).unwrap().certificate_pem).unwrap();
        assert_eq!(server.names, wanted);
        assert!(!ca.outdated(&server, &wanted, now()));
    }

    #[test]
    fn a_server_certificate_is_made_anew_before_it_ends_or_when_names_or_the_authority_change() {
        let ca = CertificateAuthority::read(&CertificateAuthority::generate(now()).unwrap(), "").unwrap();
        let other = CertificateAuthority::read(&CertificateAuthority::generate(now()).unwrap(), "").unwrap();
        let wanted = names(&["a.example", "b.example"]);
        let server = CertificateFacts::of_pem(&ca.server(&wanted, now()).unwrap().certificate_pem).unwrap();
        assert!(!ca.outdated(&server, &wanted, now() + days(59)));
        assert!(ca.outdated(&server, &wanted, now() + days(61)));
        assert!(ca.outdated(&server, &names(&["a.example"]), now()));
        assert!(ca.outdated(&server, &names(&["a.example", "c.example"]), now()));
        assert!(other.outdated(&server, &wanted, now()));
    }

    #[test]
    fn what_does_not_belong_together_is_no_authority() {
        let (a, b) = (CertificateAuthority::generate(now()).unwrap(), CertificateAuthority::generate(now()).unwrap());
        let mixed = CertificateAndKey { certificate_pem: a.certificate_pem.clone(), key_pem: b.key_pem };
        assert!(matches!(CertificateAuthority::read(&mixed, ""), Err(AuthorityError::Mismatch)));
        let ca = CertificateAuthority::read(&a, "").unwrap();
        let leaf = ca.server(&names(&["a.example"]), now()).unwrap();
        assert!(matches!(CertificateAuthority::read(&leaf, ""), Err(AuthorityError::NotAuthority)));
    }

    #[test]
    fn during_a_rotation_both_authorities_are_trusted() {
        let (old, new) =
            (CertificateAuthority::generate(now()).unwrap(), CertificateAuthority::generate(now()).unwrap());
        let ca = CertificateAuthority::read(&new, &old.certificate_pem).unwrap();
        assert_eq!(ca.bundle_pem().matches("BEGIN CERTIFICATE").count(), 2);
    }

    #[test]
    fn nothing_that_is_printed_shows_a_key() {
        let pair = CertificateAuthority::generate(now()).unwrap();
        assert!(!format!("{pair:?}").contains("PRIVATE"));
    }
}

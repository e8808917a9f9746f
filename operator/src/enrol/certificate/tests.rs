//! Attacks on the certificate request. Pass means that no certificate is issued.

use kalong_crds::Category;
use rcgen::{
    Attribute, BasicConstraints, CertificateParams, CustomExtension, KeyPair, PKCS_ECDSA_P256_SHA256,
    PKCS_ECDSA_P384_SHA384, PKCS_ED25519,
};
use rustls::pki_types::CertificateDer;
use x509_parser::prelude::X509Certificate;

use super::*;

fn agent() -> AgentId {
    "mong-cai.bl2-lane-03".parse().unwrap()
}

fn now() -> Timestamp {
    "2026-09-01T00:00:00Z".parse().unwrap()
}

fn authority() -> CertificateAuthority {
    CertificateAuthority::read(&CertificateAuthority::generate(now()).unwrap(), "").unwrap()
}

fn uri(text: &str) -> SanType {
    SanType::URI(text.try_into().unwrap())
}

/// A request as our agent makes it, with one thing changed.
fn request(change: impl FnOnce(&mut CertificateParams)) -> String {
    request_of(&KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap(), change)
}

fn request_of(key: &KeyPair, change: impl FnOnce(&mut CertificateParams)) -> String {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, agent().as_str());
    params.distinguished_name.push(DnType::OrganizationName, "mong-cai");
    params.subject_alt_names = vec![uri(&spiffe(&agent()))];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    change(&mut params);
    params.serialize_request(key).unwrap().pem().unwrap()
}

fn name(pairs: &[(DnType, &str)]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    for (kind, value) in pairs {
        name.push(kind.clone(), *value);
    }
    name
}

#[test]
fn an_honest_request_is_answered_with_exactly_what_an_agent_gets() {
    let ca = authority();
    let honest = [
        request(|_| {}),
        request(|p| p.distinguished_name = DistinguishedName::new()),
        request(|p| p.subject_alt_names.clear()),
        request(|p| p.is_ca = IsCa::ExplicitNoCa),
    ];
    for pem in &honest {
        let checked = check(pem, &agent()).unwrap();
        let issued = issue(&ca, &checked, &agent(), SignedDuration::from_hours(168), now()).unwrap();
        let der = CertificateDer::from_pem_slice(issued.pem.as_bytes()).unwrap();
        let (_, certificate) = X509Certificate::from_der(&der).unwrap();
        assert_eq!(certificate.subject().to_string(), "CN=mong-cai.bl2-lane-03, O=mong-cai");
        assert!(!certificate.is_ca());
        let names = certificate.subject_alternative_name().unwrap().unwrap();
        assert_eq!(names.value.general_names, [GeneralName::URI("spiffe://kalong.dev/agent/mong-cai.bl2-lane-03")]);
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.server_auth && !usage.any);
        assert_eq!(certificate.key_usage().unwrap().unwrap().value.flags, 1);
        assert_eq!(certificate.validity().not_before.timestamp(), now().as_second() - 60);
        assert_eq!(certificate.validity().not_after.timestamp(), now().as_second() + 168 * 3600);
        assert_eq!(issued.not_after.as_second(), now().as_second() + 168 * 3600);
    }
}

#[test]
fn life_is_bounded_and_never_outlives_the_authority() {
    let ca = authority();
    let checked = check(&request(|_| {}), &agent()).unwrap();
    let life = |hours: i64, now: Timestamp| {
        issue(&ca, &checked, &agent(), SignedDuration::from_hours(hours), now).unwrap().not_after.duration_since(now)
    };
    assert_eq!(life(1_000_000, now()), SignedDuration::from_hours(720));
    assert_eq!(life(0, now()), SignedDuration::from_hours(1));
    assert_eq!(life(-5, now()), SignedDuration::from_hours(1));
    let late = ca.not_after - SignedDuration::from_hours(2);
    assert_eq!(life(168, late), SignedDuration::from_hours(2));
}

#[test]
fn two_certificates_for_one_key_have_different_serial_numbers() {
    let ca = authority();
    let checked = check(&request(|_| {}), &agent()).unwrap();
    let serial = || issue(&ca, &checked, &agent(), SignedDuration::from_hours(1), now()).unwrap().serial;
    assert_ne!(serial(), serial());
}

#[test]
fn a_request_with_anything_that_an_agent_does_not_get_is_refused() {
    let mine = agent();
    let cn = |text: &str| name(&[(DnType::CommonName, text)]);
    let attacks: Vec<(&str, String, &str)> = vec![
        ("CN of another agent", request(|p| p.distinguished_name = cn("mong-cai.bl2-lane-04")), "request-subject"),
        ("CN of another site", request(|p| p.distinguished_name = cn("lang-son.bl2-lane-03")), "request-subject"),
        ("CN with a suffix", request(|p| p.distinguished_name = cn("mong-cai.bl2-lane-03.x")), "request-subject"),
        ("CN in capitals", request(|p| p.distinguished_name = cn("MONG-CAI.bl2-lane-03")), "request-subject"),
        ("CN with a wildcard", request(|p| p.distinguished_name = cn("mong-cai.*")), "request-subject"),
        ("CN with a null byte", request(|p| p.distinguished_name = cn("mong-cai.bl2-lane-03\0x")), "request-subject"),
        ("CN of the operator", request(|p| p.distinguished_name = cn("kalong-operator")), "request-subject"),
        (
            "O of the masters of a cluster",
            request(|p| {
                p.distinguished_name =
                    name(&[(DnType::CommonName, "mong-cai.bl2-lane-03"), (DnType::OrganizationName, "system:masters")]);
            }),
            "request-subject",
        ),
        (
            "a unit beside the name",
            request(|p| p.distinguished_name.push(DnType::OrganizationalUnitName, "operators")),
            "request-subject",
        ),
        (
            "a country beside the name",
            request(|p| p.distinguished_name.push(DnType::CountryName, "VN")),
            "request-subject",
        ),
        (
            "URI of another agent",
            request(|p| p.subject_alt_names = vec![uri("spiffe://kalong.dev/agent/a.b")]),
            "request-extra",
        ),
        (
            "URI of another domain",
            request(|p| p.subject_alt_names = vec![uri("spiffe://evil/agent/a.b")]),
            "request-extra",
        ),
        ("a second URI", request(|p| p.subject_alt_names.push(uri("spiffe://kalong.dev/agent/a.b"))), "request-extra"),
        ("the same URI twice", request(|p| p.subject_alt_names.push(uri(&spiffe(&mine)))), "request-extra"),
        (
            "a DNS name",
            request(|p| p.subject_alt_names.push(SanType::DnsName("kalong.kalong-system.svc".try_into().unwrap()))),
            "request-extra",
        ),
        (
            "an address",
            request(|p| p.subject_alt_names.push(SanType::IpAddress([127, 0, 0, 1].into()))),
            "request-extra",
        ),
        (
            "a mail address",
            request(|p| p.subject_alt_names.push(SanType::Rfc822Name("a@b.example".try_into().unwrap()))),
            "request-extra",
        ),
        ("to be an authority", request(|p| p.is_ca = IsCa::Ca(BasicConstraints::Unconstrained)), "request-extra"),
        (
            "to be a bounded authority",
            request(|p| p.is_ca = IsCa::Ca(BasicConstraints::Constrained(0))),
            "request-extra",
        ),
        ("to sign certificates", request(|p| p.key_usages.push(KeyUsagePurpose::KeyCertSign)), "request-extra"),
        ("to sign revocations", request(|p| p.key_usages = vec![KeyUsagePurpose::CrlSign]), "request-extra"),
        ("to encrypt keys", request(|p| p.key_usages.push(KeyUsagePurpose::KeyEncipherment)), "request-extra"),
        (
            "to be a server",
            request(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth]),
            "request-extra",
        ),
        (
            "to be a server too",
            request(|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::ServerAuth)),
            "request-extra",
        ),
        ("any usage", request(|p| p.extended_key_usages = vec![ExtendedKeyUsagePurpose::Any]), "request-extra"),
        (
            "to sign code",
            request(|p| p.extended_key_usages.push(ExtendedKeyUsagePurpose::CodeSigning)),
            "request-extra",
        ),
        (
            "an unknown extension",
            request(|p| {
                p.custom_extensions = vec![CustomExtension::from_oid_content(&[1, 3, 6, 1, 4, 1, 1], vec![5, 0])]
            }),
            "request-extra",
        ),
        ("a challenge password", with_attribute(), "request-extra"),
        (
            "a P-384 key",
            request_of(&KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap(), |_| {}),
            "request-algorithm",
        ),
        ("an Ed25519 key", request_of(&KeyPair::generate_for(&PKCS_ED25519).unwrap(), |_| {}), "request-algorithm"),
        ("a broken signature", bent(&request(|_| {}), Place::Signature), "request-possession"),
        ("a changed key", bent(&request(|_| {}), Place::Key), "request-possession"),
        ("a changed name", bent(&request(|_| {}), Place::Name), "request-possession"),
        ("bytes after the end", trailed(&request(|_| {})), "request-unreadable"),
        ("10 MB", "A".repeat(10 * 1024 * 1024), "request-too-large"),
        ("nothing", String::new(), "request-unreadable"),
        ("text", "hello".to_owned(), "request-unreadable"),
        ("a certificate instead", authority().bundle_pem().to_owned(), "request-unreadable"),
        ("half a request", request(|_| {}).chars().take(200).collect(), "request-unreadable"),
    ];
    assert!(attacks.len() >= 30);
    for (attack, pem, category) in attacks {
        let error = check(&pem, &mine).expect_err(attack);
        assert_eq!(error.category(), category, "{attack}: {error}");
    }
}

enum Place {
    Signature,
    Key,
    Name,
}

/// The request with one byte changed there.
fn bent(pem: &str, place: Place) -> String {
    let mut der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    let find = |part: &[u8]| der.windows(part.len()).position(|w| w == part).unwrap();
    let at = match place {
        Place::Signature => der.len() - 1,
        // The last byte of an uncompressed point stands before the attributes.
        Place::Key => find(&[0x03, 0x42, 0x00, 0x04]) + 3 + 64,
        Place::Name => find(b"bl2-lane-03"),
    };
    der[at] ^= 1;
    in_pem(&der)
}

fn trailed(pem: &str) -> String {
    let mut der = CertificateSigningRequestDer::from_pem_slice(pem.as_bytes()).unwrap().to_vec();
    der.extend_from_slice(&[0x05, 0x00]);
    in_pem(&der)
}

fn in_pem(der: &[u8]) -> String {
    use base64::Engine;
    let text = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<_> = text.as_bytes().chunks(64).map(|c| String::from_utf8_lossy(c)).collect();
    format!("-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n", lines.join("\n"))
}

fn with_attribute() -> String {
    let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
    // A set with one printable string "secret".
    let values = vec![0x31, 0x08, 0x13, 0x06, b's', b'e', b'c', b'r', b'e', b't'];
    let attribute = Attribute { oid: &[1, 2, 840, 113_549, 1, 9, 7], values };
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.serialize_request_with_attributes(&key, vec![attribute]).unwrap().pem().unwrap().replace('\r', "")
}

//! What a box pins at enrolment, as the leader published it. All of it ends up in a command that somebody pastes into a
//! root shell, so every character is judged first.

use std::collections::BTreeMap;

use base64::Engine;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use k8s_openapi::api::core::v1::ConfigMap;
use kalong_crds::wire::enrol::ENROL_PATH;
use kalong_crds::wire::signature::PublicKey;

const PUBLIC_KEY_BYTES: usize = 32;

#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Trust {
    /// Base address of enrolment, `https://host:port`.
    pub(crate) server: String,
    pub(crate) authority: String,
    pub(crate) operator_keys: Vec<PublicKey>,
}

/// What is wrong with the published trust.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub(crate) enum TrustError {
    #[error("`{0}` is missing")]
    Missing(&'static str),
    /// A value cannot be used.
    #[error("`{0}` is {1}")]
    Malformed(&'static str, &'static str),
}

impl Trust {
    /// Reads and judges the ConfigMap.
    pub(crate) fn read(map: &ConfigMap) -> Result<Self, TrustError> {
        let empty = BTreeMap::new();
        let data = map.data.as_ref().unwrap_or(&empty);
        let value = |key: &'static str| data.get(key).map(String::as_str).ok_or(TrustError::Missing(key));
        Ok(Self {
            server: server(value("enrol-url")?)?,
            authority: authority(value("ca.crt")?)?,
            operator_keys: operator_keys(value("operator.pub")?)?,
        })
    }

    pub(crate) fn server(&self) -> &str {
        &self.server
    }

    /// The authority as one word.
    pub(crate) fn authority_word(&self) -> String {
        STANDARD.encode(&self.authority)
    }
}

fn server(text: &str) -> Result<String, TrustError> {
    let wrong = TrustError::Malformed("enrol-url", "no https://host:port");
    // The published address may be the whole path of the request; the box adds the path itself.
    let trimmed = text.trim().trim_end_matches('/');
    let base = trimmed.strip_suffix(ENROL_PATH).and_then(|b| b.strip_suffix('/')).unwrap_or(trimmed);
    let host = base.strip_prefix("https://").ok_or(wrong)?;
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | ':' | '[' | ']');
    if host.is_empty() || !host.chars().all(allowed) {
        return Err(TrustError::Malformed("enrol-url", "no https://host:port"));
    }
    Ok(base.to_owned())
}

fn authority(text: &str) -> Result<String, TrustError> {
    if !text.contains("-----BEGIN CERTIFICATE-----") {
        return Err(TrustError::Malformed("ca.crt", "no certificate in PEM"));
    }
    // A private key beside the certificate would be printed to a terminal.
    if text.contains("PRIVATE KEY") {
        return Err(TrustError::Malformed("ca.crt", "carrying a private key"));
    }
    Ok(text.to_owned())
}

fn operator_keys(text: &str) -> Result<Vec<PublicKey>, TrustError> {
    let wrong = TrustError::Malformed("operator.pub", "no list of Ed25519 keys");
    let Ok(keys) = serde_json::from_str::<Vec<PublicKey>>(text) else { return Err(wrong) };
    let usable = |key: &PublicKey| {
        !key.key_id.is_empty()
            && key.key_id.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-' | '_'))
            && URL_SAFE_NO_PAD.decode(&key.public_key).is_ok_and(|bytes| bytes.len() == PUBLIC_KEY_BYTES)
    };
    if keys.is_empty() || !keys.iter().all(usable) { Err(wrong) } else { Ok(keys) }
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(crate) fn published(change: &[(&str, Option<&str>)]) -> ConfigMap {
        let mut data: BTreeMap<String, String> = [
            ("ca.crt", "-----BEGIN CERTIFICATE-----\nTW9uZyBDYWk=\n-----END CERTIFICATE-----\n"),
            ("enrol-url", "https://kalong.example:8443"),
            ("mqtt-endpoint", "kalong.example:8883"),
            ("operator.pub", r#"[{"keyId":"op-1","publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]"#),
            ("releaseKeys", r#"{"number":1,"keys":[]}"#),
        ]
        .map(|(k, v)| (k.to_owned(), v.to_owned()))
        .into();
        for (key, value) in change {
            match value {
                Some(value) => data.insert((*key).to_owned(), (*value).to_owned()),
                None => data.remove(*key),
            };
        }
        ConfigMap { data: Some(data), ..ConfigMap::default() }
    }

    #[test]
    fn address_may_carry_the_path_of_the_request() {
        for given in ["https://10.0.0.1:8443", "https://10.0.0.1:8443/", "https://10.0.0.1:8443/enrol"] {
            assert_eq!(Trust::read(&published(&[("enrol-url", Some(given))])).unwrap().server, "https://10.0.0.1:8443");
        }
    }

    #[test]
    fn nothing_that_a_shell_would_obey_gets_into_the_command() {
        for bad in ["http://a:1", "https://", "https://a:1;reboot", "https://a:1/$(x)", "https://a b:1"] {
            assert!(Trust::read(&published(&[("enrol-url", Some(bad))])).is_err(), "{bad}");
        }
        for bad in [
            "[]",
            "x",
            r#"[{"keyId":"a b","publicKey":"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"}]"#,
            r#"[{"keyId":"a","publicKey":"AA"}]"#,
        ] {
            assert!(Trust::read(&published(&[("operator.pub", Some(bad))])).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_missing_value_is_named() {
        assert_eq!(Trust::read(&published(&[("ca.crt", None)])), Err(TrustError::Missing("ca.crt")));
        let leaked = "-----BEGIN CERTIFICATE-----\n-----BEGIN PRIVATE KEY-----";
        assert!(Trust::read(&published(&[("ca.crt", Some(leaked))])).is_err());
    }
}

//! Newtypes: a value that was parsed once is trusted afterwards.

use std::fmt;
use std::str::FromStr;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// A name of an object in the same namespace (a DNS label, at most 63 characters).
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Name(
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"))] pub String,
);

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<&str> for Name {
    fn from(value: &str) -> Self {
        Self(value.to_owned())
    }
}

impl From<String> for Name {
    fn from(value: String) -> Self {
        Self(value)
    }
}

/// The digest of an artifact or of a canonical document: `sha256:` and 64 hexadecimal digits.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Digest(String);

// By hand: a derived schema of a type that is made from a String has none of the field's bounds.
impl JsonSchema for Digest {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Digest".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "The digest of an artifact: `sha256:` and 64 lower-case hexadecimal digits.",
            "type": "string",
            "minLength": 71,
            "maxLength": 71,
            "pattern": "^sha256:[0-9a-f]{64}$",
        })
    }
}

/// What is wrong with a text that should have been a digest.
#[derive(Debug, thiserror::Error)]
#[error("`{0}` is no digest: write `sha256:` and 64 lower-case hexadecimal digits")]
pub struct DigestError(String);

impl Digest {
    /// The digest of these bytes.
    pub fn of(bytes: &[u8]) -> Self {
        Self::from_hash(ring::digest::digest(&ring::digest::SHA256, bytes).as_ref())
    }

    /// The digest whose 32 raw bytes are these.
    pub fn from_hash(hash: &[u8]) -> Self {
        Self(format!("sha256:{}", hex(hash)))
    }

    /// The whole text, prefix included.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The 64 hexadecimal digits alone, as used in paths.
    pub fn hex(&self) -> &str {
        self.0.strip_prefix("sha256:").unwrap_or(&self.0)
    }
}

impl fmt::Display for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for Digest {
    type Err = DigestError;

    fn from_str(text: &str) -> Result<Self, DigestError> {
        let good = text
            .strip_prefix("sha256:")
            .is_some_and(|h| h.len() == 64 && h.bytes().all(|b| b.is_ascii_digit() || (b'a'..=b'f').contains(&b)));
        if good { Ok(Self(text.to_owned())) } else { Err(DigestError(text.chars().take(80).collect())) }
    }
}

impl TryFrom<String> for Digest {
    type Error = DigestError;

    fn try_from(text: String) -> Result<Self, DigestError> {
        text.parse()
    }
}

impl From<Digest> for String {
    fn from(digest: Digest) -> Self {
        digest.0
    }
}

/// Lower-case hexadecimal digits of these bytes.
pub fn hex(bytes: &[u8]) -> String {
    use fmt::Write;
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut out, byte| {
        let _ = write!(out, "{byte:02x}");
        out
    })
}

/// Who an edge agent is: `<namespace>.<name>`. One topic level, certificate CN and MQTT client id at once.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(try_from = "String", into = "String")]
pub struct AgentId(String);

/// What is wrong with a text that should have been an agent's identity.
#[derive(Debug, thiserror::Error)]
pub enum AgentIdError {
    /// Longer than a certificate's common name and a topic level may be.
    #[error("`{0}` has {1} characters, at most {max}: shorten the EdgeAgent's name or its namespace", max = AgentId::MAX)]
    TooLong(String, usize),
    /// Not `<namespace>.<name>` of DNS labels.
    #[error("`{0}` is not `<namespace>.<name>` in lower-case letters, digits and hyphens: rename the EdgeAgent")]
    Malformed(String),
}

impl AgentId {
    /// The longest identity, in characters.
    pub const MAX: usize = 63;

    /// The identity of the EdgeAgent with this namespace and name.
    pub fn new(namespace: &str, name: &str) -> Result<Self, AgentIdError> {
        format!("{namespace}.{name}").parse()
    }

    /// The identity as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The namespace, which is the site.
    pub fn namespace(&self) -> &str {
        self.0.split_once('.').map_or("", |(ns, _)| ns)
    }

    /// The name of the EdgeAgent object.
    pub fn name(&self) -> &str {
        self.0.split_once('.').map_or("", |(_, name)| name)
    }
}

impl fmt::Display for AgentId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl FromStr for AgentId {
    type Err = AgentIdError;

    fn from_str(text: &str) -> Result<Self, AgentIdError> {
        if text.len() > Self::MAX {
            return Err(AgentIdError::TooLong(text.chars().take(200).collect(), text.len()));
        }
        let label = |s: &str| {
            !s.is_empty()
                && !s.starts_with('-')
                && !s.ends_with('-')
                && s.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        };
        match text.split_once('.') {
            Some((ns, name)) if label(ns) && name.split('.').all(label) => Ok(Self(text.to_owned())),
            _ => Err(AgentIdError::Malformed(text.to_owned())),
        }
    }
}

impl TryFrom<String> for AgentId {
    type Error = AgentIdError;

    fn try_from(text: String) -> Result<Self, AgentIdError> {
        text.parse()
    }
}

impl From<AgentId> for String {
    fn from(id: AgentId) -> Self {
        id.0
    }
}

/// A value of a property or setting: an integer or a text. No fractions: a unit that is small enough goes with the name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(untagged)]
pub enum Value {
    /// An integer in the property's unit.
    Integer(i64),
    /// A text or one of the property's listed values.
    Text(String),
}

impl JsonSchema for Value {
    fn schema_name() -> std::borrow::Cow<'static, str> {
        "Value".into()
    }

    fn json_schema(_: &mut schemars::SchemaGenerator) -> schemars::Schema {
        schemars::json_schema!({
            "description": "One setting's value: a whole number in the property's unit, or a text of at most 256 characters.",
            "x-kubernetes-int-or-string": true,
            "maxLength": 256,
        })
    }
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Integer(n) => write!(f, "{n}"),
            Self::Text(t) => f.write_str(t),
        }
    }
}

impl From<i64> for Value {
    fn from(n: i64) -> Self {
        Self::Integer(n)
    }
}

impl From<&str> for Value {
    fn from(t: &str) -> Self {
        Self::Text(t.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn agent_identity_is_namespace_dot_name_within_63_characters() {
        let id = AgentId::new("mong-cai", "bl2-lane-03").unwrap();
        assert_eq!((id.as_str(), id.namespace(), id.name()), ("mong-cai.bl2-lane-03", "mong-cai", "bl2-lane-03"));
        assert!(AgentId::new("mong-cai", &"a".repeat(54)).is_ok());
        assert!(matches!(AgentId::new("mong-cai", &"a".repeat(55)), Err(AgentIdError::TooLong(..))));
        for bad in ["mong-cai", "mong-cai.", ".x", "a.B", "a/b.c", "a.+", "a.đ", "a.-b"] {
            assert!(bad.parse::<AgentId>().is_err(), "{bad}");
        }
    }

    #[test]
    fn digest_accepts_only_lower_case_sha256() {
        let d = Digest::of(b"kalong");
        assert_eq!(d.as_str().parse::<Digest>().unwrap(), d);
        assert_eq!(d.hex().len(), 64);
        assert!(d.as_str().to_uppercase().parse::<Digest>().is_err());
        assert!("sha256:00".parse::<Digest>().is_err());
    }
}

//! Canonical JSON and digests over items and sets of items.

use std::fmt;
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::units::{Digest, hex};

/// What cannot be written as canonical JSON here.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CanonicalError {
    /// A number that is not an integer of at most 53 bits, which RFC 8785 would write differently elsewhere.
    #[error("`{0}` is not a whole number below 2^53: use whole numbers in a smaller unit")]
    Fraction(String),
    /// The value could not be turned into JSON at all.
    #[error("the value cannot be written as JSON: {0}")]
    Json(#[source] Arc<serde_json::Error>),
}

impl From<serde_json::Error> for CanonicalError {
    fn from(error: serde_json::Error) -> Self {
        Self::Json(Arc::new(error))
    }
}

/// The RFC 8785 form of a value that holds only strings, whole numbers, booleans, lists and objects.
pub fn canonical(value: &Value) -> Result<String, CanonicalError> {
    let mut out = String::new();
    write(value, &mut out)?;
    Ok(out)
}

fn write(value: &Value, out: &mut String) -> Result<(), CanonicalError> {
    match value {
        Value::Number(n) => match n.as_i64().filter(|n| n.unsigned_abs() < 1 << 53) {
            Some(whole) => out.push_str(&whole.to_string()),
            None => return Err(CanonicalError::Fraction(n.to_string())),
        },
        Value::Array(items) => {
            out.push('[');
            for (i, item) in items.iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                write(item, out)?;
            }
            out.push(']');
        }
        Value::Object(map) => {
            let mut keys: Vec<_> = map.iter().collect();
            // RFC 8785 sorts by UTF-16 code units, which differs from byte order beyond the basic plane.
            keys.sort_by(|(a, _), (b, _)| a.encode_utf16().cmp(b.encode_utf16()));
            out.push('{');
            for (i, (key, item)) in keys.into_iter().enumerate() {
                if i > 0 {
                    out.push(',');
                }
                out.push_str(&serde_json::to_string(key)?);
                out.push(':');
                write(item, out)?;
            }
            out.push('}');
        }
        Value::Null | Value::Bool(_) | Value::String(_) => out.push_str(&serde_json::to_string(value)?),
    }
    Ok(())
}

/// The digest over the canonical form of a value.
pub fn digest_of<T: Serialize>(value: &T) -> Result<Digest, CanonicalError> {
    Ok(Digest::of(canonical(&serde_json::to_value(value)?)?.as_bytes()))
}

/// The digest over a whole set of items: 64 bits, 16 hexadecimal digits. It finds differences; it proves nothing against an attacker.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Rev(#[schemars(length(min = 16, max = 16))] String);

impl Rev {
    /// The digest over this set; the order of the items does not matter.
    pub fn over<'a>(items: impl IntoIterator<Item = (&'a str, i64, &'a Digest)>) -> Self {
        let mut sorted: Vec<_> = items.into_iter().collect();
        sorted.sort_unstable_by(|a, b| a.0.cmp(b.0));
        let mut context = ring::digest::Context::new(&ring::digest::SHA256);
        for (uid, generation, hash) in sorted {
            context.update(format!("{uid} {generation} {hash}\n").as_bytes());
        }
        let digest = hex(context.finish().as_ref());
        Self(digest.chars().take(16).collect())
    }

    /// The digest over nothing.
    pub fn empty() -> Self {
        Self::over(std::iter::empty())
    }

    /// Reads the 16 digits of a beat.
    pub fn parse(text: &str) -> Option<Self> {
        (text.len() == 16 && text.bytes().all(|b| b.is_ascii_hexdigit())).then(|| Self(text.to_owned()))
    }

    /// The 16 digits.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for Rev {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn canonical_form_sorts_keys_and_refuses_fractions() {
        let value: Value =
            serde_json::from_str(r#"{ "b": [1, "x\n"], "a": {"d": true, "c": null}, "é": -7 }"#).unwrap();
        assert_eq!(canonical(&value).unwrap(), r#"{"a":{"c":null,"d":true},"b":[1,"x\n"],"é":-7}"#);
        assert!(canonical(&serde_json::json!({"a": 1.5})).is_err());
        assert!(canonical(&serde_json::json!(9_007_199_254_740_992_i64)).is_err());
    }

    #[test]
    fn set_digest_ignores_order_and_sees_every_part() {
        let (a, b) = (Digest::of(b"a"), Digest::of(b"b"));
        let one = Rev::over([("u1", 1, &a), ("u2", 1, &b)]);
        assert_eq!(one, Rev::over([("u2", 1, &b), ("u1", 1, &a)]));
        assert_ne!(one, Rev::over([("u1", 2, &a), ("u2", 1, &b)]));
        assert_ne!(one, Rev::over([("u1", 1, &b), ("u2", 1, &b)]));
        assert_ne!(one, Rev::over([("u1", 1, &a)]));
    }
}

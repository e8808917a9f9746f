//! Properties of an instrument: what can be read or set, and whether a value fits.

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::units::Value;

/// The longest text that a property takes, in characters.
pub const MAX_TEXT: usize = 256;

/// A value that can be read from or set on an instrument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!has(self.min) || !has(self.max) || self.min <= self.max").message("`min` must not be greater than `max`").field_path(".min"),
    validation = Rule::new("(self.type == 'Enumeration') == (has(self.values) && self.values.size() > 0)").message("`values` must list the words when `type` is Enumeration and must be absent otherwise").field_path(".values"),
    validation = Rule::new("self.type == 'Integer' || !(has(self.min) || has(self.max) || has(self.unit))").message("`min`, `max` and `unit` may be given only when `type` is Integer").field_path(".type")
)]
pub struct Property {
    /// Name of the property in lower camel case, unique within the model.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z][A-Za-z0-9]*$"))]
    pub name: String,
    /// What kind of values the property takes.
    #[serde(rename = "type")]
    pub kind: PropertyType,
    /// Whether the property can be set or only read.
    #[serde(default)]
    pub access: Access,
    /// Unit of an integer in UCUM notation, for example ms or kg.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(length(min = 1, max = 16))]
    pub unit: Option<String>,
    /// Lowest allowed whole number, in the property's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -2_147_483_648, max = 2_147_483_647))]
    pub min: Option<i64>,
    /// Highest allowed whole number, in the property's unit.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schemars(range(min = -2_147_483_648, max = 2_147_483_647))]
    pub max: Option<i64>,
    /// Words that an enumeration takes; in Modbus the first one is 0.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 16), inner(length(min = 1, max = 63)))]
    pub values: Vec<String>,
    /// Age after which a value is stale, in seconds.
    #[serde(default = "Property::default_stale")]
    #[schemars(range(min = 1, max = 86_400))]
    pub stale_after_seconds: i64,
}

impl Property {
    fn default_stale() -> i64 {
        30
    }
}

/// Kinds of values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum PropertyType {
    /// An integer in the property's unit.
    Integer,
    /// A text of at most 256 characters.
    Text,
    /// One of the listed words.
    Enumeration,
}

/// Whether a property can be set.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Access {
    /// It can be read and not set.
    #[default]
    ReadOnly,
    /// It can be read and set as configuration.
    ReadWrite,
}

/// Why a value does not fit its property.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Misfit {
    /// A text where an integer belongs, or an integer where a text or word belongs.
    WrongType,
    /// Lower than this minimum.
    Below(i64),
    /// Higher than this maximum.
    Above(i64),
    /// A text of more than [`MAX_TEXT`] characters.
    TooLong,
    /// None of the property's `values`.
    UnknownWord,
}

impl Property {
    /// Whether and why the value does not fit. Access is not judged: a value that was read fits a property that cannot be set.
    pub fn misfit(&self, value: &Value) -> Option<Misfit> {
        match (self.kind, value) {
            (PropertyType::Integer, Value::Integer(n)) => {
                let below = self.min.filter(|min| n < min).map(Misfit::Below);
                below.or_else(|| self.max.filter(|max| n > max).map(Misfit::Above))
            }
            (PropertyType::Text, Value::Text(text)) => (text.chars().count() > MAX_TEXT).then_some(Misfit::TooLong),
            (PropertyType::Enumeration, Value::Text(word)) => {
                (!self.values.contains(word)).then_some(Misfit::UnknownWord)
            }
            (PropertyType::Integer, Value::Text(_))
            | (PropertyType::Text | PropertyType::Enumeration, Value::Integer(_)) => Some(Misfit::WrongType),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(kind: PropertyType) -> Property {
        Property {
            name: "x".into(),
            kind,
            access: Access::ReadWrite,
            unit: Some("ms".into()),
            min: Some(-5),
            max: Some(5),
            values: vec!["On".into(), "Off".into()],
            stale_after_seconds: 30,
        }
    }

    #[test]
    fn a_value_is_judged_by_kind_bounds_and_words() {
        let integer = property(PropertyType::Integer);
        for good in [-5, 0, 5] {
            assert_eq!(integer.misfit(&Value::Integer(good)), None);
        }
        assert_eq!(integer.misfit(&Value::Integer(-6)), Some(Misfit::Below(-5)));
        assert_eq!(integer.misfit(&Value::Integer(6)), Some(Misfit::Above(5)));
        assert_eq!(integer.misfit(&"5".into()), Some(Misfit::WrongType));
        let words = property(PropertyType::Enumeration);
        assert_eq!(words.misfit(&"On".into()), None);
        assert_eq!(words.misfit(&"on".into()), Some(Misfit::UnknownWord));
        assert_eq!(words.misfit(&Value::Integer(0)), Some(Misfit::WrongType));
        let text = property(PropertyType::Text);
        assert_eq!(text.misfit(&Value::Text("đ".repeat(256))), None);
        assert_eq!(text.misfit(&Value::Text("đ".repeat(257))), Some(Misfit::TooLong));
    }
}

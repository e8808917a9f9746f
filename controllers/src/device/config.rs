//! Whether a configuration fits its model.

use std::collections::BTreeMap;

use kalong_crds::property::{Access, MAX_TEXT, Misfit, Property, PropertyType};
use kalong_crds::units::Value;
use kalong_crds::well_known;

/// The first setting that does not fit, and what to write instead.
pub fn objection(config: &BTreeMap<String, Value>, properties: &[Property]) -> Option<String> {
    config.iter().find_map(|(name, value)| setting(name, value, properties))
}

fn setting(name: &str, value: &Value, properties: &[Property]) -> Option<String> {
    if name == well_known::ADMISSION {
        return Some(
            "`config.admission` may not be set on a device: the lane's `spec.admission` decides it.".to_owned(),
        );
    }
    let Some(property) = properties.iter().find(|p| p.name == name) else {
        let known: Vec<_> =
            properties.iter().filter(|p| p.access == Access::ReadWrite).map(|p| p.name.as_str()).collect();
        return Some(format!("`config.{name}` is no property of the model: use one of {}.", known.join(", ")));
    };
    if property.access == Access::ReadOnly {
        return Some(format!("`config.{name}` can only be read: remove it."));
    }
    let expected = match (property.misfit(value)?, property.kind) {
        (Misfit::Below(min), _) => format!("at least {min}"),
        (Misfit::Above(max), _) => format!("at most {max}"),
        (_, PropertyType::Integer) => "a whole number: write it without quotes".to_owned(),
        (_, PropertyType::Enumeration) => format!("one of {}", property.values.join(", ")),
        (_, PropertyType::Text) => format!("a text of at most {MAX_TEXT} characters"),
    };
    Some(format!("`config.{name}` must be {expected}."))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn property(name: &str, kind: PropertyType, access: Access) -> Property {
        Property {
            name: name.into(),
            kind,
            access,
            unit: None,
            min: Some(1),
            max: Some(9),
            values: vec!["Red".into(), "Green".into()],
            stale_after_seconds: 30,
        }
    }

    fn judged(name: &str, value: Value) -> Option<String> {
        let properties = [
            property("openTime", PropertyType::Integer, Access::ReadWrite),
            property("colour", PropertyType::Enumeration, Access::ReadWrite),
            property("serial", PropertyType::Text, Access::ReadOnly),
        ];
        objection(&BTreeMap::from([(name.to_owned(), value)]), &properties)
    }

    #[test]
    fn settings_fit_their_property_or_say_what_would() {
        assert_eq!(judged("openTime", 1.into()), None);
        assert_eq!(judged("openTime", 9.into()), None);
        assert!(judged("openTime", 0.into()).unwrap().contains("at least 1"));
        assert!(judged("openTime", 10.into()).unwrap().contains("at most 9"));
        assert!(judged("openTime", "5".into()).unwrap().contains("whole number"));
        assert_eq!(judged("colour", "Red".into()), None);
        assert!(judged("colour", "Blue".into()).unwrap().contains("Red, Green"));
        assert!(judged("serial", "x".into()).unwrap().contains("only be read"));
        assert!(judged("speed", 3.into()).unwrap().contains("openTime, colour"));
        assert!(judged("admission", "Open".into()).unwrap().contains("lane"));
    }
}

//! What a model allows of a value, as every driver needs it: which words an enumeration has, and what to say of a value that does not fit.

use std::collections::{BTreeMap, BTreeSet};

use kalong_crds::property::{Access, MAX_TEXT, Misfit, Property, PropertyType};
use kalong_crds::units::Value;
use kalong_crds::well_known;
use kalong_crds::wire::order::DeviceOrder;

use super::{MAX_OBJECTIONS, Reading};

/// Words of [`well_known::ADMISSION`] in the order of their Modbus numbers.
const ADMISSIONS: [&str; 2] = ["Closed", "Open"];
/// Words of [`well_known::SELF_TEST`] in the order of their Modbus numbers.
pub(crate) const SELF_TESTS: [&str; 3] = ["Passed", "Failed", "Running"];
/// Names that belong in a reading whether the model lists them or not.
pub(crate) const WELL_KNOWN: [&str; 11] = [
    well_known::ADMISSION,
    well_known::ADMISSION_STATE,
    well_known::OCCUPANCY,
    well_known::SELF_TEST,
    well_known::CALIBRATED_UNTIL,
    well_known::PASSAGES,
    well_known::PASSAGES_BY_CLASS[0].0,
    well_known::PASSAGES_BY_CLASS[1].0,
    well_known::PASSAGES_BY_CLASS[2].0,
    well_known::GATE_TENTHS,
    well_known::CLEARANCE_SECONDS,
];

/// The model's property of this name.
pub(crate) fn property<'a>(order: &'a DeviceOrder, name: &str) -> Option<&'a Property> {
    order.properties.iter().find(|property| property.name == name)
}

/// The words that this property takes in the order of their numbers, where it is an enumeration.
pub(crate) fn words(order: &DeviceOrder, name: &str) -> Option<Vec<String>> {
    let owned = |words: &[&str]| Some(words.iter().map(|word| (*word).to_owned()).collect());
    match property(order, name) {
        Some(property) if property.kind == PropertyType::Enumeration => Some(property.values.clone()),
        Some(_) => None,
        None => match name {
            well_known::ADMISSION => owned(&ADMISSIONS),
            well_known::ADMISSION_STATE => owned(&well_known::ADMISSION_STATES),
            well_known::SELF_TEST => owned(&SELF_TESTS),
            _ => None,
        },
    }
}

/// Whether this may be set at all: configuration of the model, or the lane's own order.
pub(crate) fn may_be_set(order: &DeviceOrder, name: &str) -> bool {
    name == well_known::ADMISSION || property(order, name).is_some_and(|p| p.access == Access::ReadWrite)
}

/// Whether the agent wants to see this in every reading.
pub(crate) fn is_read(order: &DeviceOrder, name: &str) -> bool {
    WELL_KNOWN.contains(&name)
        || property(order, name).is_some()
        || order.regulatory.interlocks.iter().any(|interlock| interlock.name.as_str() == name)
}

/// Why the model does not allow this value, in words for a duty officer.
pub(crate) fn objection(property: &Property, value: &Value) -> Option<String> {
    let name = &property.name;
    let unit = property.unit.as_deref().unwrap_or_default();
    Some(match property.misfit(value)? {
        Misfit::Below(min) => format!("`{name}` is {value}, at least {min} {unit} is allowed"),
        Misfit::Above(max) => format!("`{name}` is {value}, at most {max} {unit} is allowed"),
        Misfit::TooLong => format!("`{name}` has more than {MAX_TEXT} characters: shorten it"),
        Misfit::UnknownWord => format!("`{name}` is `{value}`, one of {} is allowed", property.values.join(", ")),
        Misfit::WrongType => format!("`{name}` must be of type {:?}", property.kind),
    })
}

/// A reading of these values and codes, less what the model does not know or allow. A property that the model does not have is
/// left out without an objection.
pub(crate) fn reading(
    properties: &[Property],
    shown: impl Fn(&str) -> bool,
    values: BTreeMap<String, Value>,
    known_codes: impl Fn(&str) -> bool,
    codes: BTreeSet<String>,
) -> Reading {
    let mut reading = Reading::default();
    let mut object = |why: String| {
        if reading.objections.len() < MAX_OBJECTIONS {
            reading.objections.push(why);
        }
    };
    for (name, value) in values {
        match properties.iter().find(|property| property.name == name).map(|property| objection(property, &value)) {
            Some(Some(why)) => object(why),
            Some(None) => drop(reading.properties.insert(name, value)),
            None if shown(&name) => drop(reading.properties.insert(name, value)),
            None => {}
        }
    }
    for code in codes {
        if known_codes(&code) {
            reading.health.insert(code);
        } else {
            let code: String = code.chars().filter(|c| c.is_ascii_alphanumeric()).take(63).collect();
            object(format!("health code `{code}` is not in the model's `healthCodes`"));
        }
    }
    reading
}

//! Compares the declared settings with what a device shows. Pure.

use std::collections::BTreeMap;

use kalong_crds::device::{Admin, Health, HealthState};
use kalong_crds::device_model::Severity;
use kalong_crds::property::{Access, MAX_TEXT, Misfit, Property, PropertyType};
use kalong_crds::units::Value;
use kalong_crds::well_known;
use kalong_crds::wire::order::DeviceOrder;

use crate::driver::Reading;

/// What a visit does with the settings of a device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SettingsStep {
    /// Nothing may be set: the device is only watched now.
    Watch,
    /// These settings differ and no others.
    Configure(BTreeMap<String, Value>),
    /// Every setting is as declared.
    InForce,
}

/// Whether the declared settings are ones that the model knows, can be set, and lie within their bounds.
pub fn check(order: &DeviceOrder) -> Result<(), String> {
    order.config.iter().try_for_each(|(name, value)| {
        if name == well_known::ADMISSION {
            return Err("`config.admission` is set by the lane: declare `admission` on the Lane".to_owned());
        }
        let Some(property) = order.properties.iter().find(|p| p.name == *name) else {
            let known: Vec<_> =
                order.properties.iter().filter(|p| p.access == Access::ReadWrite).map(|p| p.name.as_str()).collect();
            return Err(format!(
                "`config.{name}` is not a property of model {}: it has {}",
                order.model,
                known.join(", ")
            ));
        };
        objection(property, value).map_or(Ok(()), Err)
    })
}

/// Why the property cannot be set to this value, and what to write instead.
fn objection(property: &Property, value: &Value) -> Option<String> {
    let name = &property.name;
    if property.access == Access::ReadOnly {
        return Some(format!("`config.{name}` can only be read: take it out"));
    }
    Some(match (property.misfit(value)?, property.kind) {
        (Misfit::Below(_) | Misfit::Above(_), _) => {
            format!("`config.{name}` is {value}: it must be {}", range(property))
        }
        (_, PropertyType::Integer) => format!("`config.{name}` must be a whole number"),
        (_, PropertyType::Text) => format!("`config.{name}` must be a text of at most {MAX_TEXT} characters"),
        (_, PropertyType::Enumeration) => {
            format!("`config.{name}` is `{value}`: it must be one of {}", property.values.join(", "))
        }
    })
}

fn range(property: &Property) -> String {
    let bound = |bound: Option<i64>| bound.map_or("any".to_owned(), |bound| bound.to_string());
    let unit = property.unit.as_deref().unwrap_or_default();
    format!("within {} and {} {unit}", bound(property.min), bound(property.max)).trim_end().to_owned()
}

/// What to do with the settings. While an image is `being_written` they are left alone.
pub fn next(order: &DeviceOrder, reading: &Reading, being_written: bool) -> SettingsStep {
    let differing = reading.differing(&order.config);
    if differing.is_empty() {
        SettingsStep::InForce
    } else if being_written || order.admin != Admin::Enabled {
        SettingsStep::Watch
    } else {
        SettingsStep::Configure(differing)
    }
}

/// The health that a reading shows: codes of the model alone, sorted, and the worst of them.
pub fn health(order: &DeviceOrder, reading: &Reading) -> Health {
    let active: Vec<_> = order.health_codes.iter().filter(|c| reading.health.contains(&c.name)).collect();
    let state = active.iter().map(|c| match c.severity {
        Severity::Degraded => HealthState::Degraded,
        Severity::Faulty => HealthState::Faulty,
    });
    let mut codes: Vec<_> = active.iter().map(|c| c.name.clone()).collect();
    codes.sort_unstable();
    let state = state.max().unwrap_or_default();
    codes.truncate(8);
    Health { state, codes }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::order;

    fn reading(values: &[(&str, Value)]) -> Reading {
        Reading { properties: values.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect(), ..Reading::default() }
    }

    #[test]
    fn only_differing_settings_are_set() {
        let mut order = order();
        order.config = [("openMillis".to_owned(), Value::Integer(1500)), ("mode".to_owned(), "Auto".into())].into();
        let shown = reading(&[("openMillis", 900.into()), ("mode", "Auto".into())]);
        assert_eq!(
            next(&order, &shown, false),
            SettingsStep::Configure([("openMillis".to_owned(), 1500.into())].into())
        );
        assert_eq!(next(&order, &shown, true), SettingsStep::Watch);
        let good = reading(&[("openMillis", 1500.into()), ("mode", "Auto".into())]);
        assert_eq!(next(&order, &good, false), SettingsStep::InForce);
        order.admin = Admin::Quarantined;
        assert_eq!(next(&order, &shown, false), SettingsStep::Watch);
    }

    #[test]
    fn settings_outside_the_model_are_refused_with_what_to_write_instead() {
        let refused = |name: &str, value: Value| {
            let mut order = order();
            order.config = [(name.to_owned(), value)].into();
            check(&order).unwrap_err()
        };
        assert!(refused("openMillis", 99_999.into()).contains("within 100 and 5000"));
        assert!(refused("openMillis", "soon".into()).contains("whole number"));
        assert!(refused("mode", "Fast".into()).contains("Auto, Manual"));
        assert!(refused("serialNumber", "x".into()).contains("only be read"));
        assert!(refused("colour", "x".into()).contains("openMillis"));
        assert!(refused("admission", "Open".into()).contains("Lane"));
    }

    #[test]
    fn health_is_the_worst_known_code() {
        let mut shown = reading(&[]);
        shown.health = ["LensDirty".to_owned(), "Unheard".to_owned()].into();
        assert_eq!(health(&order(), &shown), Health { state: HealthState::Degraded, codes: vec!["LensDirty".into()] });
        shown.health.insert("MotorFault".to_owned());
        assert_eq!(health(&order(), &shown).state, HealthState::Faulty);
        assert_eq!(health(&order(), &reading(&[])).state, HealthState::OK);
    }
}

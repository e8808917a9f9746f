//! Whether a DeviceModel contradicts itself. Pure.

use std::collections::BTreeSet;

use kalong_crds::device_model::DeviceModelSpec;
use kalong_crds::protocol::Addressing;
use kalong_crds::well_known;

use super::observe::Observed;

/// Names that may have a register without being listed as a property.
const IMPLIED: [&str; 4] =
    [well_known::HEALTH_BITS, well_known::IMAGE_DIGEST, well_known::FIRMWARE_VERSION, well_known::BOOT_COUNT];

pub(super) struct Decision {
    /// The first contradiction within the model, and how to end it, as a sentence.
    pub(super) contradiction: Option<String>,
}

pub(super) fn decide(observed: &Observed) -> Decision {
    Decision { contradiction: contradiction(&observed.model.spec) }
}

fn contradiction(spec: &DeviceModelSpec) -> Option<String> {
    if spec.protocol.name.abilities().addressing != Addressing::Registers {
        return None;
    }
    let mut bits = BTreeSet::new();
    if let Some(code) = spec.health_codes.iter().find(|code| !bits.insert(code.bit)) {
        return Some(format!(
            "`healthCodes` {} shares bit {} with another code: give each its own bit.",
            code.name, code.bit
        ));
    }
    let registers: BTreeSet<&str> = spec.protocol.registers.iter().map(|r| r.name.as_str()).collect();
    let properties: BTreeSet<&str> = spec.properties.iter().map(|p| p.name.as_str()).collect();
    if let Some(bare) = properties.iter().find(|p| !registers.contains(**p)) {
        return Some(format!("Property {bare} has no entry in `protocol.registers`: say where it stands."));
    }
    let stray = registers.iter().find(|r| !properties.contains(**r) && !IMPLIED.contains(*r));
    if let Some(stray) = stray {
        return Some(format!("Register {stray} belongs to no property: list it under `properties`, or remove it."));
    }
    if !spec.health_codes.is_empty() && !registers.contains(well_known::HEALTH_BITS) {
        return Some(
            "`healthCodes` are declared and `protocol.registers` has no `healthBits`: say where they stand.".to_owned(),
        );
    }
    None
}

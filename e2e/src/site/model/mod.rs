//! The types of instrument of the simulated site, as data: [`catalogue`] lists them, [`Model::spec`] is the DeviceModel.
//!
//! The instruments are invented; their classes, protocols and sizes follow `docs/site-assumptions.md`.

mod catalogue;
mod registers;

use kalong_crds::device_model::{
    Access, Calibration, DeviceClass, DeviceModelSpec, HealthCode, Interlock, LaneDrainNeed, Probe, Property,
    PropertyType, Protocol, ProtocolName, Recertification, Regulatory, Rollback, Seal, Severity, Update, UpdateSlots,
};
use kalong_crds::units::Value;
use kalong_crds::well_known;

pub use catalogue::{CATALOGUE, find};

/// Soak of every simulated model, in seconds: real ones have ten minutes, the demo prints that its models do not.
pub const DEMO_SOAK_SECONDS: i64 = 5;
/// Words of `selfTest` in the order of their Modbus numbers.
pub const SELF_TEST_WORDS: [&str; 3] = ["Passed", "Failed", "Running"];
/// Words of `admission` in the order of their Modbus numbers.
pub const ADMISSION_WORDS: [&str; 2] = ["Closed", "Open"];

/// A type of instrument.
#[derive(Debug)]
pub struct Model {
    /// Name of the DeviceModel.
    pub name: &'static str,
    /// Class in the words of the field.
    pub class: DeviceClass,
    /// The one hardware revision that is simulated.
    pub hardware: &'static str,
    /// The protocol that it speaks.
    pub protocol: ProtocolName,
    /// How often the agent reads it, in milliseconds.
    pub poll_millis: i64,
    /// Version that it leaves the factory with; empty where the protocol cannot tell one.
    pub version: &'static str,
    /// How many images it holds, and who writes them.
    pub slots: UpdateSlots,
    /// Whether its lane must be empty while it is changed.
    pub lane_drain: LaneDrainNeed,
    /// How long it is away while it starts, in seconds.
    pub downtime_seconds: i64,
    /// Length of its factory image, in bytes.
    pub image_size: usize,
    /// What can be set on it.
    pub settings: &'static [Setting],
    /// What can be read from it beside the well-known properties of its protocol.
    pub readings: &'static [Reading],
    /// What it can complain of, in the order of the bits.
    pub codes: &'static [(&'static str, Severity)],
    /// Whether it says that its own test passed.
    pub self_test: SelfTestOffer,
    /// Whether it must carry a valid calibration.
    pub calibration: Calibration,
    /// What a change of its software asks for.
    pub recertification: Recertification,
    /// Property that shows the state of its interlock, and the value at which it is safe.
    pub interlock: Option<(&'static str, &'static str)>,
    /// Property that shows the state of its seal, and the value while the seal is whole.
    pub seal: Option<(&'static str, &'static str)>,
    /// Whether it asks for a user name and a password.
    pub login: Login,
}

/// Whether an instrument has a test of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SelfTestOffer {
    /// It has none.
    None,
    /// It has one.
    Offered,
}

/// Whether an instrument asks who is speaking.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Login {
    /// Anybody may speak to it.
    Open,
    /// It wants a user name and a password.
    Password,
}

/// Something that can be set.
#[derive(Debug)]
pub struct Setting {
    /// Name of the property.
    pub name: &'static str,
    /// What it takes.
    pub shape: Shape,
    /// What it is when the instrument is new.
    pub factory: Fixed,
    /// What the site declares; differs from the factory's, so that something has to be set.
    pub declared: Fixed,
}

/// Something that can only be read.
#[derive(Debug)]
pub struct Reading {
    /// Name of the property.
    pub name: &'static str,
    /// What it shows.
    pub shape: Shape,
    /// What the simulated instrument shows, always.
    pub shown: Fixed,
}

/// What a property takes.
#[derive(Clone, Copy, Debug)]
pub enum Shape {
    /// A whole number: unit, lowest, highest.
    Number(&'static str, i64, i64),
    /// One of these words.
    Words(&'static [&'static str]),
    /// A text of at most 256 characters.
    Text,
}

/// A value that stands in the program.
#[derive(Clone, Copy, Debug)]
pub enum Fixed {
    /// A whole number.
    Number(i64),
    /// A word.
    Word(&'static str),
}

impl From<Fixed> for Value {
    fn from(fixed: Fixed) -> Self {
        match fixed {
            Fixed::Number(n) => Value::Integer(n),
            Fixed::Word(w) => Value::from(w),
        }
    }
}

impl Model {
    /// Whether the instrument can tell which version it runs.
    pub fn tells_version(&self) -> bool {
        self.protocol != ProtocolName::ToledoContinuous
    }

    /// Whether the agent can bring new firmware to it.
    pub fn is_updatable(&self) -> bool {
        self.slots != UpdateSlots::External
    }

    /// Whether it shows a picture: the classes that the demo's firmware change is about.
    pub fn is_camera(&self) -> bool {
        matches!(self.class, DeviceClass::AnprCamera | DeviceClass::OcrPortal | DeviceClass::Camera)
    }

    /// The DeviceModel's spec.
    pub fn spec(&self) -> DeviceModelSpec {
        let properties = self.properties();
        let registers = match self.protocol {
            ProtocolName::ModbusTcp => registers::lay_out(&properties),
            ProtocolName::ToledoContinuous | ProtocolName::OnvifHttp | ProtocolName::GenericHttp => Vec::new(),
        };
        DeviceModelSpec {
            class: self.class,
            hardware_revisions: if self.tells_version() { vec![self.hardware.to_owned()] } else { Vec::new() },
            protocol: Protocol { name: self.protocol, poll_interval_millis: self.poll_millis, registers },
            properties,
            health_codes: self.health_codes(),
            update: self.update(),
            regulatory: Regulatory {
                recertification: self.recertification,
                calibration: self.calibration,
                interlocks: self
                    .interlock
                    .iter()
                    .map(|(name, safe)| Interlock { name: (*name).into(), safe: (*safe).to_owned() })
                    .collect(),
                seals: self
                    .seal
                    .iter()
                    .map(|(name, intact)| Seal { name: (*name).into(), intact: (*intact).to_owned() })
                    .collect(),
            },
        }
    }

    fn health_codes(&self) -> Vec<HealthCode> {
        let bits = 0_i64..;
        let code = |((name, severity), bit): (&(&str, Severity), i64)| HealthCode {
            name: (*name).to_owned(),
            severity: *severity,
            bit,
        };
        self.codes.iter().zip(bits).map(code).collect()
    }

    fn update(&self) -> Update {
        let mut probes = Vec::new();
        if self.is_updatable() {
            probes.push(Probe::Identity);
            if self.self_test == SelfTestOffer::Offered {
                probes.push(Probe::SelfTest);
            }
            if !self.settings.is_empty() {
                probes.push(Probe::Configuration);
            }
            probes.push(Probe::Health);
        }
        Update {
            slots: self.slots,
            lane_drain: self.lane_drain,
            downtime_seconds: self.downtime_seconds,
            rollback: if self.is_updatable() { Rollback::Supported } else { Rollback::None },
            soak_seconds: DEMO_SOAK_SECONDS,
            probes,
        }
    }

    fn properties(&self) -> Vec<Property> {
        let mut list = self.identity_properties();
        if self.class.runs_lanes() {
            list.push(words(well_known::ADMISSION, &ADMISSION_WORDS, Access::ReadWrite));
            list.push(words(well_known::ADMISSION_STATE, &well_known::ADMISSION_STATES, Access::ReadOnly));
            list.push(number(well_known::OCCUPANCY, "{count}", 0, 100));
            // In one row with what the lane does: one request reads what belongs together.
            list.extend(self.counters());
        }
        list.extend(self.readings.iter().map(|r| shaped(r.name, r.shape, Access::ReadOnly)));
        list.extend(self.settings.iter().map(|s| shaped(s.name, s.shape, Access::ReadWrite)));
        list
    }

    /// What an instrument that runs a lane counts. People have no class of cargo.
    fn counters(&self) -> Vec<Property> {
        let counter = |name: &str, unit: &str| number(name, unit, 0, i64::from(i32::MAX));
        let mut list = vec![counter(well_known::PASSAGES, "{count}")];
        if self.class == DeviceClass::LanePlc {
            list.extend(well_known::PASSAGES_BY_CLASS.map(|(name, _)| counter(name, "{count}")));
        }
        list.push(counter(well_known::GATE_TENTHS, "ds"));
        list.push(counter(well_known::CLEARANCE_SECONDS, "s"));
        list
    }

    /// What instruments of the protocol show of themselves as properties, where the protocol has no other place for it.
    fn identity_properties(&self) -> Vec<Property> {
        if self.protocol != ProtocolName::ModbusTcp {
            return Vec::new();
        }
        let mut list = vec![
            text(well_known::SERIAL_NUMBER),
            text(well_known::FIRMWARE_VERSION),
            text(well_known::IMAGE_DIGEST),
            number(well_known::HEALTH_BITS, "1", 0, i64::from(i32::MAX)),
            number(well_known::BOOT_COUNT, "{count}", 0, i64::from(i32::MAX)),
        ];
        if self.self_test == SelfTestOffer::Offered {
            list.push(words(well_known::SELF_TEST, &SELF_TEST_WORDS, Access::ReadOnly));
        }
        if self.calibration == Calibration::Required {
            list.push(text(well_known::CALIBRATED_UNTIL));
        }
        list
    }
}

fn shaped(name: &str, shape: Shape, access: Access) -> Property {
    match shape {
        Shape::Text => Property { access, ..text(name) },
        Shape::Number(unit, min, max) => Property { access, ..number(name, unit, min, max) },
        Shape::Words(list) => words(name, list, access),
    }
}

fn text(name: &str) -> Property {
    Property {
        name: name.to_owned(),
        kind: PropertyType::Text,
        access: Access::ReadOnly,
        unit: None,
        min: None,
        max: None,
        values: Vec::new(),
        stale_after_seconds: STALE_AFTER_SECONDS,
    }
}

fn number(name: &str, unit: &str, min: i64, max: i64) -> Property {
    Property { kind: PropertyType::Integer, unit: Some(unit.to_owned()), min: Some(min), max: Some(max), ..text(name) }
}

fn words(name: &str, values: &[&str], access: Access) -> Property {
    let values = values.iter().map(|v| (*v).to_owned()).collect();
    Property { kind: PropertyType::Enumeration, access, values, ..text(name) }
}

/// The API's own default.
const STALE_AFTER_SECONDS: i64 = 30;

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn names_are_unique_and_every_setting_has_something_to_change() {
        let names: BTreeSet<_> = CATALOGUE.iter().map(|m| m.name).collect();
        assert_eq!(names.len(), CATALOGUE.len());
        for setting in CATALOGUE.iter().flat_map(|m| m.settings) {
            let (factory, declared) = (Value::from(setting.factory), Value::from(setting.declared));
            assert_ne!(factory, declared, "{}", setting.name);
            for value in [factory, declared] {
                match (setting.shape, value) {
                    (Shape::Number(_, min, max), Value::Integer(n)) => assert!((min..=max).contains(&n)),
                    (Shape::Text, Value::Text(text)) => assert!(text.len() <= 256),
                    (Shape::Words(list), Value::Text(word)) => assert!(list.contains(&word.as_str()), "{word}"),
                    (shape, value) => panic!("{}: {shape:?} and {value:?}", setting.name),
                }
            }
        }
    }

    #[test]
    fn registers_stand_for_every_property_and_do_not_overlap() {
        for model in CATALOGUE.iter().filter(|m| m.protocol == ProtocolName::ModbusTcp) {
            let spec = model.spec();
            assert_eq!(spec.protocol.registers.len(), spec.properties.len(), "{}", model.name);
            let mut taken = BTreeSet::new();
            for register in &spec.protocol.registers {
                for word in 0..register.words {
                    assert!(
                        taken.insert((register.table, register.address + word)),
                        "{}: {}",
                        model.name,
                        register.name
                    );
                }
            }
        }
    }

    #[test]
    fn only_protocols_that_carry_images_are_updatable() {
        for model in CATALOGUE {
            let carries = matches!(model.protocol, ProtocolName::OnvifHttp | ProtocolName::GenericHttp);
            assert_eq!(model.is_updatable(), carries, "{}", model.name);
        }
    }
}

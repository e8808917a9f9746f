//! A type of simulated instrument: its DeviceModel from Git, and what leaves the factory as one.

use std::collections::BTreeMap;

use kalong_crds::device_model::{DeviceClass, DeviceModelSpec, Interlock, Probe, Seal, Severity, UpdateSlots};
use kalong_crds::firmware_release::FirmwareRelease;
use kalong_crds::property::{Access, Property};
use kalong_crds::protocol::{FirmwareTransport, ProtocolName};
use kalong_crds::units::{Digest, Value};
use kalong_crds::well_known;

use super::image;

/// Words of `admission` in the order of their Modbus numbers.
pub const ADMISSION_WORDS: [&str; 2] = ["Closed", "Open"];
/// What the simulator itself works out, whatever the model.
const COMPUTED: [&str; 12] = [
    well_known::SERIAL_NUMBER,
    well_known::FIRMWARE_VERSION,
    well_known::IMAGE_DIGEST,
    well_known::HEALTH_BITS,
    well_known::BOOT_COUNT,
    well_known::CALIBRATED_UNTIL,
    well_known::ADMISSION_STATE,
    well_known::OCCUPANCY,
    well_known::SELF_TEST,
    well_known::PASSAGES,
    well_known::GATE_TENTHS,
    well_known::CLEARANCE_SECONDS,
];

#[derive(Clone, Debug)]
pub struct Model {
    pub name: String,
    pub spec: DeviceModelSpec,
    /// Its settings when it is new.
    pub factory: BTreeMap<String, Value>,
    /// What its readings show, always.
    pub shows: BTreeMap<String, Value>,
    /// What it runs when it is new; absent where its protocol tells no version.
    pub firmware: Option<FactoryFirmware>,
}

/// The image that a new instrument runs, as its FirmwareRelease describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct FactoryFirmware {
    pub version: String,
    pub digest: Digest,
    /// Length of the image in bytes.
    pub size: usize,
}

impl From<&FirmwareRelease> for FactoryFirmware {
    fn from(release: &FirmwareRelease) -> Self {
        let (version, artifact) = (release.spec.version.clone(), &release.spec.artifact);
        // Images of the simulation have a few hundred kilobytes.
        Self { version, digest: artifact.digest.clone(), size: usize::try_from(artifact.size).unwrap_or_default() }
    }
}

impl Model {
    /// Class in the words of the field.
    pub fn class(&self) -> DeviceClass {
        self.spec.class
    }

    /// The protocol that it speaks.
    pub fn protocol(&self) -> ProtocolName {
        self.spec.protocol.name
    }

    /// The one hardware revision that is simulated; empty where its protocol tells none.
    pub fn hardware(&self) -> &str {
        self.spec.hardware_revisions.first().map_or("", String::as_str)
    }

    /// Version that it leaves the factory with; empty where its protocol tells none.
    pub fn version(&self) -> &str {
        self.firmware.as_ref().map_or("", |firmware| &firmware.version)
    }

    /// Length of its images in bytes.
    pub fn image_size(&self) -> usize {
        self.firmware.as_ref().map_or(0, |firmware| firmware.size)
    }

    /// The image that it leaves the factory with.
    pub fn factory_image(&self) -> Vec<u8> {
        image::build(&self.name, self.version(), &[], self.image_size())
    }

    /// Whether the agent can bring new firmware to it.
    pub fn is_updatable(&self) -> bool {
        self.spec.update.slots != UpdateSlots::External
    }

    /// Whether it shows a picture: the classes that the demo's firmware change is about.
    pub fn is_camera(&self) -> bool {
        matches!(self.class(), DeviceClass::AnprCamera | DeviceClass::OcrPortal | DeviceClass::Camera)
    }

    /// Whether it weighs: what it shows and complains of follows from what stands on it, and cannot be switched.
    pub fn is_weighbridge(&self) -> bool {
        self.class() == DeviceClass::Weighbridge
    }

    /// What its protocol can do with images.
    pub fn firmware_transport(&self) -> FirmwareTransport {
        self.protocol().abilities().firmware
    }

    /// Whether it has a test of its own.
    pub fn offers_self_test(&self) -> bool {
        self.spec.update.probes.contains(&Probe::SelfTest)
            || self.spec.properties.iter().any(|property| property.name == well_known::SELF_TEST)
    }

    /// What can be set on it, but the lane's admission.
    pub fn settings(&self) -> impl Iterator<Item = &Property> {
        settings(&self.spec)
    }

    /// Its first health code of this severity.
    pub fn code(&self, severity: Severity) -> Option<&str> {
        self.spec.health_codes.iter().find(|code| code.severity == severity).map(|code| code.name.as_str())
    }

    /// Property that shows the state of its interlock.
    pub fn interlock(&self) -> Option<&Interlock> {
        self.spec.regulatory.interlocks.first()
    }

    /// Property that shows the state of its seal.
    pub fn seal(&self) -> Option<&Seal> {
        self.spec.regulatory.seals.first()
    }
}

/// Properties that can be written, but the lane's admission, which is an order.
pub(super) fn settings(spec: &DeviceModelSpec) -> impl Iterator<Item = &Property> {
    spec.properties.iter().filter(|p| p.access == Access::ReadWrite && p.name != well_known::ADMISSION)
}

/// Properties that always show the same, since nothing in the simulator changes them by itself. What a weighbridge shows follows
/// from its load.
pub(super) fn readings(spec: &DeviceModelSpec) -> impl Iterator<Item = &Property> {
    let weighs = spec.class == DeviceClass::Weighbridge;
    let computed = |name: &str| {
        COMPUTED.contains(&name) || well_known::PASSAGES_BY_CLASS.iter().any(|(counter, _)| *counter == name)
    };
    spec.properties.iter().filter(move |p| !weighs && p.access == Access::ReadOnly && !computed(&p.name))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use kalong_crds::protocol::Addressing;

    use super::*;
    use crate::site::{Layout, Preset};

    #[test]
    fn every_setting_has_something_to_change() {
        for preset in [Preset::L0, Preset::L1] {
            let layout = Layout::read(&preset.source()).unwrap();
            for device in &layout.devices {
                for (name, declared) in &device.spec.config {
                    assert_ne!(Some(declared), device.model.factory.get(name), "{}: {name}", device.name);
                }
            }
        }
    }

    #[test]
    fn registers_stand_for_every_property_and_do_not_overlap() {
        let layout = Layout::read(&Preset::L1.source()).unwrap();
        for model in layout.models().filter(|m| m.protocol().abilities().addressing == Addressing::Registers) {
            let spec = &model.spec;
            assert_eq!(spec.protocol.registers.len(), spec.properties.len(), "{}", model.name);
            let mut taken = BTreeSet::new();
            for register in &spec.protocol.registers {
                for word in 0..register.words {
                    let place = (register.table, register.address + word);
                    assert!(taken.insert(place), "{}: {}", model.name, register.name);
                }
            }
        }
    }

    #[test]
    fn only_protocols_that_carry_images_are_updatable() {
        for model in Layout::read(&Preset::L1.source()).unwrap().models() {
            let carries = model.firmware_transport() != FirmwareTransport::None;
            assert_eq!(model.is_updatable(), carries, "{}", model.name);
        }
    }
}

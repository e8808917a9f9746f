//! Names of properties that every driver understands in the same way. A model lists those that its instruments have.

use crate::lane::CargoClass;

/// Serial number of the instrument: text, read only.
pub const SERIAL_NUMBER: &str = "serialNumber";
/// Version of the software that runs: text, read only.
pub const FIRMWARE_VERSION: &str = "firmwareVersion";
/// SHA-256 of the image that runs, 64 hexadecimal digits (Modbus: 16 registers, encoding Bytes): text, read only.
pub const IMAGE_DIGEST: &str = "imageDigest";
/// Active health codes as bits, by `healthCodes[].bit`: whole number, read only.
pub const HEALTH_BITS: &str = "healthBits";
/// Number of starts since manufacture: whole number, read only.
pub const BOOT_COUNT: &str = "bootCount";
/// Last day of the calibration, year-month-day: text, read only.
pub const CALIBRATED_UNTIL: &str = "calibratedUntil";
/// Of a LanePlc or EGate, to be set: `Closed` (0) or `Open` (1). Written by the lane, never by `config`.
pub const ADMISSION: &str = "admission";
/// Of a LanePlc or EGate, read only: `Closed` (0), `Open` (1) or `Draining` (2).
pub const ADMISSION_STATE: &str = "admissionState";
/// Of a LanePlc or EGate, read only: how many vehicles or people are inside, whole number.
pub const OCCUPANCY: &str = "occupancy";
/// Of a LanePlc or EGate, read only: passages since it was made, whole number. It counts up for ever and survives a restart.
pub const PASSAGES: &str = "passages";
/// Of a LanePlc or EGate, read only: passages by class of cargo, each like [`PASSAGES`]; those that are absent are counted as General.
pub const PASSAGES_BY_CLASS: [(&str, CargoClass); 3] = [
    ("passagesFreshProduce", CargoClass::FreshProduce),
    ("passagesFrozenSeafood", CargoClass::FrozenSeafood),
    ("passagesElectronics", CargoClass::Electronics),
];
/// Of a LanePlc or EGate, read only: time of all gate transactions together in tenths of a second, whole number, counting up for ever.
pub const GATE_TENTHS: &str = "gateTenths";
/// Of a LanePlc or EGate, read only: time from arrival at the crossing to release of all passages together in seconds, counting up for ever.
pub const CLEARANCE_SECONDS: &str = "clearanceSeconds";
/// Of every instrument that has one, read only: result of the last own test, `Passed` (0), `Failed` (1) or `Running` (2).
pub const SELF_TEST: &str = "selfTest";

/// The words of [`ADMISSION_STATE`] in the order of their Modbus numbers.
pub const ADMISSION_STATES: [&str; 3] = ["Closed", "Open", "Draining"];

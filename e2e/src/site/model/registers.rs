//! Where the properties of a Modbus instrument stand: one rule for all simulated models, written into each DeviceModel as data.

use kalong_crds::device_model::{Access, Encoding, Property, PropertyType, Register, RegisterTable};
use kalong_crds::well_known;

/// Registers of a text, two characters each.
const TEXT_WORDS: i64 = 8;
/// Registers of a SHA-256.
const DIGEST_WORDS: i64 = 16;
/// Registers of a day, `year-month-day`.
const DAY_WORDS: i64 = 5;
/// The instrument's input registers start here, as a real one's seldom start at 0.
const FIRST_INPUT: i64 = 100;

/// The register of each property, one after the other in its table.
pub(super) fn lay_out(properties: &[Property]) -> Vec<Register> {
    let mut free = Free { coil: 0, discrete: 0, input: FIRST_INPUT, holding: 0 };
    properties.iter().map(|p| free.place(p)).collect()
}

struct Free {
    coil: i64,
    discrete: i64,
    input: i64,
    holding: i64,
}

impl Free {
    fn place(&mut self, property: &Property) -> Register {
        let table = table(property);
        let (words, encoding) = extent(property, table);
        let next = match table {
            RegisterTable::Coil => &mut self.coil,
            RegisterTable::DiscreteInput => &mut self.discrete,
            RegisterTable::InputRegister => &mut self.input,
            RegisterTable::HoldingRegister => &mut self.holding,
        };
        let address = *next;
        *next += words;
        Register { name: property.name.clone(), table, address, words, encoding }
    }
}

fn table(property: &Property) -> RegisterTable {
    let is_bit = property.kind == PropertyType::Enumeration
        && property.values.len() == 2
        && property.name != well_known::ADMISSION;
    match (property.access, is_bit) {
        (Access::ReadWrite, true) => RegisterTable::Coil,
        (Access::ReadWrite, false) => RegisterTable::HoldingRegister,
        (Access::ReadOnly, true) => RegisterTable::DiscreteInput,
        (Access::ReadOnly, false) => RegisterTable::InputRegister,
    }
}

fn extent(property: &Property, table: RegisterTable) -> (i64, Encoding) {
    if matches!(table, RegisterTable::Coil | RegisterTable::DiscreteInput) {
        return (1, Encoding::Unsigned);
    }
    match property.kind {
        PropertyType::Text if property.name == well_known::IMAGE_DIGEST => (DIGEST_WORDS, Encoding::Bytes),
        PropertyType::Text if property.name == well_known::CALIBRATED_UNTIL => (DAY_WORDS, Encoding::Ascii),
        PropertyType::Text => (TEXT_WORDS, Encoding::Ascii),
        PropertyType::Enumeration => (1, Encoding::Unsigned),
        PropertyType::Integer => {
            let signed = property.min.unwrap_or(0) < 0;
            let words = if property.max.unwrap_or(0) > i64::from(u16::MAX) { 2 } else { 1 };
            (words, if signed { Encoding::Signed } else { Encoding::Unsigned })
        }
    }
}

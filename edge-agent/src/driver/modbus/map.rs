//! The register map as data: which requests read it, and how registers are decoded.

use kalong_crds::protocol::{Encoding, RegisterTable};
use kalong_crds::units::{Value, hex};
use kalong_crds::well_known;
use kalong_crds::wire::order::DeviceOrder;

use crate::driver::{DriverError, shape};

/// Most registers that one request reads (Modbus Application Protocol 1.1b3, 6.3).
const MAX_REGISTERS: u16 = 125;
/// Most bits that one request reads (the same, 6.1).
const MAX_BITS: u16 = 2000;
/// Most registers of a whole number: what fits in 64 bits.
const MAX_NUMBER_WORDS: u16 = 4;
/// Hardware revision, for the identity.
pub(super) const HARDWARE_REVISION: &str = "hardwareRevision";

/// One line of the map.
#[derive(Debug)]
pub(super) struct MapEntry {
    pub(super) name: String,
    pub(super) table: RegisterTable,
    pub(super) address: u16,
    pub(super) count: u16,
    encoding: Encoding,
    words: Option<Vec<String>>,
}

/// One request that reads several entries.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Batch {
    pub(super) table: RegisterTable,
    pub(super) address: u16,
    pub(super) count: u16,
    /// Places in the map of the entries that it answers.
    pub(super) entries: Vec<usize>,
}

/// All lines of the map.
#[derive(Debug)]
pub(super) struct RegisterMap(Vec<MapEntry>);

impl RegisterMap {
    /// The map of this order, once each line of it is possible.
    pub(super) fn new(order: &DeviceOrder) -> Result<Self, DriverError> {
        let entries = order.protocol.registers.iter().map(|register| {
            let bad = |why: &str| DriverError::Invalid(format!("register `{}` of the model {why}", register.name));
            let address = u16::try_from(register.address).map_err(|_| bad("has an address above 65535"))?;
            let count = u16::try_from(register.words).map_err(|_| bad("has an impossible number of words"))?;
            if count == 0 || u32::from(address) + u32::from(count) > 65_536 {
                return Err(bad("ends after address 65535: mend `address` or `words`"));
            }
            let bit = matches!(register.table, RegisterTable::Coil | RegisterTable::DiscreteInput);
            let number = matches!(register.encoding, Encoding::Unsigned | Encoding::Signed);
            if bit && (count > 1 || register.encoding != Encoding::Unsigned) {
                return Err(bad("is a bit: `words` must be 1 and `encoding` Unsigned"));
            }
            if number && count > MAX_NUMBER_WORDS {
                return Err(bad("is a whole number: `words` must be 1 to 4"));
            }
            if count > MAX_REGISTERS {
                return Err(bad("is longer than one request can read"));
            }
            Ok(MapEntry {
                name: register.name.clone(),
                table: register.table,
                address,
                count,
                encoding: register.encoding,
                words: shape::words(order, &register.name),
            })
        });
        Ok(Self(entries.collect::<Result<_, _>>()?))
    }

    /// The entry at this place.
    pub(super) fn at(&self, place: usize) -> Option<&MapEntry> {
        self.0.get(place)
    }

    /// The entry of this name.
    pub(super) fn named(&self, name: &str) -> Option<(usize, &MapEntry)> {
        self.0.iter().enumerate().find(|(_, entry)| entry.name == name)
    }

    /// The fewest requests that read these entries. A gap is never read across: registers between may not exist, and a
    /// device that refuses one of them would refuse the whole request.
    pub(super) fn batches(&self, wanted: impl Fn(&str) -> bool) -> Vec<Batch> {
        let mut places: Vec<(usize, &MapEntry)> =
            self.0.iter().enumerate().filter(|(_, entry)| wanted(&entry.name)).collect();
        places.sort_by_key(|(_, entry)| (entry.table, entry.address, entry.count));
        let mut batches: Vec<Batch> = Vec::new();
        for (place, entry) in places {
            let most = if entry.is_bit() { MAX_BITS } else { MAX_REGISTERS };
            let joined = batches.last_mut().filter(|last| last.table == entry.table).and_then(|last| {
                let offset = entry.address.checked_sub(last.address)?;
                let count = last.count.max(offset.checked_add(entry.count)?);
                (offset <= last.count && count <= most).then_some((last, count))
            });
            match joined {
                Some((last, count)) => {
                    last.count = count;
                    last.entries.push(place);
                }
                None => batches.push(Batch {
                    table: entry.table,
                    address: entry.address,
                    count: entry.count,
                    entries: vec![place],
                }),
            }
        }
        batches
    }
}

impl MapEntry {
    fn is_bit(&self) -> bool {
        matches!(self.table, RegisterTable::Coil | RegisterTable::DiscreteInput)
    }

    /// Whether the table can be written.
    pub(super) fn is_writable(&self) -> bool {
        matches!(self.table, RegisterTable::Coil | RegisterTable::HoldingRegister)
    }

    /// The part of a batch's answer that belongs to this entry.
    pub(super) fn cut<'a>(&self, batch: &Batch, answer: &'a [u16]) -> Option<&'a [u16]> {
        let from = usize::from(self.address.checked_sub(batch.address)?);
        answer.get(from..from + usize::from(self.count))
    }

    /// Decodes registers; `None` where they hold nothing that the model knows.
    pub(super) fn decode(&self, registers: &[u16]) -> Option<Value> {
        match self.encoding {
            Encoding::Ascii => self.decode_ascii(registers),
            Encoding::Bytes => Some(Value::Text(hex(&bytes(registers)))),
            Encoding::Unsigned | Encoding::Signed => {
                let number = self.decode_number(registers)?;
                match &self.words {
                    None => Some(Value::Integer(number)),
                    Some(words) => words.get(usize::try_from(number).ok()?).cloned().map(Value::Text),
                }
            }
        }
    }

    fn decode_ascii(&self, registers: &[u16]) -> Option<Value> {
        let bytes = bytes(registers);
        let end = bytes.iter().position(|byte| *byte == 0).unwrap_or(bytes.len());
        let text = std::str::from_utf8(bytes.get(..end)?).ok()?.trim_end_matches(' ');
        text.bytes().all(|byte| (0x20..0x7f).contains(&byte)).then(|| Value::Text(text.to_owned()))
    }

    /// The whole number in these registers, most significant first.
    fn decode_number(&self, registers: &[u16]) -> Option<i64> {
        let raw = registers.iter().fold(0_u64, |sum, word| sum << 16 | u64::from(*word));
        if self.encoding == Encoding::Signed {
            let unused = 64 - 16 * u32::from(self.count);
            Some(raw.wrapping_shl(unused).cast_signed().wrapping_shr(unused))
        } else {
            i64::try_from(raw).ok()
        }
    }

    /// Encodes a value into registers.
    pub(super) fn encode(&self, value: &Value) -> Result<Vec<u16>, DriverError> {
        let bad = |why: &str| DriverError::Invalid(format!("`{}` = `{value}` {why}", self.name));
        let number = match (self.encoding, value, &self.words) {
            (Encoding::Ascii, Value::Text(text), _) => {
                return self.encode_ascii(text).ok_or_else(|| bad("does not fit its registers"));
            }
            (Encoding::Unsigned | Encoding::Signed, Value::Text(word), Some(words)) => words
                .iter()
                .position(|known| known == word)
                .and_then(|place| i64::try_from(place).ok())
                .ok_or_else(|| bad("is no word of this property"))?,
            (Encoding::Unsigned | Encoding::Signed, Value::Integer(number), None) => *number,
            _ => return Err(bad("is not of the kind that its registers hold")),
        };
        self.encode_number(number).ok_or_else(|| bad("does not fit its registers"))
    }

    fn encode_ascii(&self, text: &str) -> Option<Vec<u16>> {
        let room = usize::from(self.count) * 2;
        let fits = text.len() <= room && text.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let mut bytes = text.bytes().chain(std::iter::repeat(0)).take(room);
        let mut registers = Vec::with_capacity(usize::from(self.count));
        while let (Some(high), Some(low)) = (bytes.next(), bytes.next()) {
            registers.push(u16::from_be_bytes([high, low]));
        }
        fits.then_some(registers)
    }

    fn encode_number(&self, number: i64) -> Option<Vec<u16>> {
        let bits = if self.is_bit() { 1 } else { 16 * u32::from(self.count) };
        let fits = if self.encoding == Encoding::Signed {
            bits == 64 || (-(1_i64 << (bits - 1))..1_i64 << (bits - 1)).contains(&number)
        } else {
            number >= 0 && (bits >= 63 || number < 1_i64 << bits)
        };
        let [a, b, c, d, e, f, g, h] = number.to_be_bytes();
        let all = [[a, b], [c, d], [e, f], [g, h]].map(u16::from_be_bytes);
        let words = all.get(all.len().checked_sub(usize::from(self.count))?..)?;
        fits.then(|| words.to_vec())
    }
}

fn bytes(registers: &[u16]) -> Vec<u8> {
    registers.iter().flat_map(|word| word.to_be_bytes()).collect()
}

/// Whether this name belongs to the identity rather than to the readings.
pub(super) fn is_identity(name: &str) -> bool {
    [
        well_known::SERIAL_NUMBER,
        well_known::FIRMWARE_VERSION,
        well_known::IMAGE_DIGEST,
        well_known::BOOT_COUNT,
        HARDWARE_REVISION,
    ]
    .contains(&name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn entry(table: RegisterTable, address: u16, count: u16, encoding: Encoding) -> MapEntry {
        MapEntry { name: format!("e{address}"), table, address, count, encoding, words: None }
    }

    #[test]
    fn neighbours_share_a_request_and_gaps_do_not() {
        use RegisterTable::{HoldingRegister as H, InputRegister as I};
        let map = RegisterMap(vec![
            entry(H, 10, 2, Encoding::Unsigned),
            entry(I, 0, 1, Encoding::Unsigned),
            entry(H, 12, 1, Encoding::Unsigned),
            entry(H, 14, 1, Encoding::Unsigned),
            entry(I, 1, 16, Encoding::Bytes),
        ]);
        let batches = map.batches(|_| true);
        let seen: Vec<_> = batches.iter().map(|b| (b.table, b.address, b.count, b.entries.clone())).collect();
        assert_eq!(seen, [(I, 0, 17, vec![1, 4]), (H, 10, 3, vec![0, 2]), (H, 14, 1, vec![3])]);
        assert_eq!(
            map.at(4).unwrap().cut(&batches[0], &(0..17).collect::<Vec<_>>()),
            Some(&(1..17).collect::<Vec<_>>()[..])
        );
    }

    #[test]
    fn a_request_is_never_longer_than_the_protocol_allows() {
        let map =
            RegisterMap((0..5).map(|n| entry(RegisterTable::HoldingRegister, n * 50, 50, Encoding::Ascii)).collect());
        assert!(map.batches(|_| true).iter().all(|batch| batch.count <= MAX_REGISTERS));
    }

    #[test]
    fn a_number_outside_the_words_is_not_a_word() {
        let mut word = entry(RegisterTable::HoldingRegister, 0, 1, Encoding::Unsigned);
        word.words = Some(vec!["Closed".into(), "Open".into()]);
        assert_eq!(word.decode(&[1]), Some("Open".into()));
        assert_eq!(word.decode(&[2]), None);
        assert_eq!(word.encode(&"Open".into()).unwrap(), [1]);
        assert!(word.encode(&Value::Integer(1)).is_err());
    }

    #[test]
    fn bounds_of_registers_are_kept() {
        use RegisterTable::HoldingRegister as H;
        assert!(entry(H, 0, 1, Encoding::Unsigned).encode(&Value::Integer(65_535)).is_ok());
        assert!(entry(H, 0, 1, Encoding::Unsigned).encode(&Value::Integer(65_536)).is_err());
        assert!(entry(H, 0, 1, Encoding::Unsigned).encode(&Value::Integer(-1)).is_err());
        assert_eq!(entry(H, 0, 1, Encoding::Signed).encode(&Value::Integer(-32_768)).unwrap(), [0x8000]);
        assert!(entry(H, 0, 1, Encoding::Signed).encode(&Value::Integer(32_768)).is_err());
        assert!(entry(RegisterTable::Coil, 0, 1, Encoding::Unsigned).encode(&Value::Integer(2)).is_err());
        assert!(entry(H, 0, 2, Encoding::Ascii).encode(&"abcde".into()).is_err());
        assert_eq!(entry(H, 0, 4, Encoding::Unsigned).decode(&[u16::MAX; 4]), None);
    }

    proptest! {
        #[test]
        fn what_was_encoded_is_decoded(number: i64, words in 1_u16..=4, signed: bool) {
            let encoding = if signed { Encoding::Signed } else { Encoding::Unsigned };
            let entry = entry(RegisterTable::HoldingRegister, 0, words, encoding);
            if let Ok(registers) = entry.encode(&Value::Integer(number)) {
                prop_assert_eq!(registers.len(), usize::from(words));
                prop_assert_eq!(entry.decode(&registers), Some(Value::Integer(number)));
            }
        }

        #[test]
        fn text_survives_its_registers(text in "[!-~]{0,12}") {
            let entry = entry(RegisterTable::HoldingRegister, 0, 6, Encoding::Ascii);
            let value = Value::Text(text);
            prop_assert_eq!(entry.decode(&entry.encode(&value).unwrap()), Some(value));
        }
    }
}

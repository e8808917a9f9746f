//! The Modbus/TCP side of a simulated instrument, written from the Modbus application protocol (V1.1b3) and the map of its
//! model. Nothing of it is shared with the agent.

use std::collections::BTreeMap;

use kalong_crds::property::{Property, PropertyType};
use kalong_crds::protocol::{Encoding, Register, RegisterTable};
use kalong_crds::units::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::device::{Device, DeviceRefusal, DeviceState};

/// Unit identifier of every simulated instrument.
const UNIT: u8 = 1;
/// The longest request of the protocol, after the header.
const LONGEST_PDU: usize = 253;
const ILLEGAL_FUNCTION: u8 = 1;
const ILLEGAL_ADDRESS: u8 = 2;
const ILLEGAL_VALUE: u8 = 3;
/// What a gateway says of a unit that is not there.
const NO_SUCH_UNIT: u8 = 11;
const COIL_ON: u16 = 0xFF00;

/// Answers requests, one after the other, until the client goes.
pub(super) async fn serve(device: &Device, mut stream: TcpStream) {
    while let Some((head, pdu)) = request(&mut stream).await {
        device.answer_when_able().await;
        let answer = if head.unit == UNIT { reply(device, &pdu) } else { Err(NO_SUCH_UNIT) };
        let function = pdu.first().copied().unwrap_or_default();
        let body = answer.unwrap_or_else(|code| vec![function | 0x80, code]);
        let Ok(length) = u16::try_from(body.len() + 1) else { return };
        let mut frame = Vec::with_capacity(body.len() + 7);
        frame.extend_from_slice(&head.transaction.to_be_bytes());
        frame.extend_from_slice(&[0, 0]);
        frame.extend_from_slice(&length.to_be_bytes());
        frame.push(head.unit);
        frame.extend_from_slice(&body);
        if stream.write_all(&frame).await.is_err() {
            return;
        }
    }
}

struct Head {
    transaction: u16,
    unit: u8,
}

/// The next request, or none when the client is gone or speaks something else.
async fn request(stream: &mut TcpStream) -> Option<(Head, Vec<u8>)> {
    let transaction = stream.read_u16().await.ok()?;
    let protocol = stream.read_u16().await.ok()?;
    let length = usize::from(stream.read_u16().await.ok()?);
    let unit = stream.read_u8().await.ok()?;
    if protocol != 0 || !(2..=LONGEST_PDU + 1).contains(&length) {
        return None;
    }
    let mut pdu = vec![0; length - 1];
    stream.read_exact(&mut pdu).await.ok()?;
    Some((Head { transaction, unit }, pdu))
}

/// Two bytes from here, most significant first.
fn word(bytes: &[u8], at: usize) -> Result<u16, u8> {
    match bytes.get(at..at + 2) {
        Some(&[high, low]) => Ok(u16::from_be_bytes([high, low])),
        _ => Err(ILLEGAL_VALUE),
    }
}

fn reply(device: &Device, pdu: &[u8]) -> Result<Vec<u8>, u8> {
    let function = pdu.first().copied().ok_or(ILLEGAL_FUNCTION)?;
    match function {
        1 => bits(device, RegisterTable::Coil, pdu),
        2 => bits(device, RegisterTable::DiscreteInput, pdu),
        3 => words(device, RegisterTable::HoldingRegister, pdu),
        4 => words(device, RegisterTable::InputRegister, pdu),
        5 => write_coil(device, pdu),
        6 => write_one(device, pdu),
        16 => write_many(device, pdu),
        _ => Err(ILLEGAL_FUNCTION),
    }
}

fn bits(device: &Device, table: RegisterTable, pdu: &[u8]) -> Result<Vec<u8>, u8> {
    let (address, count) = (word(pdu, 1)?, word(pdu, 3)?);
    if !(1..=2000).contains(&count) {
        return Err(ILLEGAL_VALUE);
    }
    let state = device.state();
    let cells = cells(device, &state, table);
    let mut packed = vec![0_u8; usize::from(count).div_ceil(8)];
    for offset in 0..count {
        let value = cells.get(&(u32::from(address) + u32::from(offset))).ok_or(ILLEGAL_ADDRESS)?;
        if let Some(byte) = packed.get_mut(usize::from(offset / 8)) {
            *byte |= u8::from(*value != 0) << (offset % 8);
        }
    }
    answer(pdu, &packed)
}

fn words(device: &Device, table: RegisterTable, pdu: &[u8]) -> Result<Vec<u8>, u8> {
    let (address, count) = (word(pdu, 1)?, word(pdu, 3)?);
    if !(1..=125).contains(&count) {
        return Err(ILLEGAL_VALUE);
    }
    let state = device.state();
    let cells = cells(device, &state, table);
    let mut data = Vec::with_capacity(usize::from(count) * 2);
    for offset in 0..u32::from(count) {
        let value = cells.get(&(u32::from(address) + offset)).ok_or(ILLEGAL_ADDRESS)?;
        data.extend_from_slice(&value.to_be_bytes());
    }
    answer(pdu, &data)
}

fn answer(pdu: &[u8], data: &[u8]) -> Result<Vec<u8>, u8> {
    let length = u8::try_from(data.len()).map_err(|_| ILLEGAL_VALUE)?;
    let function = pdu.first().copied().ok_or(ILLEGAL_FUNCTION)?;
    Ok([&[function, length], data].concat())
}

fn write_coil(device: &Device, pdu: &[u8]) -> Result<Vec<u8>, u8> {
    let (address, value) = (word(pdu, 1)?, word(pdu, 3)?);
    let bit = match value {
        0 => 0,
        COIL_ON => 1,
        _ => return Err(ILLEGAL_VALUE),
    };
    store(device, RegisterTable::Coil, address, &[bit])?;
    Ok(pdu.to_vec())
}

fn write_one(device: &Device, pdu: &[u8]) -> Result<Vec<u8>, u8> {
    store(device, RegisterTable::HoldingRegister, word(pdu, 1)?, &[word(pdu, 3)?])?;
    Ok(pdu.to_vec())
}

fn write_many(device: &Device, pdu: &[u8]) -> Result<Vec<u8>, u8> {
    let (address, count) = (word(pdu, 1)?, word(pdu, 3)?);
    let bytes = pdu.get(5).copied().map(usize::from).ok_or(ILLEGAL_VALUE)?;
    let fits = bytes == usize::from(count) * 2 && pdu.len() == 6 + bytes;
    if !(1..=123).contains(&count) || !fits {
        return Err(ILLEGAL_VALUE);
    }
    let values = (0..usize::from(count)).map(|i| word(pdu, 6 + i * 2)).collect::<Result<Vec<_>, _>>()?;
    store(device, RegisterTable::HoldingRegister, address, &values)?;
    pdu.get(..5).map(<[u8]>::to_vec).ok_or(ILLEGAL_VALUE)
}

/// Every register of a table with what it holds now.
fn cells(device: &Device, state: &DeviceState, table: RegisterTable) -> BTreeMap<u32, u16> {
    let mut cells = BTreeMap::new();
    for register in device.model().spec.protocol.registers.iter().filter(|r| r.table == table) {
        let Ok(address) = u32::try_from(register.address) else { continue };
        let value = device.property(state, &register.name);
        cells.extend((address..).zip(encode(device.declared(&register.name), register, value.as_ref())));
    }
    cells
}

/// Writes registers that may belong to several properties: each gets its registers with the new ones put over them.
fn store(device: &Device, table: RegisterTable, address: u16, values: &[u16]) -> Result<(), u8> {
    let mut after = {
        let state = device.state();
        cells(device, &state, table)
    };
    let first = u32::from(address);
    let mut last = first;
    for (at, value) in (first..).zip(values) {
        *after.get_mut(&at).ok_or(ILLEGAL_ADDRESS)? = *value;
        last = at;
    }
    let mut settings = BTreeMap::new();
    for register in device.model().spec.protocol.registers.iter().filter(|r| r.table == table) {
        let (Ok(start), Ok(length)) = (u32::try_from(register.address), u32::try_from(register.words)) else {
            continue;
        };
        if start > last || start + length <= first {
            continue;
        }
        let raw: Vec<u16> = (start..start + length).filter_map(|at| after.get(&at).copied()).collect();
        let property = device.declared(&register.name).ok_or(ILLEGAL_ADDRESS)?;
        settings.insert(register.name.clone(), decode(property, register, &raw).ok_or(ILLEGAL_VALUE)?);
    }
    device.set(&settings).map_err(|refusal| match refusal {
        DeviceRefusal::NotSettable(_) => ILLEGAL_ADDRESS,
        DeviceRefusal::BadValue(_) => ILLEGAL_VALUE,
    })
}

/// A value as registers; what is not known is zeros.
fn encode(property: Option<&Property>, register: &Register, value: Option<&Value>) -> Vec<u16> {
    let count = usize::try_from(register.words).unwrap_or_default();
    let bytes = match (register.encoding, value) {
        (Encoding::Unsigned | Encoding::Signed, Some(Value::Integer(n))) => number(*n, count),
        (Encoding::Unsigned | Encoding::Signed, Some(Value::Text(word))) => {
            let index = property.and_then(|p| p.values.iter().position(|v| v == word)).unwrap_or_default();
            number(i64::try_from(index).unwrap_or_default(), count)
        }
        (Encoding::Ascii, Some(Value::Text(text))) => padded(text.as_bytes(), count),
        (Encoding::Bytes, Some(Value::Text(hex))) => padded(&unhex(hex), count),
        (Encoding::Ascii | Encoding::Bytes, _) | (_, None) => padded(&[], count),
    };
    bytes.chunks_exact(2).map(|pair| word(pair, 0).unwrap_or_default()).collect()
}

/// The last bytes of a number in two's complement, most significant first.
fn number(value: i64, words: usize) -> Vec<u8> {
    let bytes = value.to_be_bytes();
    bytes.get(bytes.len().saturating_sub(words * 2)..).unwrap_or_default().to_vec()
}

fn padded(bytes: &[u8], words: usize) -> Vec<u8> {
    let mut out = bytes.to_vec();
    out.resize(words * 2, 0);
    out
}

fn unhex(text: &str) -> Vec<u8> {
    let pairs = text.as_bytes().chunks_exact(2);
    pairs.filter_map(|p| u8::from_str_radix(std::str::from_utf8(p).ok()?, 16).ok()).collect()
}

fn decode(property: &Property, register: &Register, raw: &[u16]) -> Option<Value> {
    let bytes: Vec<u8> = raw.iter().flat_map(|w| w.to_be_bytes()).collect();
    match register.encoding {
        Encoding::Unsigned | Encoding::Signed => {
            let negative = register.encoding == Encoding::Signed && bytes.first().is_some_and(|b| b & 0x80 != 0);
            let start = if negative { -1_i64 } else { 0 };
            let n = bytes.iter().fold(start, |n, byte| (n << 8) | i64::from(*byte));
            if property.kind == PropertyType::Enumeration {
                let word = property.values.get(usize::try_from(n).ok()?)?;
                return Some(Value::Text(word.clone()));
            }
            Some(Value::Integer(n))
        }
        Encoding::Ascii => {
            let text = String::from_utf8(bytes).ok()?;
            Some(Value::Text(text.trim_end_matches(['\0', ' ']).to_owned()))
        }
        Encoding::Bytes => Some(Value::Text(kalong_crds::units::hex(&bytes))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn register(encoding: Encoding, words: i64) -> Register {
        Register { name: "x".into(), table: RegisterTable::HoldingRegister, address: 0, words, encoding }
    }

    fn whole() -> Property {
        Property {
            name: "x".into(),
            kind: PropertyType::Integer,
            access: Default::default(),
            unit: None,
            min: None,
            max: None,
            values: vec![],
            stale_after_seconds: 30,
        }
    }

    #[test]
    fn numbers_stand_with_their_high_register_first() {
        let value = Value::Integer(90_000);
        assert_eq!(encode(Some(&whole()), &register(Encoding::Unsigned, 2), Some(&value)), [1, 24_464]);
        assert_eq!(decode(&whole(), &register(Encoding::Unsigned, 2), &[1, 24_464]), Some(value));
        let minus = Value::Integer(-4);
        assert_eq!(encode(Some(&whole()), &register(Encoding::Signed, 1), Some(&minus)), [0xFFFC]);
        assert_eq!(decode(&whole(), &register(Encoding::Signed, 1), &[0xFFFC]), Some(minus));
    }

    #[test]
    fn texts_are_padded_and_digests_are_bytes() {
        let text = Value::from("2.4.1");
        assert_eq!(encode(None, &register(Encoding::Ascii, 4), Some(&text)), [0x322E, 0x342E, 0x3100, 0]);
        let digest = Value::from("beef");
        assert_eq!(encode(None, &register(Encoding::Bytes, 2), Some(&digest)), [0xBEEF, 0]);
        assert_eq!(encode(None, &register(Encoding::Bytes, 2), None), [0, 0]);
    }
}

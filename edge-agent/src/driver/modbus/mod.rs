//! Modbus over TCP, with the register map of the model as data.
//!
//! Modbus knows no users and no roles, so the driver keeps its own allow-list: settings of the model and the lane's admission.
//! Interlocks stay in the instrument; nothing here is what keeps an arm off a roof.

mod map;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use kalong_crds::property::Property;
use kalong_crds::protocol::RegisterTable;
use kalong_crds::units::{Digest, Value};
use kalong_crds::well_known;
use tokio::net::TcpStream;
use tokio::time::{Instant, sleep, timeout, timeout_at};
use tokio_modbus::client::{Client, Context, tcp};
use tokio_modbus::{ExceptionCode, Request, Response, Slave};

use super::{CALL_DEADLINE, DeviceConnection, DeviceIdentity, Driver, DriverError, Reading, SelfTest, Slots, shape};
use map::{Batch, MapEntry, RegisterMap};

/// Longest time for one request and its answer.
const REQUEST_DEADLINE: Duration = Duration::from_secs(2);
/// Longest time until a written value is read back.
const READBACK_DEADLINE: Duration = Duration::from_secs(2);
/// Pause between two looks at a written value, or before a busy device is asked again.
const PAUSE: Duration = Duration::from_millis(50);
/// Unit identifier of a device that is no gateway to others.
const DEFAULT_UNIT: u8 = 1;

/// What a request is about, in words, for the case that it is refused.
type Describe<'a> = &'a (dyn Fn() -> String + Sync);

pub(super) struct Modbus {
    line: ModbusLine,
    map: RegisterMap,
    identity: Vec<Batch>,
    readings: Vec<Batch>,
    /// Names that belong in a reading.
    shown: BTreeSet<String>,
    /// Names that may be set.
    allowed: BTreeSet<String>,
    /// Bit and name of each health code.
    codes: Vec<(i64, String)>,
    /// Properties of the model, to judge what is read and set.
    properties: Vec<Property>,
}

/// One value on its way to the device.
struct PendingWrite<'a> {
    place: usize,
    entry: &'a MapEntry,
    value: Value,
    registers: Vec<u16>,
}

/// The connection. Taken out while a request is under way, so that an interrupted one never leaves half an answer behind.
struct ModbusLine {
    endpoint: String,
    unit: u8,
    context: Option<Context>,
}

impl Modbus {
    pub(super) fn new(connect: &DeviceConnection<'_>) -> Result<Self, DriverError> {
        let order = connect.order;
        let map = RegisterMap::new(order)?;
        let names = || order.protocol.registers.iter().map(|register| register.name.clone());
        let shown: BTreeSet<String> = names().filter(|name| shape::is_read(order, name)).collect();
        Ok(Self {
            line: ModbusLine {
                endpoint: connect.endpoint()?,
                unit: connect.integer("unit", DEFAULT_UNIT)?,
                context: None,
            },
            identity: map.batches(map::is_identity),
            readings: map.batches(|name| name == well_known::HEALTH_BITS || shown.contains(name)),
            allowed: names().filter(|name| shape::may_be_set(order, name)).collect(),
            codes: order.health_codes.iter().map(|code| (code.bit, code.name.clone())).collect(),
            properties: order.properties.clone(),
            shown,
            map,
        })
    }

    /// Reads these batches: values by name.
    async fn fetch(
        line: &mut ModbusLine,
        map: &RegisterMap,
        batches: &[Batch],
    ) -> Result<BTreeMap<String, Value>, DriverError> {
        let mut values = BTreeMap::new();
        for batch in batches {
            let entries = || batch.entries.iter().filter_map(|place| map.at(*place));
            let describe = || entries().map(|entry| entry.name.as_str()).collect::<Vec<_>>().join(", ");
            let answer = line.read(batch, &describe).await?;
            for entry in entries() {
                if let Some(value) = entry.cut(batch, &answer).and_then(|registers| entry.decode(registers)) {
                    values.insert(entry.name.clone(), value);
                }
            }
        }
        Ok(values)
    }

    /// The value of one entry now.
    async fn fetch_one(line: &mut ModbusLine, place: usize, entry: &MapEntry) -> Result<Option<Value>, DriverError> {
        let batch = Batch { table: entry.table, address: entry.address, count: entry.count, entries: vec![place] };
        let answer = line.read(&batch, &|| entry.name.clone()).await?;
        Ok(entry.cut(&batch, &answer).and_then(|registers| entry.decode(registers)))
    }

    fn objection(&self, name: &str, value: &Value) -> Option<String> {
        let property = self.properties.iter().find(|property| property.name == name)?;
        shape::objection(property, value)
    }

    /// The entries to write with their registers; all are judged before the first is written.
    fn judge(&self, values: &BTreeMap<String, Value>) -> Result<Vec<PendingWrite<'_>>, DriverError> {
        values
            .iter()
            .map(|(name, value)| {
                let (place, entry) = self.map.named(name).filter(|_| self.allowed.contains(name)).ok_or_else(|| {
                    DriverError::Invalid(format!(
                        "`{name}` cannot be set: the model must list it with access ReadWrite and with a register"
                    ))
                })?;
                if !entry.is_writable() {
                    return Err(DriverError::Invalid(format!(
                        "`{name}` stands in a table that cannot be written: use Coil or HoldingRegister"
                    )));
                }
                if let Some(why) = self.objection(name, value) {
                    return Err(DriverError::Invalid(why));
                }
                Ok(PendingWrite { place, entry, value: value.clone(), registers: entry.encode(value)? })
            })
            .collect()
    }
}

impl ModbusLine {
    fn timed_out(&self) -> DriverError {
        DriverError::Timeout(self.endpoint.clone(), CALL_DEADLINE)
    }

    async fn open(&mut self) -> Result<Context, DriverError> {
        if let Some(context) = self.context.take() {
            return Ok(context);
        }
        let stream = super::http::dial(&self.endpoint).await?;
        Ok(attach(stream, self.unit))
    }

    /// One request and its answer; a busy device is asked again until the caller's deadline.
    async fn ask(&mut self, request: Request<'_>, describe: Describe<'_>) -> Result<Response, DriverError> {
        loop {
            let kept = self.context.is_some();
            let mut context = self.open().await?;
            let answer = timeout(REQUEST_DEADLINE, context.call(request.clone())).await;
            match answer {
                Err(_) => return Err(DriverError::Timeout(self.endpoint.clone(), REQUEST_DEADLINE)),
                // A connection that the device closed while it was idle is no failure: once more on a new one.
                Ok(Err(tokio_modbus::Error::Transport(_))) if kept => {}
                Ok(Err(tokio_modbus::Error::Transport(error))) => {
                    return Err(DriverError::Unreachable(self.endpoint.clone(), Some(Box::new(error))));
                }
                Ok(Err(tokio_modbus::Error::Protocol(error))) => return Err(DriverError::Protocol(error.to_string())),
                Ok(Ok(Err(ExceptionCode::Acknowledge | ExceptionCode::ServerDeviceBusy))) => {
                    self.context = Some(context);
                    sleep(PAUSE).await;
                }
                Ok(Ok(Err(code))) => {
                    self.context = Some(context);
                    return Err(DriverError::Refused(format!(
                        "{}: {code} (exception {}): compare the model's registers with the maker's manual",
                        describe(),
                        u8::from(code)
                    )));
                }
                Ok(Ok(Ok(response))) => {
                    self.context = Some(context);
                    return Ok(response);
                }
            }
        }
    }

    /// The registers or bits of a batch, a bit as 0 or 1.
    async fn read(&mut self, batch: &Batch, describe: Describe<'_>) -> Result<Vec<u16>, DriverError> {
        let (address, count) = (batch.address, batch.count);
        let request = match batch.table {
            RegisterTable::Coil => Request::ReadCoils(address, count),
            RegisterTable::DiscreteInput => Request::ReadDiscreteInputs(address, count),
            RegisterTable::InputRegister => Request::ReadInputRegisters(address, count),
            RegisterTable::HoldingRegister => Request::ReadHoldingRegisters(address, count),
        };
        let mut registers: Vec<u16> = match self.ask(request, describe).await? {
            Response::ReadCoils(bits) | Response::ReadDiscreteInputs(bits) => bits.into_iter().map(u16::from).collect(),
            Response::ReadInputRegisters(words) | Response::ReadHoldingRegisters(words) => words,
            _ => return Err(DriverError::Protocol(format!("{}: another function was answered", describe()))),
        };
        if registers.len() < usize::from(count) {
            return Err(DriverError::Protocol(format!("{}: the answer is too short", describe())));
        }
        registers.truncate(usize::from(count));
        Ok(registers)
    }

    async fn write(&mut self, entry: &MapEntry, registers: &[u16]) -> Result<(), DriverError> {
        let request = match (entry.table, registers) {
            (RegisterTable::Coil, [bit]) => Request::WriteSingleCoil(entry.address, *bit != 0),
            (RegisterTable::HoldingRegister, [word]) => Request::WriteSingleRegister(entry.address, *word),
            (_, words) => Request::WriteMultipleRegisters(entry.address, words.into()),
        };
        self.ask(request, &|| entry.name.clone()).await.map(|_| ())
    }

    /// Waits until the written value is there.
    async fn read_back(&mut self, place: usize, entry: &MapEntry, wanted: &Value) -> Result<(), DriverError> {
        let until = Instant::now() + READBACK_DEADLINE;
        loop {
            let seen = Modbus::fetch_one(self, place, entry).await?;
            if seen.as_ref() == Some(wanted) {
                return Ok(());
            }
            if Instant::now() >= until {
                let seen = seen.map_or("nothing".to_owned(), |value| format!("`{value}`"));
                return Err(DriverError::Refused(format!(
                    "`{}` was set to `{wanted}` and reads back {seen}: the device may be in local operation",
                    entry.name
                )));
            }
            sleep(PAUSE).await;
        }
    }
}

fn attach(stream: TcpStream, unit: u8) -> Context {
    tcp::attach_slave(stream, Slave(unit))
}

fn text(values: &mut BTreeMap<String, Value>, name: &str) -> String {
    values.remove(name).map_or_else(String::new, |value| value.to_string())
}

#[async_trait]
impl Driver for Modbus {
    async fn identify(&mut self) -> Result<DeviceIdentity, DriverError> {
        let fetched = timeout(CALL_DEADLINE, Self::fetch(&mut self.line, &self.map, &self.identity)).await;
        let mut values = fetched.map_err(|_| self.line.timed_out())??;
        Ok(DeviceIdentity {
            serial: text(&mut values, well_known::SERIAL_NUMBER),
            hardware_revision: text(&mut values, map::HARDWARE_REVISION),
            version: text(&mut values, well_known::FIRMWARE_VERSION),
            digest: digest(values.get(well_known::IMAGE_DIGEST)),
            boot_count: match values.get(well_known::BOOT_COUNT) {
                Some(Value::Integer(count)) => Some(*count),
                _ => None,
            },
        })
    }

    async fn read(&mut self) -> Result<Reading, DriverError> {
        let fetched = timeout(CALL_DEADLINE, Self::fetch(&mut self.line, &self.map, &self.readings)).await;
        let values = fetched.map_err(|_| self.line.timed_out())??;
        let health = match values.get(well_known::HEALTH_BITS) {
            Some(Value::Integer(bits)) => {
                let active = self.codes.iter().filter(|(bit, _)| bits >> bit & 1 == 1);
                active.map(|(_, name)| name.clone()).collect()
            }
            _ => BTreeSet::new(),
        };
        Ok(shape::reading(&self.properties, |name| self.shown.contains(name), values, |_| true, health))
    }

    async fn set(&mut self, values: &BTreeMap<String, Value>) -> Result<(), DriverError> {
        // The line is taken out so that the entries, which are borrowed from the map, can be written to it.
        let mut line = ModbusLine {
            endpoint: self.line.endpoint.clone(),
            unit: self.line.unit,
            context: self.line.context.take(),
        };
        let writes = self.judge(values)?;
        let until = Instant::now() + CALL_DEADLINE;
        let outcome = timeout_at(until, async {
            let mut written = Vec::new();
            for PendingWrite { place, entry, value, registers } in &writes {
                // Edge, not level: an instrument may act on every write, and flash memory wears out.
                if Self::fetch_one(&mut line, *place, entry).await?.as_ref() != Some(value) {
                    line.write(entry, registers).await?;
                    written.push((*place, *entry, value));
                }
            }
            for (place, entry, value) in written {
                line.read_back(place, entry, value).await?;
            }
            Ok(())
        })
        .await;
        self.line.context = line.context.take();
        outcome.map_err(|_| self.line.timed_out())?
    }

    async fn slots(&mut self) -> Result<Slots, DriverError> {
        Ok(Slots { running: self.identify().await?.digest, written: None, committed: true })
    }

    async fn transfer(&mut self, _: &Path, _: &Digest, _: u64) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("take an image"))
    }

    async fn install(&mut self, _: &Digest) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("install an image"))
    }

    async fn activate(&mut self) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("start another image"))
    }

    async fn self_test(&mut self) -> Result<SelfTest, DriverError> {
        let Some((place, entry)) = self.map.named(well_known::SELF_TEST) else {
            return Err(DriverError::Unsupported("test themselves without a `selfTest` register"));
        };
        let fetched = timeout(CALL_DEADLINE, Self::fetch_one(&mut self.line, place, entry)).await;
        let [passed, failed, running] = shape::SELF_TESTS;
        match fetched.map_err(|_| self.line.timed_out())?? {
            Some(Value::Text(word)) if word == passed => Ok(SelfTest::Passed),
            Some(Value::Text(word)) if word == running => Ok(SelfTest::Running),
            Some(Value::Text(word)) if word == failed => Ok(SelfTest::Failed("`selfTest` reads Failed".to_owned())),
            other => Err(DriverError::Protocol(format!("`selfTest` reads {other:?}"))),
        }
    }

    async fn commit(&mut self) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("make an image permanent"))
    }

    async fn roll_back(&mut self) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("go back to another image"))
    }
}

/// The digest in these 64 digits; all zero means that the device does not know.
fn digest(value: Option<&Value>) -> Option<Digest> {
    match value {
        Some(Value::Text(digits)) if digits.bytes().any(|digit| digit != b'0') => {
            format!("sha256:{digits}").parse().ok()
        }
        _ => None,
    }
}

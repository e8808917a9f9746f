//! How instruments are spoken to, and what each protocol can do. Rules of the API and checks of the agent follow from
//! [`ProtocolName::abilities`].

use kube::KubeSchema;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use strum::{IntoStaticStr, VariantArray};

/// How an agent communicates with an instrument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
pub struct Protocol {
    /// Driver of the edge agent for this instrument.
    pub name: ProtocolName,
    /// How often the agent reads the instrument, in milliseconds.
    #[serde(default = "Protocol::default_poll")]
    #[schemars(range(min = 100, max = 600_000))]
    pub poll_interval_millis: i64,
    /// Where each property stands in a Modbus instrument.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schemars(length(max = 64))]
    pub registers: Vec<Register>,
}

impl Protocol {
    fn default_poll() -> i64 {
        1000
    }
}

/// The protocols that the edge agent speaks.
#[derive(
    Clone,
    Copy,
    Debug,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    JsonSchema,
    IntoStaticStr,
    VariantArray,
)]
pub enum ProtocolName {
    /// Modbus over TCP, with the register map of the model.
    ModbusTcp,
    /// Toledo continuous output of a weighing indicator over TCP.
    ToledoContinuous,
    /// ONVIF device service over HTTP.
    OnvifHttp,
    /// The published generic HTTP contract.
    GenericHttp,
}

impl ProtocolName {
    /// What instruments of this protocol can do.
    pub const fn abilities(self) -> Abilities {
        match self {
            Self::ModbusTcp => Abilities {
                addressing: Addressing::Registers,
                identity: IdentitySource::Registers,
                firmware: FirmwareTransport::None,
                intermittent: &[],
            },
            Self::ToledoContinuous => Abilities {
                addressing: Addressing::Names,
                identity: IdentitySource::None,
                firmware: FirmwareTransport::None,
                intermittent: &["weight", "tare", "validWeight"],
            },
            Self::OnvifHttp => Abilities {
                addressing: Addressing::Names,
                identity: IdentitySource::Protocol,
                firmware: FirmwareTransport::Upload,
                intermittent: &[],
            },
            Self::GenericHttp => Abilities {
                addressing: Addressing::Names,
                identity: IdentitySource::Protocol,
                firmware: FirmwareTransport::Slots,
                intermittent: &[],
            },
        }
    }
}

/// What instruments of a protocol can do beside being read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abilities {
    /// How a property is found on the instrument.
    pub addressing: Addressing,
    /// Where serial number and version come from.
    pub identity: IdentitySource,
    /// How firmware gets onto the instrument.
    pub firmware: FirmwareTransport,
    /// Properties that are absent from a reading while nothing has been measured.
    pub intermittent: &'static [&'static str],
}

/// How a property is found on an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Addressing {
    /// The model's `protocol.registers` say where; every property has an entry, and health codes are bits.
    Registers,
    /// The protocol knows properties by name.
    Names,
}

/// Where an instrument's serial number and version come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IdentitySource {
    /// The protocol carries neither.
    None,
    /// Registers that the model may map.
    Registers,
    /// The protocol itself.
    Protocol,
}

/// How firmware gets onto an instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FirmwareTransport {
    /// The protocol carries none: `update.slots` is External.
    None,
    /// An image is uploaded and started; what the slots hold cannot be read, and what runs is permanent at once.
    Upload,
    /// Images have slots with digests, and a new one is on probation until it is committed.
    Slots,
}

fn having(able: impl Fn(Abilities) -> bool) -> Vec<&'static str> {
    ProtocolName::VARIANTS
        .iter()
        .filter(|protocol| able(protocol.abilities()))
        .map(|protocol| protocol.into())
        .collect()
}

/// A CEL term that holds for these protocols.
fn is_one_of(names: &[&str]) -> String {
    match names {
        [one] => format!("self.protocol.name == '{one}'"),
        several => format!("self.protocol.name in ['{}']", several.join("', '")),
    }
}

/// CEL of a DeviceModel's spec: a register map only where the protocol uses one.
pub(crate) fn registers_rule() -> String {
    let mapped = is_one_of(&having(|a| a.addressing == Addressing::Registers));
    format!("{mapped} || !has(self.protocol.registers) || self.protocol.registers.size() == 0")
}

pub(crate) fn registers_message() -> String {
    let mapped = having(|a| a.addressing == Addressing::Registers).join(" or ");
    format!("`protocol.registers` may be given only when `protocol.name` is {mapped}")
}

/// CEL of a DeviceModel's spec: no image slots where the protocol carries no firmware.
pub(crate) fn firmware_rule() -> String {
    format!("self.update.slots == 'External' || {}", is_one_of(&having(|a| a.firmware != FirmwareTransport::None)))
}

pub(crate) fn firmware_message() -> String {
    let without = having(|a| a.firmware == FirmwareTransport::None).join(" or ");
    format!("`update.slots` must be External when `protocol.name` is {without}: these protocols carry no firmware")
}

/// Where a property stands in a Modbus instrument.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, KubeSchema)]
#[serde(rename_all = "camelCase")]
#[x_kube(
    validation = Rule::new("!(self.table in ['Coil', 'DiscreteInput']) || self.words == 1").message("`words` must be 1 when `table` is Coil or DiscreteInput: they hold one bit").field_path(".words"),
    validation = Rule::new("self.address + self.words <= 65536").message("`address` and `words` must not reach beyond address 65535").field_path(".address")
)]
pub struct Register {
    /// Name of the property that stands here, one of the model's or a well-known one.
    #[schemars(length(min = 1, max = 63), regex(pattern = r"^[a-z][A-Za-z0-9]*$"))]
    pub name: String,
    /// The table of the instrument that holds it.
    pub table: RegisterTable,
    /// Address of its first register or bit, counted from 0.
    #[schemars(range(min = 0, max = 65_535))]
    pub address: i64,
    /// Number of registers that it takes, 1 for a coil or a 16-bit number.
    #[serde(default = "Register::default_words")]
    #[schemars(range(min = 1, max = 64))]
    pub words: i64,
    /// How the registers are read as one value.
    #[serde(default)]
    pub encoding: Encoding,
}

impl Register {
    fn default_words() -> i64 {
        1
    }
}

/// The four tables of a Modbus instrument.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum RegisterTable {
    /// One bit, read and write.
    Coil,
    /// One bit, read only.
    DiscreteInput,
    /// Sixteen bits, read only.
    InputRegister,
    /// Sixteen bits, read and write.
    HoldingRegister,
}

/// How registers are read as one value.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
pub enum Encoding {
    /// Unsigned whole number, most significant register first; a bit is 0 or 1.
    #[default]
    Unsigned,
    /// Signed whole number in two's complement, most significant register first.
    Signed,
    /// Two ASCII characters per register, padded with zero bytes.
    Ascii,
    /// Raw bytes, two per register, shown as hexadecimal digits.
    Bytes,
}

//! `Driver`: the contract of a device integrator. One driver file implements one protocol; everything else stays outside.
//!
//! A driver is used by one task at a time. It keeps no truth of its own: it knows what the device reports, and nothing else.
//! Every call ends within [`CALL_DEADLINE`], firmware transfer and installation apart, and may be repeated after a power cut.

pub(crate) mod call;
mod camera;
mod http;
mod http_device;
mod modbus;
pub(crate) mod shape;
mod weighing;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use kalong_crds::protocol::ProtocolName;
use kalong_crds::units::{Digest, Value};
use kalong_crds::wire::order::DeviceOrder;

/// Longest time that a call other than [`Driver::transfer`] and [`Driver::install`] may take.
pub const CALL_DEADLINE: Duration = Duration::from_secs(5);

/// Most objections that one reading carries.
pub const MAX_OBJECTIONS: usize = 8;

/// What a device reports of its identity and its software.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DeviceIdentity {
    /// Serial number, empty where the protocol has none.
    pub serial: String,
    /// Hardware revision, empty where the protocol has none.
    pub hardware_revision: String,
    /// Version of the software that runs.
    pub version: String,
    /// Digest of the image that runs, where the device reports one.
    pub digest: Option<Digest>,
    /// Number of starts; a change means that it restarted.
    pub boot_count: Option<i64>,
}

/// One reading of a device.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reading {
    /// Values by property name, settings included.
    pub properties: BTreeMap<String, Value>,
    /// Active health codes, of the model's list.
    pub health: BTreeSet<String>,
    /// What the device reported that its model does not know or allow, in words, at most [`MAX_OBJECTIONS`]. Such values are in
    /// neither of the lists above: they age until they are stale.
    pub objections: Vec<String>,
}

impl Reading {
    /// Those of these settings that the device shows otherwise or not at all.
    pub fn differing(&self, settings: &BTreeMap<String, Value>) -> BTreeMap<String, Value> {
        let differs = |(name, value): &(&String, &Value)| self.properties.get(*name) != Some(*value);
        settings.iter().filter(differs).map(|(name, value)| (name.clone(), value.clone())).collect()
    }
}

/// What a device holds in its image slots.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Slots {
    /// Digest of the image that runs, where the device reports one.
    pub running: Option<Digest>,
    /// Digest of the image that was written and does not run.
    pub written: Option<Digest>,
    /// Whether the running image was marked good.
    pub committed: bool,
}

/// Result of a device's self-test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SelfTest {
    /// The device found nothing wrong.
    Passed,
    /// It is still running; ask again.
    Running,
    /// It failed, with the reason that the device reports.
    Failed(String),
}

/// Username and password of a device, opened from the sealed credential. Never logged.
#[derive(Clone, PartialEq, Eq)]
pub struct DeviceCredential {
    /// Name to log in with.
    pub username: String,
    /// Password to log in with.
    pub password: String,
}

impl std::fmt::Debug for DeviceCredential {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Credential(..)")
    }
}

/// Why a call did not succeed.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum DriverError {
    /// Nothing answers at the address.
    #[error("{0} does not answer: check power, cabling and `connection.endpoint`")]
    Unreachable(String, #[source] Option<Box<dyn std::error::Error + Send + Sync>>),
    /// The device took longer than it may.
    #[error("{0} did not answer within {1:?}: it may be overloaded or restarting")]
    Timeout(String, Duration),
    /// The answer does not follow the protocol.
    #[error("the device answered against its protocol: {0}")]
    Protocol(String),
    /// The device refused, with its reason.
    #[error("the device refused: {0}")]
    Refused(String),
    /// The credential is missing or wrong.
    #[error("the device did not accept the credential: check the Secret named in `connection.secretRef`")]
    Unauthorised,
    /// The device or its protocol cannot do this.
    #[error("devices of this protocol cannot {0}: use `update.slots: External` or another protocol")]
    Unsupported(&'static str),
    /// The order is not one that this driver can carry out.
    #[error("{0}")]
    Invalid(String),
}

impl DriverError {
    /// Whether the device itself is not there, as against a device that answers with a refusal.
    pub fn is_absence(&self) -> bool {
        matches!(self, Self::Unreachable(..) | Self::Timeout(..))
    }
}

/// One device, behind its own protocol.
#[async_trait]
pub trait Driver: Send {
    /// The device's serial number, hardware revision and running version.
    async fn identify(&mut self) -> Result<DeviceIdentity, DriverError>;

    /// All properties of the model, and the active health codes.
    async fn read(&mut self) -> Result<Reading, DriverError>;

    /// Sets these properties and nothing else. The caller compares before and reads back after.
    async fn set(&mut self, values: &BTreeMap<String, Value>) -> Result<(), DriverError>;

    /// What is in the image slots.
    async fn slots(&mut self) -> Result<Slots, DriverError>;

    /// Sends an image to the device. Resumes or starts over by itself; writing the same image twice does no harm.
    async fn transfer(&mut self, image: &Path, digest: &Digest, size: u64) -> Result<(), DriverError>;

    /// Makes the device write and check the image that was sent. Returns once the device reports that it is written.
    async fn install(&mut self, digest: &Digest) -> Result<(), DriverError>;

    /// Makes the device start the written image. Returns once the device accepted that, not once the image runs.
    async fn activate(&mut self) -> Result<(), DriverError>;

    /// The device's own test of what runs now.
    async fn self_test(&mut self) -> Result<SelfTest, DriverError>;

    /// Makes the running image permanent.
    async fn commit(&mut self) -> Result<(), DriverError>;

    /// Makes the device go back to the image that ran before, where it holds one.
    async fn roll_back(&mut self) -> Result<(), DriverError>;
}

/// What a driver is constructed from.
#[derive(Clone, Debug)]
pub struct DeviceConnection<'a> {
    /// The device's order: protocol, register map, properties, endpoint, parameters.
    pub order: &'a DeviceOrder,
    /// The opened credential, where one is declared.
    pub credential: Option<DeviceCredential>,
}

/// The driver for this device. Nothing is sent yet: the first call connects, and a broken connection is re-established by the next.
///
/// # Errors
/// [`DriverError::Invalid`] where the order cannot be carried out at all: a malformed endpoint, parameter or register.
pub fn connect(order: &DeviceOrder, credential: Option<DeviceCredential>) -> Result<Box<dyn Driver>, DriverError> {
    let connect = DeviceConnection { order, credential };
    Ok(match order.protocol.name {
        ProtocolName::ModbusTcp => Box::new(modbus::Modbus::new(&connect)?),
        ProtocolName::ToledoContinuous => Box::new(weighing::Weighing::new(&connect)?),
        ProtocolName::OnvifHttp => Box::new(camera::Camera::new(connect)?),
        ProtocolName::GenericHttp => Box::new(http_device::HttpDevice::new(connect)?),
    })
}

impl DeviceConnection<'_> {
    /// The endpoint, once it is seen to be a host and a port.
    fn endpoint(&self) -> Result<String, DriverError> {
        let endpoint = &self.order.endpoint;
        let good = endpoint.rsplit_once(':').is_some_and(|(host, port)| {
            !host.is_empty()
                && host.bytes().all(|b| b.is_ascii_alphanumeric() || b"-._:[]%".contains(&b))
                && port.parse::<u16>().is_ok_and(|port| port != 0)
        });
        if good {
            Ok(endpoint.clone())
        } else {
            Err(DriverError::Invalid(format!("`connection.endpoint` is `{endpoint}`: write host:port")))
        }
    }

    /// A whole number of `connection.parameters`, or its default.
    fn integer<T: TryFrom<i64>>(&self, name: &str, default: T) -> Result<T, DriverError> {
        let value = match self.order.parameters.get(name) {
            None => return Ok(default),
            Some(Value::Integer(n)) => T::try_from(*n).ok(),
            Some(Value::Text(t)) => t.parse::<i64>().ok().and_then(|n| T::try_from(n).ok()),
        };
        value.ok_or_else(|| {
            DriverError::Invalid(format!(
                "`connection.parameters.{name}` must be a whole number that the protocol allows: see docs/device-contract"
            ))
        })
    }

    /// A text of `connection.parameters`, or its default.
    fn text<'b>(&'b self, name: &str, default: &'b str) -> &'b str {
        match self.order.parameters.get(name) {
            Some(Value::Text(text)) => text,
            _ => default,
        }
    }
}

//! `probe`: the conformance list of one device, with no cluster. What an integrator runs until nothing is left to mend.

mod firmware;
mod relay;
mod report;

use std::collections::BTreeMap;
use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use kalong_crds::device::Admin;
use kalong_crds::device_model::{DeviceModel, DeviceModelSpec};
use kalong_crds::property::Access;
use kalong_crds::protocol::IdentitySource;
use kalong_crds::units::{Digest, Value};
use kalong_crds::well_known;
use kalong_crds::wire::order::DeviceOrder;
use tokio::time::timeout;

use crate::driver::{self, DeviceCredential, DeviceIdentity, Driver, DriverError, Reading, shape};
pub use report::{Check, Outcome, Paint, Report};

/// Longest time for one call, with room for the driver's own deadline.
const QUESTION_DEADLINE: Duration = Duration::from_secs(15);
/// A name that no model may use for a property of its own.
const UNKNOWN_PROPERTY: &str = "kalongProbeUnknown";

/// What to probe, as command-line arguments.
#[derive(Args, Debug)]
pub struct Arguments {
    /// File with the DeviceModel, in YAML.
    #[arg(long, value_name = "FILE")]
    pub model: PathBuf,
    /// Address of the device, host:port.
    #[arg(long, value_name = "ADDR")]
    pub endpoint: String,
    /// A protocol parameter, name=value; may be given several times.
    #[arg(long = "parameter", value_name = "NAME=VALUE", value_parser = parameter)]
    pub parameters: Vec<(String, Value)>,
    /// Name to log in with; empty together with a password file: the password is a bearer token.
    #[arg(long, value_name = "NAME", requires = "password_file")]
    pub username: Option<String>,
    /// File whose first line is the password. A password on the command line would be seen by every user of the machine.
    #[arg(long, value_name = "FILE")]
    pub password_file: Option<PathBuf>,
    /// An image that the device may run. It will be installed.
    #[arg(long, value_name = "FILE")]
    pub image: Option<PathBuf>,
}

/// The device to probe and the model that it shall fit.
#[derive(Clone, Debug)]
pub struct Subject {
    /// The model that the device shall fit.
    pub model: DeviceModelSpec,
    /// Host and port of the device.
    pub endpoint: String,
    /// Protocol parameters, as in `connection.parameters`.
    pub parameters: BTreeMap<String, Value>,
    /// What to log in with.
    pub credential: Option<DeviceCredential>,
    /// An image that the device may run, for the firmware part of the list.
    pub image: Option<PathBuf>,
}

/// Why a probe could not begin.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ProbeError {
    /// A file cannot be read.
    #[error("cannot read {}: {source}", path.display())]
    File {
        /// Path of the file that could not be read.
        path: PathBuf,
        /// Error of the operating system.
        source: std::io::Error,
    },
    /// The file holds no DeviceModel.
    #[error("{} is no DeviceModel: {reason}", path.display())]
    Model {
        /// Path of the file that was read.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
}

/// Runs the list and prints it: exit code 0 when all passed, 1 when a check failed, 2 when the probe could not begin.
pub async fn command(arguments: Arguments) -> ExitCode {
    let subject = match subject(arguments) {
        Ok(subject) => subject,
        Err(error) => {
            let _ = writeln!(std::io::stderr(), "error: {error}");
            return ExitCode::from(2);
        }
    };
    let out = std::io::stdout();
    let colours = out.is_terminal() && std::env::var_os("NO_COLOR").is_none();
    let paint = if colours { Paint::Colours } else { Paint::Plain };
    let report = run(&subject, &mut |check| drop(check.print(&mut out.lock(), paint))).await;
    let _ = report.print_summary(&mut out.lock());
    if report.passed() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn parameter(text: &str) -> Result<(String, Value), String> {
    let (name, value) = text.split_once('=').ok_or("write NAME=VALUE")?;
    let value = value.parse().map_or_else(|_| Value::Text(value.to_owned()), Value::Integer);
    Ok((name.to_owned(), value))
}

fn subject(arguments: Arguments) -> Result<Subject, ProbeError> {
    let password = arguments.password_file.as_deref().map(read_file).transpose()?;
    let credential = password.map(|password| DeviceCredential {
        username: arguments.username.unwrap_or_default(),
        password: password.lines().next().unwrap_or_default().to_owned(),
    });
    Ok(Subject {
        model: load_model(&arguments.model)?,
        endpoint: arguments.endpoint,
        parameters: arguments.parameters.into_iter().collect(),
        credential,
        image: arguments.image,
    })
}

fn read_file(path: &Path) -> Result<String, ProbeError> {
    std::fs::read_to_string(path).map_err(|source| ProbeError::File { path: path.to_owned(), source })
}

/// The model in this YAML file.
///
/// # Errors
/// Where the file cannot be read or holds something else.
pub fn load_model(path: &Path) -> Result<DeviceModelSpec, ProbeError> {
    let text = read_file(path)?;
    let bad = |reason: String| ProbeError::Model { path: path.to_owned(), reason };
    let model: DeviceModel = serde_saphyr::from_str(&text).map_err(|error| bad(error.to_string()))?;
    Ok(model.spec)
}

impl Subject {
    /// The order that an operator would send for such a device.
    fn order(&self) -> DeviceOrder {
        let model = self.model.clone();
        DeviceOrder {
            class: model.class,
            model: String::new(),
            hardware_revisions: model.hardware_revisions,
            protocol: model.protocol,
            properties: model.properties,
            health_codes: model.health_codes,
            update: model.update,
            regulatory: model.regulatory,
            endpoint: self.endpoint.clone(),
            parameters: self.parameters.clone(),
            credential: None,
            config: BTreeMap::new(),
            admin: Admin::Enabled,
            firmware: None,
        }
    }

    fn connect(&self) -> Result<Box<dyn Driver>, DriverError> {
        driver::connect(&self.order(), self.credential.clone())
    }
}

/// The list while it is worked off; each check is passed on as soon as it is known.
struct Checklist<'a> {
    report: Report,
    tell: &'a mut dyn FnMut(&Check),
}

impl Checklist<'_> {
    fn add(&mut self, name: &'static str, outcome: Outcome) {
        let check = Check { name, outcome };
        (self.tell)(&check);
        self.report.checks.push(check);
    }

    /// Notes a result and keeps its value.
    fn note<T>(&mut self, name: &'static str, result: Result<T, String>) -> Option<T> {
        match result {
            Ok(value) => {
                self.add(name, Outcome::Passed);
                Some(value)
            }
            Err(why) => {
                self.add(name, Outcome::Failed(why));
                None
            }
        }
    }
}

/// Runs the whole list against one device, and calls `tell` for each check as soon as it is known.
pub async fn run(subject: &Subject, tell: &mut dyn FnMut(&Check)) -> Report {
    let mut checklist = Checklist { report: Report::default(), tell };
    let order = subject.order();
    let Some(mut device) = checklist.note("the order can be carried out", subject.connect().map_err(words)) else {
        return checklist.report;
    };
    let identity = checklist.note("identity is told and stays the same", identity(device.as_mut(), &order).await);
    if identity.is_none() {
        return checklist.report;
    }
    let reading = ask(device.read()).await;
    let reading = checklist.note("the device can be read", reading);
    if let Some(reading) = &reading {
        checklist.note("all properties are told", all_told(&order, reading));
        checklist.note("values and health codes are those of the model", agrees(reading));
    }
    let reading = reading.unwrap_or_default();
    match settable(&order, &reading) {
        Some(values) => {
            let result = sets(device.as_mut(), &values).await;
            checklist.note("a setting set to its own value reads back and stays", result);
        }
        None => {
            checklist.add("a setting set to its own value reads back and stays", Outcome::Skipped("no setting".into()))
        }
    }
    checklist.note("an unknown property is refused", refuses(device.as_mut()).await);
    checklist.note("image slots agree with the identity", slots(device.as_mut()).await);
    checklist.note("it answers after the connection was dropped", reconnects(subject).await);
    firmware::run(subject, &order, &mut checklist).await;
    checklist.report
}

/// A driver call with a deadline of the probe's own: a driver that hangs is a finding, not a hanging probe.
async fn ask<T>(question: impl Future<Output = Result<T, DriverError>>) -> Result<T, String> {
    match timeout(QUESTION_DEADLINE, question).await {
        Ok(answer) => answer.map_err(words),
        Err(_) => Err(format!("no answer within {QUESTION_DEADLINE:?}")),
    }
}

/// An error with its causes.
fn words(error: DriverError) -> String {
    let mut text = error.to_string();
    let mut source = std::error::Error::source(&error);
    while let Some(cause) = source {
        text.push_str(&format!(" ({cause})"));
        source = cause.source();
    }
    text
}

async fn identity(device: &mut dyn Driver, order: &DeviceOrder) -> Result<DeviceIdentity, String> {
    let first = ask(device.identify()).await?;
    let second = ask(device.identify()).await?;
    if first != second {
        return Err(format!("asked twice it says {first:?} and {second:?}"));
    }
    let speaks = match order.protocol.name.abilities().identity {
        IdentitySource::None => false,
        IdentitySource::Registers => order.protocol.registers.iter().any(|r| r.name == well_known::SERIAL_NUMBER),
        IdentitySource::Protocol => true,
    };
    if speaks && first.serial.is_empty() {
        return Err("the serial number is empty".to_owned());
    }
    let revisions = &order.hardware_revisions;
    if !revisions.is_empty() && !first.hardware_revision.is_empty() && !revisions.contains(&first.hardware_revision) {
        return Err(format!(
            "hardware revision `{}` is not one of the model's: {}",
            first.hardware_revision,
            revisions.join(", ")
        ));
    }
    Ok(first)
}

fn all_told(order: &DeviceOrder, reading: &Reading) -> Result<(), String> {
    let may_lack = |name: &str| order.protocol.name.abilities().intermittent.contains(&name);
    let missing: Vec<&str> = order
        .properties
        .iter()
        .map(|property| property.name.as_str())
        .filter(|name| !reading.properties.contains_key(*name) && !may_lack(name))
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(format!("not told, or not as the model allows: {}", missing.join(", ")))
    }
}

fn agrees(reading: &Reading) -> Result<(), String> {
    if reading.objections.is_empty() { Ok(()) } else { Err(reading.objections.join("; ")) }
}

/// The settings as they are, to be set to what they are.
fn settable(order: &DeviceOrder, reading: &Reading) -> Option<BTreeMap<String, Value>> {
    let values: BTreeMap<String, Value> = order
        .properties
        .iter()
        .filter(|property| property.access == Access::ReadWrite && shape::may_be_set(order, &property.name))
        .filter_map(|property| Some((property.name.clone(), reading.properties.get(&property.name)?.clone())))
        .collect();
    (!values.is_empty()).then_some(values)
}

async fn sets(device: &mut dyn Driver, values: &BTreeMap<String, Value>) -> Result<(), String> {
    ask(device.set(values)).await?;
    ask(device.set(values)).await?;
    let seen = ask(device.read()).await?.properties;
    for (name, value) in values {
        if seen.get(name) != Some(value) {
            let seen = seen.get(name).map_or("nothing".to_owned(), ToString::to_string);
            return Err(format!("`{name}` was set to `{value}` and reads back `{seen}`"));
        }
    }
    Ok(())
}

async fn refuses(device: &mut dyn Driver) -> Result<(), String> {
    let values = BTreeMap::from([(UNKNOWN_PROPERTY.to_owned(), Value::Integer(1))]);
    match timeout(QUESTION_DEADLINE, device.set(&values)).await {
        Ok(Err(DriverError::Refused(_) | DriverError::Invalid(_) | DriverError::Unsupported(_))) => Ok(()),
        Ok(Err(other)) => Err(words(other)),
        Ok(Ok(())) => Err(format!("`{UNKNOWN_PROPERTY}` was taken: answer 422 to names that the device does not have")),
        Err(_) => Err(format!("no answer within {QUESTION_DEADLINE:?}")),
    }
}

async fn slots(device: &mut dyn Driver) -> Result<(), String> {
    let told = ask(device.identify()).await?.digest;
    let slots = ask(device.slots()).await?;
    if slots.running != told {
        return Err(format!("`running` is {:?}, the identity says {told:?}", slots.running));
    }
    if slots.written.is_some() && slots.written == slots.running {
        return Err("`written` and `running` are the same image".to_owned());
    }
    Ok(())
}

async fn reconnects(subject: &Subject) -> Result<(), String> {
    for _ in 0..3 {
        let mut device = subject.connect().map_err(words)?;
        ask(device.identify()).await?;
    }
    Ok(())
}

/// The digest and size of an image file.
fn image_of(path: &Path) -> Result<(Digest, u64), String> {
    let bytes = std::fs::read(path).map_err(|error| format!("cannot read {}: {error}", path.display()))?;
    let size = u64::try_from(bytes.len()).map_err(|error| error.to_string())?;
    if size == 0 { Err("the image is empty".to_owned()) } else { Ok((Digest::of(&bytes), size)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_numbers_where_they_look_like_numbers() {
        assert_eq!(parameter("unit=3"), Ok(("unit".to_owned(), Value::Integer(3))));
        assert_eq!(parameter("checksum=Off"), Ok(("checksum".to_owned(), Value::Text("Off".to_owned()))));
        assert!(parameter("unit").is_err());
    }
}

//! The ONVIF device service over HTTP, as far as looking after a camera needs it: identity, clock, names, upgrade. No pictures.
//!
//! ONVIF has no slots, no digest and no way back: a camera is `update.slots: Single`, its version is compared, and going back
//! means sending the previous image again. [`Driver::transfer`] already overwrites what runs; the caller has the permit then.

mod soap;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::CONTENT_TYPE;
use hyper::{Request, StatusCode, Uri};
use jiff::{SignedDuration, Timestamp};
use kalong_crds::property::{Access, Property, PropertyType};
use kalong_crds::units::{Digest, Value};
use quick_xml::escape::escape;
use tokio::time::{Instant, sleep};

use super::http::{HttpAnswer, HttpPeer, authorisation_of, authorise};
use super::{DeviceConnection, DeviceCredential, DeviceIdentity, Driver, DriverError, Reading, SelfTest, Slots, shape};
use soap::Texts;

/// Where the device service is, unless the parameter `path` says otherwise (ONVIF Core, 5.1.1).
const DEFAULT_PATH: &str = "/onvif/device_service";
/// Clock skew above which the health code is active, unless the parameter `clockSkewSeconds` says otherwise.
const DEFAULT_SKEW_SECONDS: u32 = 5;
/// Longest delay before an upload that a camera may ask for.
const MAX_UPLOAD_DELAY: Duration = Duration::from_secs(60);
/// Shortest time that a camera is given to come back with a new image.
const MIN_RESTART: Duration = Duration::from_secs(60);
/// Longest time that a camera may name as its downtime.
const MAX_DOWNTIME: Duration = Duration::from_secs(1200);
/// Pause between two looks at a restarting camera.
const PAUSE: Duration = Duration::from_millis(500);
/// The one health code of this driver.
const CLOCK_SKEW: &str = "ClockSkew";

const HOSTNAME: &str = "hostname";
const NTP_SERVER: &str = "ntpServer";
const DATE_TIME_TYPE: &str = "dateTimeType";

pub(super) struct Camera {
    peer: HttpPeer,
    path: String,
    credential: Option<DeviceCredential>,
    properties: Vec<Property>,
    skew_limit: SignedDuration,
    complains_of_skew: bool,
    /// The camera's clock less the agent's, once known.
    skew: Option<SignedDuration>,
    upgrade: Option<Upgrade>,
}

/// An upload by this driver instance, to recognise whether the camera restarted since.
struct Upgrade {
    version_before: String,
    downtime: Duration,
}

impl Camera {
    pub(super) fn new(connect: DeviceConnection<'_>) -> Result<Self, DriverError> {
        let path = connect.text("path", DEFAULT_PATH).to_owned();
        if !path.starts_with('/') || path.parse::<Uri>().is_err() {
            return Err(DriverError::Invalid("`connection.parameters.path` must begin with /".to_owned()));
        }
        let limit: u32 = connect.integer("clockSkewSeconds", DEFAULT_SKEW_SECONDS)?;
        Ok(Self {
            peer: HttpPeer::new(connect.endpoint()?),
            path,
            properties: connect.order.properties.clone(),
            skew_limit: SignedDuration::from_secs(i64::from(limit)),
            complains_of_skew: connect.order.health_codes.iter().any(|code| code.name == CLOCK_SKEW),
            credential: connect.credential,
            skew: None,
            upgrade: None,
        })
    }

    /// One call with the credential. A refused credential may only mean that the camera's clock was set meanwhile, so
    /// the clock is read again and the call repeated once.
    async fn call(&mut self, operation: &str, body: &str) -> Result<Texts, DriverError> {
        let Some(credential) = self.credential.clone() else { return self.exchange(operation, body, "").await };
        let fresh = self.skew.is_none();
        let first = self.call_as(&credential, operation, body).await;
        if fresh || !matches!(first, Err(DriverError::Unauthorised)) {
            return first;
        }
        self.skew = None;
        self.call_as(&credential, operation, body).await
    }

    async fn call_as(
        &mut self,
        credential: &DeviceCredential,
        operation: &str,
        body: &str,
    ) -> Result<Texts, DriverError> {
        let skew = match self.skew {
            Some(skew) => skew,
            None => self.clock().await?.0,
        };
        let created = Timestamp::now().checked_add(skew).unwrap_or_else(|_| Timestamp::now());
        self.exchange(operation, body, &soap::username_token(credential, created)?).await
    }

    async fn exchange(&mut self, operation: &str, body: &str, security: &str) -> Result<Texts, DriverError> {
        let request = Request::post(&self.path)
            .header(CONTENT_TYPE, soap::content_type(operation))
            .body(Bytes::from(soap::envelope(operation, body, security)))
            .map_err(|error| DriverError::Invalid(error.to_string()))?;
        let answer = self.peer.call(request).await?;
        if answer.status == StatusCode::UNAUTHORIZED {
            return Err(DriverError::Unauthorised);
        }
        let texts = Texts::parse(&answer.body).map_err(|error| explain(&answer, error))?;
        if let Some((subcode, reason)) = texts.fault() {
            let refused = subcode.contains("NotAuthorized") || subcode.contains("FailedAuthentication");
            return Err(if refused {
                DriverError::Unauthorised
            } else {
                DriverError::Refused(format!("{operation}: {reason}"))
            });
        }
        if !answer.status.is_success() {
            return Err(DriverError::Refused(format!("{operation}: HTTP {}", answer.status.as_u16())));
        }
        if texts.at(&format!("{operation}Response")).is_none() {
            return Err(DriverError::Protocol(format!("{operation} was answered with something else")));
        }
        Ok(texts)
    }

    /// How far the camera's clock is ahead, and how it is set. Asked without a credential, as the standard allows: a
    /// UsernameToken needs the camera's time before it can be made.
    async fn clock(&mut self) -> Result<(SignedDuration, String), DriverError> {
        let texts = self.exchange("GetSystemDateAndTime", "", "").await?;
        let told = utc(&texts)
            .ok_or_else(|| DriverError::Protocol("GetSystemDateAndTime has no valid UTCDateTime".to_owned()))?;
        let skew = told.duration_since(Timestamp::now());
        self.skew = Some(skew);
        Ok((skew, texts.at("SystemDateAndTime/DateTimeType").unwrap_or_default().to_owned()))
    }

    fn lists(&self, name: &str) -> bool {
        self.properties.iter().any(|property| property.name == name)
    }

    async fn restarted(&mut self, upgrade: &Upgrade) -> Result<(), DriverError> {
        let until = Instant::now() + (upgrade.downtime * 3).max(MIN_RESTART);
        let patience = Instant::now() + upgrade.downtime;
        let mut away = false;
        let mut told = false;
        loop {
            match self.identify().await {
                Ok(identity) if away || identity.version != upgrade.version_before => return Ok(()),
                // It neither went away nor changed, so it waits for a restart command.
                Ok(_) if !told && Instant::now() >= patience => {
                    self.call("SystemReboot", "").await?;
                    told = true;
                }
                Ok(_) => {}
                Err(error) if error.is_absence() => away = true,
                // A camera that starts answers with errors for a while.
                Err(error) if Instant::now() >= until => return Err(error),
                Err(_) => away = true,
            }
            if Instant::now() >= until {
                return Err(DriverError::Timeout(self.peer.endpoint().to_owned(), until.duration_since(patience)));
            }
            sleep(PAUSE).await;
        }
    }
}

fn explain(answer: &HttpAnswer, error: DriverError) -> DriverError {
    if answer.status.is_success() { error } else { DriverError::Refused(format!("HTTP {}", answer.status.as_u16())) }
}

/// The camera's UTC; `None` where a field is missing or out of range.
fn utc(texts: &Texts) -> Option<Timestamp> {
    let part = |name: &str| texts.number::<i8>(&format!("UTCDateTime/{name}"));
    let year: i16 = texts.number("UTCDateTime/Date/Year")?;
    // A leap second is taken as the second before it.
    let second = part("Time/Second")?.min(59);
    let time = jiff::civil::DateTime::new(
        year,
        part("Date/Month")?,
        part("Date/Day")?,
        part("Time/Hour")?,
        part("Time/Minute")?,
        second,
        0,
    );
    Some(time.ok()?.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp())
}

/// Body of `SetSystemDateAndTime`: the time itself is sent for the type `Manual` alone.
fn date_time(kind: &str, now: Timestamp) -> String {
    let head = format!(
        "<tds:DateTimeType>{}</tds:DateTimeType><tds:DaylightSavings>false</tds:DaylightSavings>",
        escape(kind)
    );
    if kind != "Manual" {
        return head;
    }
    let now = now.to_zoned(jiff::tz::TimeZone::UTC);
    format!(
        "{head}<tds:UTCDateTime><tt:Time><tt:Hour>{}</tt:Hour><tt:Minute>{}</tt:Minute><tt:Second>{}</tt:Second></tt:Time>\
         <tt:Date><tt:Year>{}</tt:Year><tt:Month>{}</tt:Month><tt:Day>{}</tt:Day></tt:Date></tds:UTCDateTime>",
        now.hour(),
        now.minute(),
        now.second(),
        now.year(),
        now.month(),
        now.day()
    )
}

/// Body of `SetNTP`: an IPv4 address or a DNS name, and an empty list for an empty text.
fn ntp(server: &str) -> String {
    let manual = match server.parse::<std::net::Ipv4Addr>() {
        _ if server.is_empty() => String::new(),
        Ok(address) => format!("<tt:Type>IPv4</tt:Type><tt:IPv4Address>{address}</tt:IPv4Address>"),
        Err(_) => format!("<tt:Type>DNS</tt:Type><tt:DNSname>{}</tt:DNSname>", escape(server)),
    };
    let manual = if manual.is_empty() { manual } else { format!("<tds:NTPManual>{manual}</tds:NTPManual>") };
    format!("<tds:FromDHCP>false</tds:FromDHCP>{manual}")
}

/// Host and port of an upload address, once it is seen to lead to the camera itself. Otherwise a camera could make the agent
/// post images, and the camera's password, anywhere.
fn upload_peer(endpoint: &str, uri: &Uri) -> Result<String, DriverError> {
    let own = endpoint.rsplit_once(':').map_or(endpoint, |(host, _)| host);
    match (uri.scheme_str(), uri.host()) {
        (Some("http"), Some(host)) if host.eq_ignore_ascii_case(own) => {
            Ok(format!("{host}:{}", uri.port_u16().unwrap_or(80)))
        }
        _ => Err(DriverError::Protocol(format!("its upload address `{uri}` does not lead to {own} over http"))),
    }
}

fn duration(text: Option<&str>) -> Option<Duration> {
    Duration::try_from(text?.parse::<SignedDuration>().ok()?).ok()
}

#[async_trait]
impl Driver for Camera {
    async fn identify(&mut self) -> Result<DeviceIdentity, DriverError> {
        let texts = self.call("GetDeviceInformation", "").await?;
        let text =
            |name: &str| texts.at(&format!("GetDeviceInformationResponse/{name}")).unwrap_or_default().to_owned();
        Ok(DeviceIdentity {
            serial: text("SerialNumber"),
            hardware_revision: text("HardwareId"),
            version: text("FirmwareVersion"),
            digest: None,
            boot_count: None,
        })
    }

    async fn read(&mut self) -> Result<Reading, DriverError> {
        let (skew, kind) = self.clock().await?;
        let mut values = BTreeMap::from([(DATE_TIME_TYPE.to_owned(), Value::Text(kind))]);
        if self.lists(HOSTNAME) {
            let texts = self.call("GetHostname", "").await?;
            values.insert(HOSTNAME.to_owned(), texts.at("HostnameInformation/Name").unwrap_or_default().into());
        }
        if self.lists(NTP_SERVER) {
            let texts = self.call("GetNTP", "").await?;
            let server = ["NTPManual/IPv4Address", "NTPManual/DNSname"].into_iter().find_map(|path| texts.at(path));
            values.insert(NTP_SERVER.to_owned(), server.unwrap_or_default().into());
        }
        let skewed = self.complains_of_skew && skew.abs() > self.skew_limit;
        let health = skewed.then(|| CLOCK_SKEW.to_owned()).into_iter().collect::<BTreeSet<_>>();
        Ok(shape::reading(&self.properties, |_| false, values, |_| true, health))
    }

    async fn set(&mut self, values: &BTreeMap<String, Value>) -> Result<(), DriverError> {
        for (name, value) in values {
            let property = self
                .properties
                .iter()
                .find(|property| property.name == *name && property.kind != PropertyType::Integer);
            let known = [HOSTNAME, NTP_SERVER, DATE_TIME_TYPE].contains(&name.as_str());
            match property {
                Some(property) if known && property.access == Access::ReadWrite => {
                    if let Some(why) = shape::objection(property, value) {
                        return Err(DriverError::Invalid(why));
                    }
                }
                _ => {
                    return Err(DriverError::Invalid(format!(
                        "`{name}` cannot be set over ONVIF: {HOSTNAME}, {NTP_SERVER} and {DATE_TIME_TYPE} can, where the model lists them"
                    )));
                }
            }
        }
        for (name, value) in values {
            let text = value.to_string();
            match name.as_str() {
                HOSTNAME => self.call("SetHostname", &format!("<tds:Name>{}</tds:Name>", escape(&text))).await?,
                NTP_SERVER => self.call("SetNTP", &ntp(&text)).await?,
                _ => self.call("SetSystemDateAndTime", &date_time(&text, Timestamp::now())).await?,
            };
        }
        Ok(())
    }

    async fn slots(&mut self) -> Result<Slots, DriverError> {
        Ok(Slots { running: None, written: None, committed: true })
    }

    async fn transfer(&mut self, image: &Path, _: &Digest, size: u64) -> Result<(), DriverError> {
        let version_before = self.identify().await?.version;
        let texts = self.call("StartFirmwareUpgrade", "").await?;
        let uri: Uri = texts
            .at("StartFirmwareUpgradeResponse/UploadUri")
            .and_then(|uri| uri.parse().ok())
            .ok_or_else(|| DriverError::Protocol("StartFirmwareUpgrade has no valid UploadUri".to_owned()))?;
        let mut peer = HttpPeer::new(upload_peer(self.peer.endpoint(), &uri)?);
        let delay = duration(texts.at("StartFirmwareUpgradeResponse/UploadDelay")).unwrap_or_default();
        let downtime = duration(texts.at("StartFirmwareUpgradeResponse/ExpectedDownTime")).unwrap_or_default();
        sleep(delay.min(MAX_UPLOAD_DELAY)).await;
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let mut request = Request::post(path)
            .header(CONTENT_TYPE, "application/octet-stream")
            .body(())
            .map_err(|error| DriverError::Invalid(error.to_string()))?;
        authorise(&mut request, authorisation_of(self.credential.as_ref())?.as_ref());
        let answer = peer.upload(request, image, 0, size).await?;
        match answer.status {
            StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => Err(DriverError::Unauthorised),
            status if status.is_success() => {
                self.upgrade = Some(Upgrade { version_before, downtime: downtime.min(MAX_DOWNTIME) });
                Ok(())
            }
            status => Err(DriverError::Refused(format!("the image: HTTP {}", status.as_u16()))),
        }
    }

    async fn install(&mut self, _: &Digest) -> Result<(), DriverError> {
        match self.upgrade.take() {
            Some(upgrade) => self.restarted(&upgrade).await,
            // After a power cut of the agent: the camera writes on its own account, so it only has to answer.
            None => self.identify().await.map(|_| ()),
        }
    }

    /// The camera started the image by itself.
    async fn activate(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    async fn self_test(&mut self) -> Result<SelfTest, DriverError> {
        self.identify().await?;
        self.clock().await?;
        Ok(SelfTest::Passed)
    }

    async fn commit(&mut self) -> Result<(), DriverError> {
        Ok(())
    }

    async fn roll_back(&mut self) -> Result<(), DriverError> {
        Err(DriverError::Unsupported("go back to another image; send the previous one again"))
    }
}

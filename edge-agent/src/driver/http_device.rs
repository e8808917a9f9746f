//! The published device contract, version 1: a vendor's gateway in any language. See `docs/device-contract`.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;
use hyper::header::{ACCEPT, CONTENT_RANGE, CONTENT_TYPE, HeaderValue};
use hyper::{Method, Request, StatusCode};
use kalong_crds::device_model::HealthCode;
use kalong_crds::property::Property;
use kalong_crds::units::{Digest, Value};
use serde::Deserialize;
use serde::de::DeserializeOwned;
use tokio::time::{Instant, sleep};

use super::http::{HttpAnswer, HttpPeer, authorisation_of};
use super::{DeviceConnection, DeviceIdentity, Driver, DriverError, MAX_OBJECTIONS, Reading, SelfTest, Slots, shape};

/// Where the contract begins; the version stands in it.
const BASE: &str = "/kalong/v1";
/// Member of the response to `/properties` that may carry the health codes, so that one request reads everything.
const HEALTH_CODES: &str = "healthCodes";
/// Longest time that a device may write an image.
const INSTALL_DEADLINE: Duration = Duration::from_secs(3600);
/// Pause before a long job is asked after again, where the device names none.
const PAUSE: Duration = Duration::from_secs(1);
/// Longest pause that a device may ask for.
const MAX_PAUSE: Duration = Duration::from_secs(30);
/// How often an upload that broke off is taken up again within one transfer.
const RESUMES: u32 = 3;
/// Longest text of a refusal that is passed on, in characters.
const MAX_DETAIL: usize = 512;

/// A device that answers the published contract.
pub(super) struct HttpDevice {
    peer: HttpPeer,
    authorization: Option<HeaderValue>,
    properties: Vec<Property>,
    codes: Vec<HealthCode>,
    interlocks: Vec<String>,
    /// What was installed since this driver was made; after a power cut the slots alone must do.
    installed: Option<Digest>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct IdentityAnswer {
    contract: String,
    serial: String,
    #[serde(default)]
    hardware_revision: String,
    version: String,
    #[serde(default)]
    digest: Option<Digest>,
    #[serde(default)]
    boot_count: Option<i64>,
}

#[derive(Deserialize)]
struct HealthAnswer {
    codes: BTreeSet<String>,
}

#[derive(Deserialize)]
struct SlotsAnswer {
    #[serde(default)]
    running: Option<Digest>,
    #[serde(default)]
    written: Option<Digest>,
    committed: bool,
}

#[derive(Deserialize)]
struct ImageAnswer {
    received: u64,
    complete: bool,
}

#[derive(Deserialize)]
struct SelfTestAnswer {
    result: String,
    #[serde(default)]
    detail: String,
}

#[derive(Deserialize)]
struct ProblemDetails {
    title: String,
    #[serde(default)]
    detail: String,
}

impl HttpDevice {
    pub(super) fn new(connect: DeviceConnection<'_>) -> Result<Self, DriverError> {
        let order = connect.order;
        Ok(Self {
            peer: HttpPeer::new(connect.endpoint()?),
            authorization: authorisation_of(connect.credential.as_ref())?,
            properties: order.properties.clone(),
            codes: order.health_codes.clone(),
            interlocks: order.regulatory.interlocks.iter().map(|i| i.name.as_str().to_owned()).collect(),
            installed: None,
        })
    }

    fn request<T>(&self, method: Method, path: &str, body: T) -> Result<Request<T>, DriverError> {
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{BASE}{path}"))
            .header(ACCEPT, "application/json, application/problem+json")
            .body(body)
            .map_err(|error| DriverError::Invalid(error.to_string()))?;
        super::http::authorise(&mut request, self.authorization.as_ref());
        Ok(request)
    }

    async fn call(
        &mut self,
        method: Method,
        path: &str,
        json: Option<serde_json::Value>,
    ) -> Result<HttpAnswer, DriverError> {
        let body = json.as_ref().map_or_else(Bytes::new, |json| Bytes::from(json.to_string()));
        let mut request = self.request(method, path, body)?;
        if json.is_some() {
            request.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        }
        accepted(self.peer.call(request).await?)
    }

    async fn get<T: DeserializeOwned>(&mut self, path: &str) -> Result<T, DriverError> {
        let answer = self.call(Method::GET, path, None).await?;
        parse(path, &answer.body)
    }

    async fn order(&mut self, path: &str, digest: Option<&Digest>) -> Result<(), DriverError> {
        let json = digest.map(|digest| serde_json::json!({ "digest": digest.as_str() }));
        self.call(Method::POST, path, json).await.map(|_| ())
    }

    async fn send_rest(&mut self, image: &Path, digest: &Digest, size: u64) -> Result<(), DriverError> {
        let path = format!("/images/{}", digest.hex());
        let held: ImageAnswer = self.get(&path).await?;
        if held.complete {
            return Ok(());
        }
        // An offset beyond the image is no place to continue from.
        let from = if held.received < size { held.received } else { 0 };
        let mut request = self.request(Method::PUT, &path, ())?;
        let headers = request.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/octet-stream"));
        if from > 0 {
            let range = format!("bytes {from}-{}/{size}", size.saturating_sub(1));
            headers
                .insert(CONTENT_RANGE, HeaderValue::try_from(range).map_err(|e| DriverError::Invalid(e.to_string()))?);
        }
        let answer = accepted(self.peer.upload(request, image, from, size).await?)?;
        let held: ImageAnswer = parse(&path, &answer.body)?;
        if held.complete { Ok(()) } else { Err(DriverError::Refused("the image did not become complete".to_owned())) }
    }
}

/// The answer, unless it is a refusal.
fn accepted(answer: HttpAnswer) -> Result<HttpAnswer, DriverError> {
    let status = answer.status;
    if status.is_success() {
        return Ok(answer);
    }
    if status == StatusCode::UNAUTHORIZED || status == StatusCode::FORBIDDEN {
        return Err(DriverError::Unauthorised);
    }
    let problem = serde_json::from_slice::<ProblemDetails>(&answer.body).ok();
    let text = match problem {
        Some(ProblemDetails { title, detail }) if detail.is_empty() => title,
        Some(ProblemDetails { title, detail }) => format!("{title}: {detail}"),
        None => "no problem document was given; see docs/device-contract".to_owned(),
    };
    // From a peer into status and Events: bounded, and no control characters.
    let text: String = text.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect();
    Err(DriverError::Refused(format!("{text} (HTTP {})", status.as_u16())))
}

/// The health codes that the device sent along with its properties. A list is no value, so no property is mistaken for it.
fn codes_in(told: &mut BTreeMap<String, serde_json::Value>) -> Option<BTreeSet<String>> {
    if !told.get(HEALTH_CODES)?.is_array() {
        return None;
    }
    serde_json::from_value(told.remove(HEALTH_CODES)?).ok()
}

fn parse<T: DeserializeOwned>(path: &str, body: &[u8]) -> Result<T, DriverError> {
    serde_json::from_slice(body)
        .map_err(|error| DriverError::Protocol(format!("{BASE}{path} is not as the contract says: {error}")))
}

#[async_trait]
impl Driver for HttpDevice {
    async fn identify(&mut self) -> Result<DeviceIdentity, DriverError> {
        let answer: IdentityAnswer = self.get("/identity").await?;
        if answer.contract != "v1" {
            return Err(DriverError::Protocol(format!(
                "it speaks version `{}` of the contract, this agent speaks v1",
                answer.contract
            )));
        }
        Ok(DeviceIdentity {
            serial: answer.serial,
            hardware_revision: answer.hardware_revision,
            version: answer.version,
            digest: answer.digest,
            boot_count: answer.boot_count,
        })
    }

    async fn read(&mut self) -> Result<Reading, DriverError> {
        let mut told: BTreeMap<String, serde_json::Value> = self.get("/properties").await?;
        let codes = codes_in(&mut told);
        let value = |json: serde_json::Value| serde_json::from_value::<Value>(json).ok();
        let mut properties: BTreeMap<String, Value> =
            told.into_iter().filter_map(|(name, json)| Some((name, value(json)?))).collect();
        let mut objections = Vec::new();
        if self.interlocks.iter().any(|name| !properties.contains_key(name)) {
            match self.get::<BTreeMap<String, String>>("/interlocks").await {
                Ok(states) => properties.extend(states.into_iter().map(|(name, state)| (name, Value::Text(state)))),
                // Without them nothing may be changed, yet the device can be watched.
                Err(DriverError::Refused(why)) => {
                    objections.push(format!("the interlocks of the model are not told: {why}"))
                }
                Err(error) => return Err(error),
            }
        }
        let codes = match codes {
            Some(codes) => codes,
            None => self.get::<HealthAnswer>("/health").await?.codes,
        };
        let shown = |name: &str| shape::WELL_KNOWN.contains(&name) || self.interlocks.iter().any(|known| known == name);
        let known = |code: &str| self.codes.iter().any(|known| known.name == code);
        let mut reading = shape::reading(&self.properties, shown, properties, known, codes);
        objections.append(&mut reading.objections);
        objections.truncate(MAX_OBJECTIONS);
        Ok(Reading { objections, ..reading })
    }

    async fn set(&mut self, values: &BTreeMap<String, Value>) -> Result<(), DriverError> {
        let json = serde_json::to_value(values).map_err(|error| DriverError::Invalid(error.to_string()))?;
        self.call(Method::PUT, "/properties", Some(json)).await.map(|_| ())
    }

    async fn slots(&mut self) -> Result<Slots, DriverError> {
        let answer: SlotsAnswer = self.get("/slots").await?;
        Ok(Slots { running: answer.running, written: answer.written, committed: answer.committed })
    }

    async fn transfer(&mut self, image: &Path, digest: &Digest, size: u64) -> Result<(), DriverError> {
        let mut tries = 0;
        loop {
            match self.send_rest(image, digest, size).await {
                Err(error) if error.is_absence() && tries < RESUMES => {
                    tries += 1;
                    sleep(PAUSE).await;
                }
                outcome => return outcome,
            }
        }
    }

    async fn install(&mut self, digest: &Digest) -> Result<(), DriverError> {
        let until = Instant::now() + INSTALL_DEADLINE;
        let json = serde_json::json!({ "digest": digest.as_str() });
        loop {
            let answer = self.call(Method::POST, "/install", Some(json.clone())).await?;
            if answer.status != StatusCode::ACCEPTED {
                self.installed = Some(digest.clone());
                return Ok(());
            }
            if Instant::now() >= until {
                return Err(DriverError::Timeout(self.peer.endpoint().to_owned(), INSTALL_DEADLINE));
            }
            sleep(answer.retry_after.unwrap_or(PAUSE).min(MAX_PAUSE)).await;
        }
    }

    async fn activate(&mut self) -> Result<(), DriverError> {
        let slots = self.slots().await?;
        let wanted = match (self.installed.clone(), slots.committed, slots.written) {
            (Some(installed), _, _) if slots.running.as_ref() == Some(&installed) => return Ok(()),
            (Some(installed), _, _) => installed,
            // The written image is the one from before: a second call must not swap back.
            (None, false, _) => return Ok(()),
            (None, true, Some(written)) => written,
            (None, true, None) => {
                return Err(DriverError::Refused("no image is written: transfer and install it first".to_owned()));
            }
        };
        self.order("/activate", Some(&wanted)).await
    }

    async fn self_test(&mut self) -> Result<SelfTest, DriverError> {
        let answer = self.call(Method::POST, "/self-test", None).await?;
        let test: SelfTestAnswer = parse("/self-test", &answer.body)?;
        match test.result.as_str() {
            "Passed" => Ok(SelfTest::Passed),
            "Running" => Ok(SelfTest::Running),
            "Failed" => {
                Ok(SelfTest::Failed(test.detail.chars().filter(|c| !c.is_control()).take(MAX_DETAIL).collect()))
            }
            other => Err(DriverError::Protocol(format!("its self-test says `{other}`"))),
        }
    }

    async fn commit(&mut self) -> Result<(), DriverError> {
        self.order("/commit", None).await
    }

    async fn roll_back(&mut self) -> Result<(), DriverError> {
        self.order("/rollback", None).await
    }
}

//! The device service of a simulated ONVIF camera (ONVIF Core, sections 5.9 and 8): as much as docs/device-contract/wire-conventions.md names.

use std::collections::BTreeMap;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use http::{Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use jiff::civil::DateTime;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use kalong_crds::units::Value;

use super::device::{Device, DeviceRefusal};
use super::firmware::{LARGEST_IMAGE, Receive};
use super::http::{HttpAnswer, body, empty, knows_login, problem, typed};
use super::soap::{Call, fault, response};
use crate::site::traffic::TouchKind;
use crate::site::{DEMO_PASSWORD, DEMO_USERNAME};

const SERVICE: &str = "/onvif/device_service";
const UPLOAD: &str = "/onvif/firmware";
const NTP_SERVER: &str = "ntpServer";
const DATE_TIME_TYPE: &str = "dateTimeType";
/// A token that is older or younger by more is not believed (WS-Security, section 11), in seconds.
const TOKEN_AGE: i64 = 300;

pub(super) async fn answer(device: Arc<Device>, request: Request<Incoming>) -> HttpAnswer {
    device.answer_when_able().await;
    match (request.method(), request.uri().path()) {
        (&Method::POST, SERVICE) => service(&device, request).await,
        (&Method::POST, UPLOAD) => upload(&device, request).await,
        _ => empty(StatusCode::NOT_FOUND),
    }
}

/// An answer of the service: an envelope, or a fault with the status that SOAP over HTTP gives it.
enum SoapOutcome {
    Done(String),
    Fault(&'static str, String),
}

async fn service(device: &Arc<Device>, request: Request<Incoming>) -> HttpAnswer {
    let text = body(request).await.and_then(|b| String::from_utf8(b.to_vec()).ok());
    let Some(call) = text.as_deref().and_then(Call::parse) else {
        return soap(StatusCode::BAD_REQUEST, fault("ter:WellFormed", "The request is no SOAP 1.2 envelope."));
    };
    // Everybody may ask for the time: without it nobody could make a token.
    if call.operation != "GetSystemDateAndTime" && !is_known(device, &call) {
        return soap(StatusCode::UNAUTHORIZED, fault("ter:NotAuthorized", "The login is missing or wrong."));
    }
    match operate(device, &call) {
        SoapOutcome::Done(inner) => soap(StatusCode::OK, response(&call.operation, &inner)),
        SoapOutcome::Fault(code, reason) => soap(StatusCode::BAD_REQUEST, fault(code, &reason)),
    }
}

fn soap(status: StatusCode, text: String) -> HttpAnswer {
    typed(status, Some("application/soap+xml; charset=utf-8"), text.into())
}

/// WS-Security UsernameToken with a password digest, made in the camera's own time.
fn is_known(device: &Device, call: &Call) -> bool {
    if !device.placed.wants_login() {
        return true;
    }
    let field = |name: &str| call.field(&format!("UsernameToken/{name}"));
    let (Some(user), Some(sent), Some(nonce), Some(created)) =
        (field("Username"), field("Password"), field("Nonce"), field("Created"))
    else {
        return false;
    };
    let (Ok(nonce), Ok(made)) = (STANDARD.decode(nonce), created.parse::<Timestamp>()) else { return false };
    let age = now(device).duration_since(made).as_secs().abs();
    let all = [nonce.as_slice(), created.as_bytes(), DEMO_PASSWORD.as_bytes()].concat();
    // The standard of 2008 asks for SHA-1; on a lane's own network there is no better one to be had.
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &all);
    user == DEMO_USERNAME && age <= TOKEN_AGE && sent == STANDARD.encode(digest.as_ref())
}

fn now(device: &Device) -> Timestamp {
    let ahead = SignedDuration::from_secs(device.state().clock_ahead);
    Timestamp::now().saturating_add(ahead).unwrap_or_else(|_| Timestamp::now())
}

fn operate(device: &Arc<Device>, call: &Call) -> SoapOutcome {
    match call.operation.as_str() {
        "GetSystemDateAndTime" => SoapOutcome::Done(date_and_time(device)),
        "SetSystemDateAndTime" => set_date_and_time(device, call),
        "GetDeviceInformation" => SoapOutcome::Done(information(device)),
        "GetHostname" => {
            let name = device.state().hostname.clone();
            let name = quick_xml::escape::escape(&name);
            SoapOutcome::Done(format!(
                "<tds:HostnameInformation><tt:FromDHCP>false</tt:FromDHCP><tt:Name>{name}</tt:Name></tds:HostnameInformation>"
            ))
        }
        "SetHostname" => {
            let mut state = device.state();
            state.counts.writes += 1;
            state.counts.setting_writes += 1;
            device.touched(TouchKind::Setting);
            state.hostname = call.field("SetHostname/Name").unwrap_or_default().to_owned();
            SoapOutcome::Done(String::new())
        }
        "GetNTP" => SoapOutcome::Done(ntp(device)),
        "SetNTP" => {
            let server = call.field("NTPManual/IPv4Address").or(call.field("NTPManual/DNSname")).unwrap_or_default();
            set(device, NTP_SERVER, server)
        }
        "StartFirmwareUpgrade" => SoapOutcome::Done(format!(
            "<tds:UploadUri>http://{}{UPLOAD}</tds:UploadUri><tds:UploadDelay>PT0S</tds:UploadDelay>\
             <tds:ExpectedDownTime>PT{}S</tds:ExpectedDownTime>",
            device.endpoint,
            device.model().spec.update.downtime_seconds
        )),
        "SystemReboot" => {
            device.leave(&mut device.state());
            SoapOutcome::Done("<tds:Message>Restarting.</tds:Message>".into())
        }
        _ => SoapOutcome::Fault("ter:ActionNotSupported", "This camera has no such operation.".into()),
    }
}

fn information(device: &Device) -> String {
    let state = device.state();
    let model = device.model();
    format!(
        "<tds:Manufacturer>Simulated</tds:Manufacturer><tds:Model>{}</tds:Model>\
         <tds:FirmwareVersion>{}</tds:FirmwareVersion><tds:SerialNumber>{}</tds:SerialNumber><tds:HardwareId>{}</tds:HardwareId>",
        model.name,
        quick_xml::escape::escape(&state.slots.running.version),
        device.serial,
        model.hardware()
    )
}

fn setting(device: &Device, name: &str) -> String {
    match device.state().settings.get(name) {
        Some(value) => value.to_string(),
        None => String::new(),
    }
}

fn set(device: &Device, name: &str, value: &str) -> SoapOutcome {
    match device.set(&BTreeMap::from([(name.to_owned(), Value::from(value))])) {
        Ok(()) => SoapOutcome::Done(String::new()),
        Err(DeviceRefusal::NotSettable(why) | DeviceRefusal::BadValue(why)) => {
            SoapOutcome::Fault("ter:InvalidArgVal", why)
        }
    }
}

fn ntp(device: &Device) -> String {
    let server = setting(device, NTP_SERVER);
    if server.is_empty() {
        return "<tds:NTPInformation><tt:FromDHCP>false</tt:FromDHCP></tds:NTPInformation>".into();
    }
    let escaped = quick_xml::escape::escape(&server);
    let host = if server.parse::<std::net::Ipv4Addr>().is_ok() {
        format!("<tt:Type>IPv4</tt:Type><tt:IPv4Address>{escaped}</tt:IPv4Address>")
    } else {
        format!("<tt:Type>DNS</tt:Type><tt:DNSname>{escaped}</tt:DNSname>")
    };
    format!(
        "<tds:NTPInformation><tt:FromDHCP>false</tt:FromDHCP><tt:NTPManual>{host}</tt:NTPManual></tds:NTPInformation>"
    )
}

fn date_and_time(device: &Device) -> String {
    let utc = now(device).to_zoned(TimeZone::UTC).datetime();
    format!(
        "<tds:SystemDateAndTime><tt:DateTimeType>{}</tt:DateTimeType><tt:DaylightSavings>false</tt:DaylightSavings>\
         <tt:UTCDateTime><tt:Time><tt:Hour>{}</tt:Hour><tt:Minute>{}</tt:Minute><tt:Second>{}</tt:Second></tt:Time>\
         <tt:Date><tt:Year>{}</tt:Year><tt:Month>{}</tt:Month><tt:Day>{}</tt:Day></tt:Date></tt:UTCDateTime></tds:SystemDateAndTime>",
        setting(device, DATE_TIME_TYPE),
        utc.hour(),
        utc.minute(),
        utc.second(),
        utc.year(),
        utc.month(),
        utc.day()
    )
}

fn set_date_and_time(device: &Device, call: &Call) -> SoapOutcome {
    let Some(kind) = call.field("SetSystemDateAndTime/DateTimeType") else {
        return SoapOutcome::Fault("ter:InvalidArgVal", "DateTimeType is missing.".into());
    };
    if kind == "Manual" {
        let Some(told) = told_time(call) else {
            return SoapOutcome::Fault("ter:InvalidDateTime", "UTCDateTime is missing or no time.".into());
        };
        device.state().clock_ahead = told.duration_since(Timestamp::now()).as_secs();
    }
    set(device, DATE_TIME_TYPE, kind)
}

fn told_time(call: &Call) -> Option<Timestamp> {
    let number = |end: &str| call.field(end).and_then(|t| t.parse::<i16>().ok());
    let small = |end: &str| number(end).and_then(|n| i8::try_from(n).ok());
    let date = (number("Date/Year")?, small("Date/Month")?, small("Date/Day")?);
    let time = (small("Time/Hour")?, small("Time/Minute")?, small("Time/Second")?);
    let civil = DateTime::new(date.0, date.1, date.2, time.0, time.1, time.2, 0).ok()?;
    civil.to_zoned(TimeZone::UTC).ok().map(|z| z.timestamp())
}

/// Takes the image; once it is whole, the camera writes it and starts again by itself.
async fn upload(device: &Arc<Device>, request: Request<Incoming>) -> HttpAnswer {
    let asks = device.placed.wants_login();
    if asks && !knows_login(request.headers(), DEMO_USERNAME, DEMO_PASSWORD) {
        return problem(StatusCode::UNAUTHORIZED, "Login needed", "Send the login as HTTP Basic.");
    }
    let length =
        request.headers().get(header::CONTENT_LENGTH).and_then(|v| v.to_str().ok()).and_then(|l| l.parse().ok());
    let Some(size) = length.filter(|size| (1..=LARGEST_IMAGE).contains(size)) else {
        return problem(StatusCode::LENGTH_REQUIRED, "No length", "Send the whole image with Content-Length.");
    };
    device.state().upload = None;
    device.expect_image("", size);
    let mut stream = request.into_body();
    while let Some(Ok(frame)) = stream.frame().await {
        let Some(bytes) = frame.data_ref() else { continue };
        match device.receive("", bytes) {
            Receive::More => {}
            Receive::Complete => {
                device.install_and_restart();
                return empty(StatusCode::OK);
            }
            Receive::Bad(why) => return problem(StatusCode::BAD_REQUEST, "Image refused", &why),
            Receive::Lost => break,
        }
    }
    problem(StatusCode::BAD_REQUEST, "Image cut short", "Send the whole image again.")
}

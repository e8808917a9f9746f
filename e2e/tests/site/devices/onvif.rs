//! SOAP to a camera by hand.

use std::net::SocketAddr;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use jiff::{SignedDuration, Timestamp};
use kalong_crds::units::Digest;
use kalong_e2e::site::image::{self, Behaviour};
use kalong_e2e::site::report::{CutPoint, Fault, Power, Switch};
use kalong_e2e::site::{DEMO_PASSWORD, DEMO_USERNAME};

use super::bench::{Reply, basic, bench, http};

const CAMERA: &str = "tb-trad-1-overview";

fn token(created: &str) -> String {
    let nonce = b"sixteen bytes ok";
    let all = [nonce.as_slice(), created.as_bytes(), DEMO_PASSWORD.as_bytes()].concat();
    let digest = ring::digest::digest(&ring::digest::SHA1_FOR_LEGACY_USE_ONLY, &all);
    format!(
        "<wsse:Security xmlns:wsse=\"w\" xmlns:wsu=\"u\"><wsse:UsernameToken><wsse:Username>{DEMO_USERNAME}</wsse:Username>\
         <wsse:Password>{}</wsse:Password><wsse:Nonce>{}</wsse:Nonce><wsu:Created>{created}</wsu:Created>\
         </wsse:UsernameToken></wsse:Security>",
        STANDARD.encode(digest.as_ref()),
        STANDARD.encode(nonce)
    )
}

fn soap(address: SocketAddr, header: &str, body: &str) -> Reply {
    let envelope = format!(
        "<?xml version=\"1.0\"?><s:Envelope xmlns:s=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:d=\"http://www.onvif.org/ver10/device/wsdl\" \
         xmlns:t=\"http://www.onvif.org/ver10/schema\"><s:Header>{header}</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    );
    let kind = "Content-Type: application/soap+xml; charset=utf-8\r\n";
    http(address, "POST /onvif/device_service", kind, envelope.as_bytes()).unwrap()
}

fn call(address: SocketAddr, body: &str) -> Reply {
    soap(address, &token(&Timestamp::now().to_string()), body)
}

fn between<'a>(text: &'a str, start: &str, end: &str) -> &'a str {
    text.split_once(start).and_then(|(_, rest)| rest.split_once(end)).map_or("", |(inner, _)| inner)
}

fn version(address: SocketAddr) -> String {
    let reply = call(address, "<d:GetDeviceInformation/>");
    between(&reply.body, "<tds:FirmwareVersion>", "</tds:FirmwareVersion>").to_owned()
}

fn send_image(address: SocketAddr, image: &[u8]) -> Option<u16> {
    let reply = call(address, "<d:StartFirmwareUpgrade/>");
    assert_eq!(between(&reply.body, "<tds:ExpectedDownTime>", "</tds:ExpectedDownTime>"), "PT3S");
    let uri = between(&reply.body, "<tds:UploadUri>", "</tds:UploadUri>").to_owned();
    let path = uri.strip_prefix(&format!("http://{address}")).unwrap_or_else(|| panic!("{uri}")).to_owned();
    let headers = format!("{}Content-Type: application/octet-stream\r\n", basic());
    http(address, &format!("POST {path}"), &headers, image).map(|r| r.status)
}

#[tokio::test(flavor = "multi_thread")]
async fn camera_says_who_it_is_to_those_who_know_its_login() {
    let bench = bench().await;
    let address = bench.address(CAMERA).await;
    let report = bench.device(CAMERA).await;
    let reply = call(address, "<d:GetDeviceInformation/>");
    assert_eq!(reply.status, 200);
    assert!(reply.head.to_lowercase().contains("application/soap+xml"));
    assert_eq!(between(&reply.body, "<tds:SerialNumber>", "<"), report.serial);
    assert_eq!(between(&reply.body, "<tds:FirmwareVersion>", "<"), "1.4.2");
    assert_eq!(between(&reply.body, "<tds:HardwareId>", "<"), "d1");

    let nobody = soap(address, "", "<d:GetDeviceInformation/>");
    assert_eq!(nobody.status, 401);
    assert!(nobody.body.contains("ter:NotAuthorized"));
    let old = (Timestamp::now() - SignedDuration::from_hours(2)).to_string();
    assert_eq!(soap(address, &token(&old), "<d:GetDeviceInformation/>").status, 401);
    assert_eq!(soap(address, "", "<d:GetSystemDateAndTime/>").status, 200, "the time is for everybody");
    assert_eq!(call(address, "<d:GetTea/>").status, 400);
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_of_a_camera_are_set_by_their_own_operations() {
    let bench = bench().await;
    let address = bench.address(CAMERA).await;
    assert_eq!(between(&call(address, "<d:GetNTP/>").body, "<tt:FromDHCP>", "<"), "false");
    let set = "<d:SetNTP><d:FromDHCP>false</d:FromDHCP><d:NTPManual><t:Type>IPv4</t:Type>\
               <t:IPv4Address>192.0.2.123</t:IPv4Address></d:NTPManual></d:SetNTP>";
    assert_eq!(call(address, set).status, 200);
    assert_eq!(between(&call(address, "<d:GetNTP/>").body, "<tt:IPv4Address>", "<"), "192.0.2.123");
    let set = "<d:SetSystemDateAndTime><d:DateTimeType>NTP</d:DateTimeType><d:DaylightSavings>false</d:DaylightSavings></d:SetSystemDateAndTime>";
    assert_eq!(call(address, set).status, 200);
    let time = soap(address, "", "<d:GetSystemDateAndTime/>");
    assert_eq!(between(&time.body, "<tt:DateTimeType>", "<"), "NTP");
    assert_eq!(call(address, "<d:SetHostname><d:Name>gate</d:Name></d:SetHostname>").status, 200);
    assert_eq!(between(&call(address, "<d:GetHostname/>").body, "<tt:Name>", "<"), "gate");

    let report = bench.device(CAMERA).await;
    assert_eq!(report.settings["ntpServer"], "192.0.2.123".into());
    assert_eq!(report.settings["dateTimeType"], "NTP".into());
    assert_eq!(report.counts.writes, 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn clock_that_was_stepped_is_shown_and_believed_by_the_login() {
    let bench = bench().await;
    let address = bench.address(CAMERA).await;
    bench.control.fault(CAMERA, Fault::ClockStep { seconds: 3600 }, Switch::On).await.unwrap();
    assert_eq!(call(address, "<d:GetDeviceInformation/>").status, 401, "the token is an hour old to the camera");
    let there = Timestamp::now() + SignedDuration::from_hours(1);
    assert_eq!(soap(address, &token(&there.to_string()), "<d:GetDeviceInformation/>").status, 200);
    let shown = soap(address, "", "<d:GetSystemDateAndTime/>");
    let hour = there.to_zoned(jiff::tz::TimeZone::UTC).hour().to_string();
    assert_eq!(between(&shown.body, "<tt:Hour>", "<"), hour);
    assert_eq!(bench.device(CAMERA).await.health, ["ClockSkew"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn camera_takes_an_image_restarts_and_runs_it() {
    let bench = bench().await;
    let address = bench.address(CAMERA).await;
    let before = bench.device(CAMERA).await;
    let image = image::build("dome-camera", "1.5.0", &[], 300 * 1024);
    assert_eq!(send_image(address, &image), Some(200));
    let after = bench.until(CAMERA, |d| d.version == "1.5.0" && d.power == Power::On).await;
    assert_eq!(after.digest, Some(Digest::of(&image)));
    assert_eq!(after.boot_count, before.boot_count + 1);
    let counts = after.counts.since(&before.counts);
    assert_eq!((counts.uploads, counts.installs, counts.reboots, counts.writes), (1, 1, 1, 0));
    assert_eq!(version(address), "1.5.0");
    assert_eq!(after.settings, before.settings, "settings survive");
}

#[tokio::test(flavor = "multi_thread")]
async fn image_that_is_no_good_shows_as_it_says() {
    let bench = bench().await;
    let address = bench.address(CAMERA).await;
    let other = image::build("plate-camera", "9.9.9", &[], 4096);
    assert_eq!(send_image(address, &other), Some(400), "for another model");
    assert_eq!(send_image(address, &[7; 4096]), Some(400), "no image at all");

    let flash = image::build("dome-camera", "1.6.0", &[Behaviour::FlashError], 4096);
    assert_eq!(send_image(address, &flash), Some(200));
    let same = bench.until(CAMERA, |d| d.counts.reboots == 1 && d.power == Power::On).await;
    assert_eq!((same.version.as_str(), same.counts.installs), ("1.4.2", 0));

    let wrong = image::build("dome-camera", "1.7.0", &[Behaviour::ReportsWrongVersion], 4096);
    assert_eq!(send_image(address, &wrong), Some(200));
    bench.until(CAMERA, |d| d.counts.reboots == 2 && d.power == Power::On).await;
    assert_eq!(version(address), "1.7.0-wrong");
}

#[tokio::test(flavor = "multi_thread")]
async fn power_cut_while_a_camera_writes_leaves_a_loader_that_takes_a_new_image() {
    let bench = bench().await;
    let address = bench.address(CAMERA).await;
    let image = image::build("dome-camera", "1.5.0", &[], 8192);
    bench.control.fault(CAMERA, Fault::PowerCutAt { point: CutPoint::Install }, Switch::On).await.unwrap();
    assert_eq!(send_image(address, &image), Some(200));
    let dead = bench.until(CAMERA, |d| d.counts.reboots == 1 && d.power == Power::On).await;
    assert_eq!((dead.version.as_str(), dead.digest), ("0.0.0-recovery", None));
    assert_eq!(send_image(address, &image), Some(200));
    bench.until(CAMERA, |d| d.version == "1.5.0" && d.power == Power::On).await;
}

//! The generic HTTP device: the published contract (docs/device-contract/openapi.yaml), as a vendor would implement it.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{HeaderMap, Method, Request, StatusCode, header};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use kalong_crds::device_model::UpdateSlots;
use kalong_crds::units::{Digest, Value};
use kalong_crds::well_known;
use serde::Deserialize;
use serde_json::json;

use super::device::{Device, DeviceRefusal};
use super::firmware::{Install, LARGEST_IMAGE, Receive, TestResult};
use super::http::{HttpAnswer, body, empty, json, knows_login, problem};
use super::power::Cut;
use super::slots::Switched;
use crate::site::{DEMO_PASSWORD, DEMO_USERNAME};

const PREFIX: &str = "/kalong/v1";

pub(super) async fn answer(device: Arc<Device>, request: Request<Incoming>) -> HttpAnswer {
    device.answer_when_able().await;
    let asks = device.placed.wants_login();
    if asks && !knows_login(request.headers(), DEMO_USERNAME, DEMO_PASSWORD) {
        return problem(StatusCode::UNAUTHORIZED, "Login needed", "The user name or the password is missing or wrong.");
    }
    let path = request.uri().path().to_owned();
    let Some(path) = path.strip_prefix(PREFIX) else { return not_found() };
    if let Some(hex) = path.strip_prefix("/images/") {
        return images(&device, hex, request).await;
    }
    let method = request.method().clone();
    match (&method, path) {
        (&Method::GET, "/identity") => identity(&device),
        (&Method::GET, "/properties") => properties(&device),
        (&Method::PUT, "/properties") => set(&device, request).await,
        (&Method::GET, "/health") => {
            let codes = device.health(&device.state());
            json(StatusCode::OK, &json!({ "codes": codes }))
        }
        (&Method::GET, "/interlocks") => interlocks(&device),
        (&Method::GET, "/slots") => slots(&device),
        (&Method::POST, "/install") => install(&device, request).await,
        (&Method::POST, "/activate") => activate(&device, request).await,
        (&Method::POST, "/self-test") => self_test(&device),
        (&Method::POST, "/commit") => match device.commit() {
            Cut::No => empty(StatusCode::NO_CONTENT),
            Cut::Yes => problem(StatusCode::SERVICE_UNAVAILABLE, "Power lost", "The device starts again."),
        },
        (&Method::POST, "/rollback") => match device.roll_back() {
            Switched::Restart | Switched::Already => empty(StatusCode::ACCEPTED),
            Switched::Impossible => conflict("This device has one slot and no image before: send it as a new one."),
        },
        _ => not_found(),
    }
}

fn not_found() -> HttpAnswer {
    problem(StatusCode::NOT_FOUND, "No such path", "The device has no such path: see the device contract.")
}

fn conflict(detail: &str) -> HttpAnswer {
    problem(StatusCode::CONFLICT, "Not now", detail)
}

fn identity(device: &Device) -> HttpAnswer {
    let state = device.state();
    let running = &state.slots.running;
    let value = json!({
        "contract": "v1",
        "serial": device.serial,
        "hardwareRevision": device.model().hardware(),
        "version": running.version,
        "digest": running.digest,
        "bootCount": state.boot_count,
    });
    json(StatusCode::OK, &value)
}

fn properties(device: &Device) -> HttpAnswer {
    let state = device.state();
    let value = |name: &String| device.property(&state, name).map(|v| (name.clone(), v));
    let values: BTreeMap<String, Value> =
        device.model().spec.properties.iter().filter_map(|p| value(&p.name)).collect();
    // Told along with the values, the codes cost the box no question of their own.
    let mut shown = json!(values);
    if let Some(all) = shown.as_object_mut() {
        all.insert("healthCodes".into(), json!(device.health(&state)));
    }
    json(StatusCode::OK, &shown)
}

async fn set(device: &Device, request: Request<Incoming>) -> HttpAnswer {
    let sent = body(request).await.and_then(|b| serde_json::from_slice::<BTreeMap<String, Value>>(&b).ok());
    let Some(values) = sent else {
        return problem(StatusCode::UNPROCESSABLE_ENTITY, "Not settings", "Send an object of whole numbers and texts.");
    };
    match device.set(&values) {
        Ok(()) => empty(StatusCode::NO_CONTENT),
        Err(DeviceRefusal::NotSettable(why)) => problem(StatusCode::UNPROCESSABLE_ENTITY, "Not a setting", &why),
        Err(DeviceRefusal::BadValue(why)) => problem(StatusCode::UNPROCESSABLE_ENTITY, "Value out of bounds", &why),
    }
}

fn interlocks(device: &Device) -> HttpAnswer {
    let Some(interlock) = device.model().interlock() else { return not_found() };
    let name = interlock.name.as_str();
    let shown = device.property(&device.state(), name);
    json(StatusCode::OK, &BTreeMap::from([(name, shown)]))
}

fn slots(device: &Device) -> HttpAnswer {
    let state = device.state();
    let value = json!({
        "running": state.slots.running.digest,
        "written": state.slots.other.as_ref().and_then(|o| o.digest.as_ref()),
        "committed": state.slots.committed,
    });
    json(StatusCode::OK, &value)
}

#[derive(Deserialize)]
struct ImageName {
    digest: Digest,
}

async fn named(request: Request<Incoming>) -> Option<Digest> {
    serde_json::from_slice::<ImageName>(&body(request).await?).ok().map(|i| i.digest)
}

fn no_digest() -> HttpAnswer {
    problem(StatusCode::UNPROCESSABLE_ENTITY, "No digest", "Name the image as {\"digest\": \"sha256:...\"}.")
}

async fn install(device: &Arc<Device>, request: Request<Incoming>) -> HttpAnswer {
    let Some(digest) = named(request).await else { return no_digest() };
    if device.model().spec.update.slots == UpdateSlots::External {
        return conflict("This device is updated with its maker's tool.");
    }
    match device.install(&digest) {
        Install::Written => empty(StatusCode::OK),
        Install::Writing => empty(StatusCode::ACCEPTED),
        Install::Refused(why) => conflict(&why),
        Install::Failed(why) => problem(StatusCode::INTERNAL_SERVER_ERROR, "Writing failed", &why),
    }
}

async fn activate(device: &Arc<Device>, request: Request<Incoming>) -> HttpAnswer {
    let Some(digest) = named(request).await else { return no_digest() };
    match device.activate(&digest) {
        Switched::Restart | Switched::Already => empty(StatusCode::ACCEPTED),
        Switched::Impossible => conflict("This image is not written: install it first."),
    }
}

fn self_test(device: &Device) -> HttpAnswer {
    if device.declared(well_known::SELF_TEST).is_none() && !offers_test(device) {
        return not_found();
    }
    let value = match device.self_test() {
        TestResult::Running => json!({ "result": "Running" }),
        TestResult::Passed => json!({ "result": "Passed" }),
        TestResult::Failed(detail) => json!({ "result": "Failed", "detail": detail }),
    };
    json(StatusCode::OK, &value)
}

fn offers_test(device: &Device) -> bool {
    device.model().offers_self_test()
}

async fn images(device: &Arc<Device>, hex: &str, request: Request<Incoming>) -> HttpAnswer {
    let Ok(digest) = format!("sha256:{hex}").parse::<Digest>() else { return not_found() };
    match *request.method() {
        Method::GET => json(StatusCode::OK, &held(device, &digest)),
        Method::PUT => put_image(device, &digest, request).await,
        _ => not_found(),
    }
}

/// How much of an image the device holds.
fn held(device: &Device, digest: &Digest) -> serde_json::Value {
    let state = device.state();
    if let Some(upload) = state.upload.as_ref().filter(|u| u.hex == digest.hex()) {
        let complete = upload.complete.is_some();
        let received = if complete { upload.size } else { upload.bytes.len() };
        return json!({ "received": received, "size": upload.size, "complete": complete });
    }
    let slots = [Some(&state.slots.running), state.slots.other.as_ref()];
    match slots.into_iter().flatten().find(|i| i.digest.as_ref() == Some(digest)) {
        Some(image) => json!({ "received": image.size, "size": image.size, "complete": true }),
        None => json!({ "received": 0, "size": null, "complete": false }),
    }
}

/// First byte and whole size that a request announces; an answer where it announces nothing that can be used.
fn announced(headers: &HeaderMap) -> Result<(usize, usize), Box<HttpAnswer>> {
    let text = |name: header::HeaderName| headers.get(name).and_then(|v| v.to_str().ok());
    let refused = |status, title, detail: &str| Box::new(problem(status, title, detail));
    let bad =
        || refused(StatusCode::BAD_REQUEST, "No length", "Send Content-Length, or Content-Range as in the contract.");
    let range = match text(header::CONTENT_RANGE) {
        None => text(header::CONTENT_LENGTH).and_then(|l| l.parse().ok()).map(|size| (0, size)),
        Some(range) => range.strip_prefix("bytes ").and_then(|r| {
            let (span, size) = r.split_once('/')?;
            let (first, last) = span.split_once('-')?;
            let (first, last, size): (usize, usize, usize) =
                (first.parse().ok()?, last.parse().ok()?, size.parse().ok()?);
            (first <= last && last + 1 == size).then_some((first, size))
        }),
    };
    let (first, size) = range.ok_or_else(bad)?;
    if size > LARGEST_IMAGE {
        let detail = format!("The device takes images of at most {LARGEST_IMAGE} bytes.");
        return Err(refused(StatusCode::PAYLOAD_TOO_LARGE, "Image too large", &detail));
    }
    if size == 0 { Err(bad()) } else { Ok((first, size)) }
}

async fn put_image(device: &Arc<Device>, digest: &Digest, request: Request<Incoming>) -> HttpAnswer {
    let have = held(device, digest);
    if have.get("complete") == Some(&json!(true)) {
        return json(StatusCode::OK, &have);
    }
    let (first, size) = match announced(request.headers()) {
        Ok(announced) => announced,
        Err(answer) => return *answer,
    };
    let received = have.get("received").and_then(serde_json::Value::as_u64).unwrap_or_default();
    if first == 0 {
        device.state().upload = None;
    } else if u64::try_from(first).ok() != Some(received) {
        return conflict(&format!("The device holds {received} bytes: go on from there."));
    }
    device.expect_image(digest.hex(), size);
    let mut stream = request.into_body();
    while let Some(frame) = stream.frame().await {
        let Ok(frame) = frame else { break };
        let Some(bytes) = frame.data_ref() else { continue };
        match device.receive(digest.hex(), bytes) {
            Receive::More => {}
            Receive::Complete => return json(StatusCode::OK, &held(device, digest)),
            Receive::Bad(why) => return problem(StatusCode::UNPROCESSABLE_ENTITY, "Image refused", &why),
            Receive::Lost => return conflict("The upload was given up: ask how much is held and send the rest."),
        }
    }
    problem(StatusCode::BAD_REQUEST, "Image cut short", "Fewer bytes came than were announced: send the rest.")
}

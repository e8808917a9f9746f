//! The simulator's control port: JSON over HTTP on loopback, for the demo's checks and for making trouble.

use std::collections::BTreeMap;
use std::sync::Arc;

use http::{Method, Request, StatusCode};
use hyper::body::Incoming;
use kalong_crds::units::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::net::TcpListener;

use super::device::Device;
use super::http::{Answer, body, json, serve as serve_http};
use crate::site::report::{Counts, DeviceReport, FaultOrder, HealthOrder, HealthOrders, Load, OccupancyOrder, Refused};

/// The devices of the site by name.
pub(super) type Devices = BTreeMap<String, Arc<Device>>;

/// Answers for as long as the simulator runs.
pub(super) async fn serve(listener: TcpListener, devices: Arc<Devices>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let devices = Arc::clone(&devices);
            tokio::spawn(serve_http(stream, move |request| answer(Arc::clone(&devices), request)));
        }
    }
}

fn refuse(status: StatusCode, error: impl Into<String>) -> Answer {
    json(status, &Refused { error: error.into() })
}

fn unknown_path() -> Answer {
    refuse(
        StatusCode::NOT_FOUND,
        "no such path: use /devices, /devices/{name}[/faults|/health|/occupancy|/load|/settings|/service], /health or /counts",
    )
}

async fn answer(devices: Arc<Devices>, request: Request<Incoming>) -> Answer {
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["devices"]) => ok(&devices.values().map(|d| d.report()).collect::<Vec<DeviceReport>>()),
        (&Method::GET, ["counts"]) => {
            ok(&devices.values().fold(Counts::default(), |sum, d| sum.plus(&d.state().counts)))
        }
        (&Method::POST, ["health"]) => all_health(&devices, request).await,
        (method, ["devices", name, rest @ ..]) => match devices.get(*name) {
            None => refuse(StatusCode::NOT_FOUND, format!("no device is named `{name}`: see /devices")),
            Some(device) => match (method, rest) {
                (&Method::GET, []) => ok(&device.report()),
                (&Method::POST, [what]) => order(device, what, request).await,
                _ => unknown_path(),
            },
        },
        _ => unknown_path(),
    }
}

fn ok(value: &impl Serialize) -> Answer {
    json(StatusCode::OK, value)
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, String> {
    let bytes = body(request).await.ok_or("the body is missing or too long")?;
    serde_json::from_slice(&bytes).map_err(|e| format!("the body is not understood: {e}"))
}

async fn all_health(devices: &Devices, request: Request<Incoming>) -> Answer {
    let orders = match read::<HealthOrders>(request).await {
        Ok(orders) => orders,
        Err(why) => return refuse(StatusCode::BAD_REQUEST, why),
    };
    for (name, codes) in &orders {
        let done = match devices.get(name) {
            Some(device) => device.set_health(codes),
            None => Err(format!("no device is named `{name}`: see /devices")),
        };
        if let Err(why) = done {
            return refuse(StatusCode::UNPROCESSABLE_ENTITY, why);
        }
    }
    ok(&orders.len())
}

async fn order(device: &Arc<Device>, what: &str, request: Request<Incoming>) -> Answer {
    let done = match what {
        "faults" => read::<FaultOrder>(request).await.and_then(|order| device.fault(order)),
        "health" => read::<HealthOrder>(request).await.and_then(|order| device.set_health(&order.codes)),
        "occupancy" => read::<OccupancyOrder>(request).await.map(|order| device.state().occupancy = order.count.max(0)),
        "load" => read::<Load>(request).await.map(|load| device.state().load = load),
        "settings" => read::<BTreeMap<String, Value>>(request).await.map(|values| device.tamper(values)),
        "service" => {
            device.service();
            Ok(())
        }
        _ => return unknown_path(),
    };
    match done {
        Ok(()) => ok(&device.report()),
        Err(why) => refuse(StatusCode::UNPROCESSABLE_ENTITY, why),
    }
}

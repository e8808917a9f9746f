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
use super::http::{HttpAnswer, body, json, serve as serve_http};
use super::lane::GuardKind;
use super::peer::CounterpartGateway;
use super::traffic::SiteTraffic;
use crate::site::fleet::Fleet;
use crate::site::report::{
    ControlRefusal, Counts, DeviceSnapshot, FaultOrder, GuardOrder, HealthOrder, HealthOrders, Load, OccupancyOrder,
    PeerOrder, VehicleOrdered, YardOrder,
};
use crate::site::traffic::TrafficOrder;

/// The devices of the site by name.
pub(super) type Devices = BTreeMap<String, Arc<Device>>;

/// Everything that can be looked at and ordered.
#[derive(Debug)]
pub(super) struct ControlledSite {
    pub devices: Devices,
    pub traffic: Arc<SiteTraffic>,
    pub fleet: Fleet,
    pub peer: Arc<CounterpartGateway>,
}

/// The yard has its own clock while nothing passes the lanes.
const YARD_FASTEST: u32 = 100;

/// Answers for as long as the simulator runs.
pub(super) async fn serve(listener: TcpListener, site: Arc<ControlledSite>) {
    loop {
        if let Ok((stream, _)) = listener.accept().await {
            let site = Arc::clone(&site);
            tokio::spawn(serve_http(stream, move |request| answer(Arc::clone(&site), request)));
        }
    }
}

fn refuse(status: StatusCode, error: impl Into<String>) -> HttpAnswer {
    json(status, &ControlRefusal { error: error.into() })
}

fn unknown_path() -> HttpAnswer {
    refuse(
        StatusCode::NOT_FOUND,
        "no such path: use /devices, /devices/{name}[/faults|/health|/occupancy|/load|/settings|/service|/interlock|/seal], /health, \
         /counts, /traffic[/start|/stop], /vehicles[/{serial}], /yard or /peer",
    )
}

async fn answer(site: Arc<ControlledSite>, request: Request<Incoming>) -> HttpAnswer {
    let devices = &site.devices;
    let path = request.uri().path().to_owned();
    let parts: Vec<&str> = path.split('/').filter(|p| !p.is_empty()).collect();
    match (request.method(), parts.as_slice()) {
        (&Method::GET, ["devices"]) => ok(&devices.values().map(|d| d.report()).collect::<Vec<DeviceSnapshot>>()),
        (&Method::GET, ["counts"]) => {
            ok(&devices.values().fold(Counts::default(), |sum, d| sum.plus(&d.state().counts)))
        }
        (&Method::POST, ["health"]) => all_health(devices, request).await,
        (method, ["devices", name, rest @ ..]) => match devices.get(*name) {
            None => refuse(StatusCode::NOT_FOUND, format!("no device is named `{name}`: see /devices")),
            Some(device) => match (method, rest) {
                (&Method::GET, []) => ok(&device.report()),
                (&Method::POST, [what]) => order(device, what, request).await,
                _ => unknown_path(),
            },
        },
        (_, ["traffic" | "vehicles" | "yard" | "peer", ..]) => around(&site, &parts, request).await,
        _ => unknown_path(),
    }
}

/// What is no device: traffic, vehicles, the other side.
async fn around(site: &ControlledSite, parts: &[&str], request: Request<Incoming>) -> HttpAnswer {
    let done = match (request.method(), parts) {
        (&Method::GET, ["traffic"]) => Ok(ok(&site.traffic.report())),
        (&Method::POST, ["traffic", "start"]) => read::<TrafficOrder>(request).await.and_then(|order| {
            site.traffic.start(order)?;
            site.fleet.clock(order.speed);
            Ok(ok(&site.traffic.report()))
        }),
        (&Method::POST, ["traffic", "stop"]) => {
            site.traffic.stop();
            site.fleet.clock(0);
            Ok(ok(&site.traffic.report()))
        }
        (&Method::GET, ["vehicles"]) => Ok(ok(&site.fleet.report())),
        (&Method::POST, ["vehicles", serial]) => read::<VehicleOrdered>(request).await.and_then(|ordered| {
            let done = site.fleet.order(serial, ordered.order);
            done.map(|report| ok(&report))
                .ok_or_else(|| format!("no vehicle has the serial number `{serial}`: see /vehicles"))
        }),
        (&Method::POST, ["yard"]) => read::<YardOrder>(request).await.and_then(|order| {
            if order.speed > YARD_FASTEST {
                return Err(format!("speed {} is not possible: 0 to {YARD_FASTEST}", order.speed));
            }
            site.fleet.clock(order.speed);
            Ok(ok(&site.fleet.report()))
        }),
        (&Method::GET, ["peer"]) => Ok(ok(&site.peer.report())),
        (&Method::POST, ["peer"]) => read::<PeerOrder>(request).await.map(|order| {
            site.peer.order(order);
            ok(&site.peer.report())
        }),
        _ => return unknown_path(),
    };
    done.unwrap_or_else(|why| refuse(StatusCode::UNPROCESSABLE_ENTITY, why))
}

fn ok(value: &impl Serialize) -> HttpAnswer {
    json(StatusCode::OK, value)
}

async fn read<T: DeserializeOwned>(request: Request<Incoming>) -> Result<T, String> {
    let bytes = body(request).await.ok_or("the body is missing or too long")?;
    serde_json::from_slice(&bytes).map_err(|e| format!("the body is not understood: {e}"))
}

async fn all_health(devices: &Devices, request: Request<Incoming>) -> HttpAnswer {
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

async fn order(device: &Arc<Device>, what: &str, request: Request<Incoming>) -> HttpAnswer {
    let done = match what {
        "faults" => read::<FaultOrder>(request).await.and_then(|order| device.fault(order)),
        "health" => read::<HealthOrder>(request).await.and_then(|order| device.set_health(&order.codes)),
        "occupancy" => read::<OccupancyOrder>(request).await.map(|order| {
            let mut state = device.state();
            state.occupancy = order.count.max(0);
            device.show_lane(&state);
        }),
        "interlock" => {
            read::<GuardOrder>(request).await.and_then(|order| device.guard(GuardKind::Interlock, order.state))
        }
        "seal" => read::<GuardOrder>(request).await.and_then(|order| device.guard(GuardKind::Seal, order.state)),
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

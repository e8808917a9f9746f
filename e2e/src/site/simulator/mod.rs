//! The simulated site: one process, every device on its own loopback address in its own protocol.
//!
//! It is a peer of the edge agent and shares no protocol code with it: [`modbus`], [`toledo`], [`onvif`] and [`generic`] are
//! written from the standards and from `docs/device-contract`. [`device`], [`slots`], [`firmware`] and [`power`] are what a device is
//! whatever it speaks, [`lane`] what it is for its lane; [`traffic`] lets lanes be passed, [`lane_log`] is where lanes write down what happens, [`peer`] is the gateway of the
//! other country; [`control`] is how tests look at it and make trouble.

mod control;
mod device;
mod firmware;
mod generic;
mod http;
mod lane;
mod lane_log;
mod listen;
mod modbus;
mod onvif;
mod passage_counts;
mod peer;
mod power;
mod slots;
mod soap;
mod toledo;
mod traffic;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;

use kube::ResourceExt;
use thiserror::Error;
use tokio::net::TcpListener;

use super::fleet::Fleet;
use super::layout::{Layout, LayoutError};
use super::report::ReadyLine;
use control::ControlledSite;
use device::Device;
use lane_log::LaneLog;
use peer::CounterpartGateway;
use traffic::SiteTraffic;

/// What is simulated, and where.
#[derive(Clone, Debug)]
pub struct Simulation {
    pub layout: Layout,
    /// Second number of the devices' loopback addresses.
    pub network: u8,
    /// Where the control port listens; port 0 takes a free one.
    pub control: SocketAddr,
}

/// Why there is no simulated site.
#[derive(Debug, Error)]
pub enum SimulationError {
    #[error(transparent)]
    Layout(#[from] LayoutError),
    /// An address is not to be had.
    #[error(
        "{what} cannot listen on {address}: {source}. End what listens there, or take another network with --network"
    )]
    Bind {
        /// The device, or the control port.
        what: String,
        address: SocketAddr,
        source: std::io::Error,
    },
}

/// A site whose devices all listen.
#[derive(Debug)]
pub struct RunningSite {
    /// What to print for whoever started the process.
    pub ready: ReadyLine,
    tasks: tokio::task::JoinSet<()>,
}

/// Binds every device and the control port, then serves them until the answer is dropped.
///
/// # Errors
/// An address is taken, or the plan does not fit.
pub async fn start(simulation: Simulation) -> Result<RunningSite, SimulationError> {
    let Simulation { layout, network, control } = simulation;
    let lane_logs: BTreeMap<String, Arc<LaneLog>> =
        layout.objects.lanes.iter().map(|lane| (lane.name_any(), Arc::new(LaneLog::new()))).collect();
    let mut bound = Vec::new();
    for placed in &layout.devices {
        let lane_log = placed.slot.as_ref().and_then(|slot| lane_logs.get(&slot.lane)).cloned();
        let device = Device::new(placed, network, &layout.facts, lane_log);
        let listener = bind(&device.placed.name, device.endpoint.into()).await?;
        bound.push((device, listener));
    }
    let control_port = bind("the control port", control).await?;
    let address = control_port.local_addr().unwrap_or(control);
    let ready = ReadyLine { control: address.to_string(), devices: bound.len() };
    let devices = bound.iter().map(|(d, _)| (d.placed.name.clone(), Arc::clone(d))).collect();
    let site = ControlledSite {
        traffic: Arc::new(SiteTraffic::new(&layout, &devices)),
        devices,
        fleet: Fleet::new(&layout.objects.vehicles, &layout.facts.switched_off),
        peer: Arc::new(CounterpartGateway::default()),
    };
    let mut tasks = tokio::task::JoinSet::new();
    if let Some(endpoint) = layout.broker_endpoint(network)? {
        let broker = bind("the fleet's broker", endpoint.into()).await?;
        for task in site.fleet.tasks(broker) {
            tasks.spawn(task);
        }
    }
    if let Some(endpoint) = layout.peer_endpoint(network)? {
        let peer = bind("the other country's gateway", endpoint.into()).await?;
        tasks.spawn(Arc::clone(&site.peer).serve(peer));
    }
    for (device, listener) in bound {
        tasks.spawn(listen::serve(device, listener));
    }
    tasks.spawn(Arc::clone(&site.traffic).flow());
    tasks.spawn(control::serve(control_port, Arc::new(site)));
    Ok(RunningSite { ready, tasks })
}

impl RunningSite {
    /// Serves until the end of the process.
    pub async fn serve(mut self) {
        while self.tasks.join_next().await.is_some() {}
    }
}

async fn bind(what: &str, address: SocketAddr) -> Result<TcpListener, SimulationError> {
    let failed = |source| SimulationError::Bind { what: what.to_owned(), address, source };
    TcpListener::bind(address).await.map_err(failed)
}

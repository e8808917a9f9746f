//! A typed client of the simulator's control port.

use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::time::Duration;

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use kalong_crds::units::Value;
use serde::Serialize;
use serde::de::DeserializeOwned;
use thiserror::Error;
use tokio::net::TcpStream;
use tokio::time::timeout;

use super::report::{
    ControlRefusal, Counts, DeviceSnapshot, Fault, FaultOrder, GuardOrder, HealthOrder, HealthOrders, InterlockState,
    Load, OccupancyOrder, PeerOrder, PeerReport, Switch, VehicleOrder, VehicleOrdered, VehicleReport, YardOrder,
};
use super::traffic::{TrafficOrder, TrafficReport};

/// The simulator answers at once; a machine under full load may take longer.
const CALL_WITHIN: Duration = Duration::from_secs(10);

/// Why the control port did not do it.
#[derive(Debug, Error)]
pub enum ControlError {
    #[error("the simulated site does not answer at {0}: its process is gone, see its last words")]
    Unreachable(SocketAddr, #[source] Box<dyn std::error::Error + Send + Sync>),
    #[error("the simulated site did not answer within {} s", CALL_WITHIN.as_secs())]
    Timeout,
    #[error("the simulated site refused: {0}")]
    ControlRefusal(String),
    #[error(
        "the simulated site's answer is not understood; run `cargo build -p kalong-e2e --bins`, it may be of another build"
    )]
    Answer(#[source] serde_json::Error),
}

/// The control port of a simulated site.
#[derive(Clone, Copy, Debug)]
pub struct ControlClient {
    address: SocketAddr,
}

impl ControlClient {
    /// The port at this address.
    pub fn new(address: SocketAddr) -> Self {
        Self { address }
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Every device, planned ones included, by name.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn devices(&self) -> Result<Vec<DeviceSnapshot>, ControlError> {
        self.call(Method::GET, "/devices", &()).await
    }

    /// One device.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn device(&self, name: &str) -> Result<DeviceSnapshot, ControlError> {
        self.call(Method::GET, &format!("/devices/{name}"), &()).await
    }

    /// What was done to all devices together.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn counts(&self) -> Result<Counts, ControlError> {
        self.call(Method::GET, "/counts", &()).await
    }

    /// Puts a fault on a device or takes it off.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn fault(&self, name: &str, fault: Fault, state: Switch) -> Result<DeviceSnapshot, ControlError> {
        self.order(name, "faults", &FaultOrder { fault, state }).await
    }

    /// Makes exactly these health codes of a device active.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn health(&self, name: &str, codes: &[&str]) -> Result<DeviceSnapshot, ControlError> {
        let codes = codes.iter().map(|c| (*c).to_owned()).collect();
        self.order(name, "health", &HealthOrder { codes }).await
    }

    /// The same for many devices at once.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn health_of_many(&self, orders: &HealthOrders) -> Result<usize, ControlError> {
        self.call(Method::POST, "/health", orders).await
    }

    /// Says how many are inside the lane that a device runs.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn occupancy(&self, name: &str, count: i64) -> Result<DeviceSnapshot, ControlError> {
        self.order(name, "occupancy", &OccupancyOrder { count }).await
    }

    /// Puts a load on a weighbridge.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn load(&self, name: &str, load: Load) -> Result<DeviceSnapshot, ControlError> {
        self.order(name, "load", &load).await
    }

    /// Changes settings on the device itself, as a technician with a screwdriver would; no write is counted.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn tamper(&self, name: &str, settings: &BTreeMap<String, Value>) -> Result<DeviceSnapshot, ControlError> {
        self.order(name, "settings", settings).await
    }

    /// A technician puts the factory image back, takes every fault away and starts the device.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn service(&self, name: &str) -> Result<DeviceSnapshot, ControlError> {
        self.order(name, "service", &()).await
    }

    /// Opens the interlock of a device, or makes it safe again.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn interlock(&self, name: &str, state: InterlockState) -> Result<DeviceSnapshot, ControlError> {
        self.order(name, "interlock", &GuardOrder { state }).await
    }

    /// Breaks the seal of a device, or puts a new one on.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn seal(&self, name: &str, state: InterlockState) -> Result<DeviceSnapshot, ControlError> {
        self.order(name, "seal", &GuardOrder { state }).await
    }

    /// Lets vehicles and people come to every lane, by the list that follows from the seed, so many times faster than real time;
    /// the vehicles of the yard drive with the same clock.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn traffic_start(&self, seed: u64, speed: u32) -> Result<TrafficReport, ControlError> {
        self.call(Method::POST, "/traffic/start", &TrafficOrder { seed, speed }).await
    }

    /// Nobody comes or goes in any more; who is inside leaves. Who waits is told as waiting.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn traffic_stop(&self) -> Result<TrafficReport, ControlError> {
        self.call(Method::POST, "/traffic/stop", &()).await
    }

    /// What every lane's controller says of its traffic.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn traffic_report(&self) -> Result<TrafficReport, ControlError> {
        self.call(Method::GET, "/traffic", &()).await
    }

    /// Every vehicle, by serial number.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn vehicles(&self) -> Result<Vec<VehicleReport>, ControlError> {
        self.call(Method::GET, "/vehicles", &()).await
    }

    /// Serial numbers of the vehicles that are not connected.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn absent_vehicles(&self) -> Result<BTreeSet<String>, ControlError> {
        let vehicles = self.vehicles().await?;
        Ok(vehicles.into_iter().filter(|v| v.power == Switch::Off).map(|v| v.serial).collect())
    }

    /// Does something to one vehicle.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn vehicle(&self, serial: &str, order: VehicleOrder) -> Result<VehicleReport, ControlError> {
        self.call(Method::POST, &format!("/vehicles/{serial}"), &VehicleOrdered { order }).await
    }

    /// Lets the vehicles drive so many times faster than real time; at 0 they come home and park.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn yard(&self, speed: u32) -> Result<Vec<VehicleReport>, ControlError> {
        self.call(Method::POST, "/yard", &YardOrder { speed }).await
    }

    /// What reached the simulated gateway of the other country.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn peer(&self) -> Result<PeerReport, ControlError> {
        self.call(Method::GET, "/peer", &()).await
    }

    /// Connections to the simulated gateway of the other country.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn peer_calls(&self) -> Result<u64, ControlError> {
        Ok(self.peer().await?.connections)
    }

    /// Makes the gateway of the other country behave so.
    ///
    /// # Errors
    /// See [`ControlError`].
    pub async fn peer_behaves(&self, order: PeerOrder) -> Result<PeerReport, ControlError> {
        self.call(Method::POST, "/peer", &order).await
    }

    async fn order(&self, name: &str, what: &str, order: &impl Serialize) -> Result<DeviceSnapshot, ControlError> {
        self.call(Method::POST, &format!("/devices/{name}/{what}"), order).await
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        sent: &impl Serialize,
    ) -> Result<T, ControlError> {
        let sent = serde_json::to_vec(sent).map_err(ControlError::Answer)?;
        let exchange = timeout(CALL_WITHIN, self.exchange(method, path, sent)).await;
        let (status, bytes) =
            exchange.map_err(|_| ControlError::Timeout)?.map_err(|e| ControlError::Unreachable(self.address, e))?;
        if status.is_success() {
            return serde_json::from_slice(&bytes).map_err(ControlError::Answer);
        }
        let refused: ControlRefusal = serde_json::from_slice(&bytes).map_err(ControlError::Answer)?;
        Err(ControlError::ControlRefusal(refused.error))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        sent: Vec<u8>,
    ) -> Result<(StatusCode, Bytes), Box<dyn std::error::Error + Send + Sync>> {
        let stream = TcpStream::connect(self.address).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection);
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, self.address.to_string())
            .body(Full::new(Bytes::from(sent)))?;
        let answer = sender.send_request(request).await?;
        let status = answer.status();
        Ok((status, answer.into_body().collect().await?.to_bytes()))
    }
}

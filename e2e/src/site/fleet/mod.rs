//! The unmanned vehicles of the simulated site: [`yard`] is where they drive, [`broker`] is the MQTT broker of their fleet, written from
//! the standard, and each vehicle speaks VDA 5050 on it. They drive while the yard's clock runs, and park at home when it does not.

pub mod broker;
mod drive;
pub mod factsheet;
pub mod packet;
mod vehicle;
pub mod yard;

use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use tokio::net::TcpListener;

use super::plan::VehiclePlan;
use super::report::{VehicleOrder, VehicleReport};
use broker::MqttBroker;
use vehicle::SimulatedVehicle;

/// First level of the topics.
pub const INTERFACE: &str = "uagv";
/// Manufacturer of every vehicle.
pub const MANUFACTURER: &str = "kalong-sim";
/// Usable energy of a full battery, in watt-hours: 150 km.
pub const BATTERY_WATT_HOURS: i64 = 280_000;

/// All vehicles and their broker.
#[derive(Debug)]
pub(crate) struct Fleet {
    broker: MqttBroker,
    vehicles: Vec<Arc<SimulatedVehicle>>,
}

impl Fleet {
    /// The vehicles of the plan; those that are on at the start are connected.
    pub fn new(plans: &[VehiclePlan]) -> Self {
        let broker = MqttBroker::default();
        let vehicles =
            plans.iter().enumerate().map(|(index, plan)| SimulatedVehicle::new(plan, index, &broker)).collect();
        Self { broker, vehicles }
    }

    /// What has to run for as long as the process does.
    pub fn tasks(&self, listener: TcpListener) -> Vec<BoxFuture<'static, ()>> {
        let lives = self.vehicles.iter().map(|vehicle| Arc::clone(vehicle).live().boxed());
        [self.broker.clone().serve(listener).boxed()].into_iter().chain(lives).collect()
    }

    /// From now on the yard's clock runs so many times faster than real time.
    pub fn clock(&self, speed: u32) {
        self.vehicles.iter().for_each(|vehicle| vehicle.clock(speed));
    }

    pub fn report(&self) -> Vec<VehicleReport> {
        self.vehicles.iter().map(|vehicle| vehicle.report()).collect()
    }

    /// Does something to one vehicle; none where there is none of this serial number.
    pub fn order(&self, serial: &str, order: VehicleOrder) -> Option<VehicleReport> {
        let vehicle = self.vehicles.iter().find(|vehicle| vehicle.serial() == serial)?;
        vehicle.order(order);
        Some(vehicle.report())
    }
}

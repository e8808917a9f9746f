//! The unmanned vehicles of the simulated site: [`yard`] is where they drive, [`broker`] is the MQTT broker of their fleet, and each
//! vehicle speaks VDA 5050 on it. They drive while the yard's clock runs, and park at home when it does not.

pub mod broker;
mod drive;
pub mod factsheet;
mod vehicle;
pub mod yard;

use std::collections::BTreeSet;
use std::sync::Arc;

use futures::FutureExt;
use futures::future::BoxFuture;
use kalong_crds::IGV;
use kube::ResourceExt;
use tokio::net::TcpListener;

use super::report::{VehicleOrder, VehicleReport};
use broker::MqttBroker;
use vehicle::SimulatedVehicle;

/// All vehicles and their broker.
#[derive(Debug)]
pub(crate) struct Fleet {
    broker: MqttBroker,
    vehicles: Vec<Arc<SimulatedVehicle>>,
}

impl Fleet {
    /// These vehicles; those that are not switched off are connected.
    pub fn new(vehicles: &[IGV], switched_off: &BTreeSet<String>) -> Self {
        let broker = MqttBroker::default();
        let vehicle = |(index, declared): (usize, &IGV)| {
            let vehicle = SimulatedVehicle::new(&declared.spec, index, &broker);
            if !switched_off.contains(&declared.name_any()) {
                vehicle.order(VehicleOrder::On);
            }
            Arc::new(vehicle)
        };
        let vehicles = vehicles.iter().enumerate().map(vehicle).collect();
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

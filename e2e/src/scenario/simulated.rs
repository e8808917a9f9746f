//! The simulated devices of a scenario: the process, and what it says of them at its control port.

use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

use super::binaries::{Binaries, Binary};
use super::failure::ScenarioError;
use crate::site::report::{DeviceSnapshot, HealthOrders};
use crate::site::{ControlClient, Preset, SiteOptions, SiteProcess};

/// Second numbers of loopback addresses that a scenario may take; the checked-in manifests have their own.
const FIRST_NETWORK: u8 = 30;
const NETWORKS: u8 = 200;
/// Another scenario on this machine may have the network that we picked.
const ATTEMPTS: usize = 4;

/// A running simulator. Its process ends when it is dropped.
pub struct Simulated {
    site: SiteProcess,
}

impl Simulated {
    /// Starts it on a network of its own.
    ///
    /// # Errors
    /// It does not start.
    pub async fn start(binaries: &Binaries, preset: Preset) -> Result<Self, ScenarioError> {
        let mut attempt = 0;
        loop {
            attempt += 1;
            let options = SiteOptions {
                preset,
                network: pick(attempt),
                binary: Some(binaries.path(Binary::Site)),
                ..SiteOptions::default()
            };
            match SiteProcess::start(options).await {
                Ok(site) => return Ok(Self { site }),
                Err(error) if attempt >= ATTEMPTS => return Err(error.into()),
                Err(_) => {}
            }
        }
    }

    /// Second number of the devices' addresses.
    #[must_use]
    pub fn network(&self) -> u8 {
        self.site.network()
    }

    #[must_use]
    pub fn control(&self) -> ControlClient {
        self.site.control()
    }

    /// Every device by name.
    ///
    /// # Errors
    /// The simulator does not answer.
    pub async fn devices(&self) -> Result<BTreeMap<String, DeviceSnapshot>, ScenarioError> {
        let devices = self.control().devices().await?;
        Ok(devices.into_iter().map(|device| (device.name.clone(), device)).collect())
    }

    /// Makes exactly these health codes active, device by device.
    ///
    /// # Errors
    /// There is no such device, or its model has no such code.
    pub async fn health(&self, orders: &HealthOrders) -> Result<(), ScenarioError> {
        self.control().health_of_many(orders).await?;
        Ok(())
    }

    /// Makes exactly these health codes of one device active.
    ///
    /// # Errors
    /// As [`Simulated::health`].
    pub async fn health_of(&self, device: &str, codes: &[&str]) -> Result<(), ScenarioError> {
        self.control().health(device, codes).await?;
        Ok(())
    }
}

/// The hasher's keys are random: two scenarios that start at once try other networks.
fn pick(attempt: usize) -> u8 {
    let offset = RandomState::new().hash_one(attempt) % u64::from(NETWORKS);
    u8::try_from(offset).map_or(FIRST_NETWORK, |offset| FIRST_NETWORK.saturating_add(offset))
}

//! The rooms to which items are dispatched, a room a kind.

use std::sync::Arc;

use kalong_crds::wire::release::ReleaseKeys;

use crate::context::AgentContext;
use crate::device::{DeviceAccess, DeviceContext};
use crate::firmware::UpdateContext;
use crate::firmware::download::Downloads;
use crate::fleet::Fleet;
use crate::lane::Lanes;
use crate::link::Links;

/// The rooms to which items are dispatched.
#[derive(Debug)]
pub struct Rooms {
    /// The lanes that this box runs.
    pub lanes: Arc<Lanes>,
    /// The unmanned vehicles that are listened to.
    pub fleet: Arc<Fleet>,
    /// The links to the other country.
    pub links: Links,
    /// What the tasks of the devices share.
    pub devices: Arc<DeviceContext>,
}

impl Rooms {
    /// Rooms that hold no items yet, and what they share.
    pub fn new(
        agent: &Arc<AgentContext>,
        downloads: Arc<Downloads>,
        release_keys: ReleaseKeys,
        access: DeviceAccess,
    ) -> Self {
        let lanes = Arc::new(Lanes::new(agent.clone()));
        let updates = UpdateContext { agent: agent.clone(), lanes: lanes.clone(), downloads, release_keys };
        let devices = DeviceContext { agent: agent.clone(), lanes: lanes.clone(), updates: Arc::new(updates), access };
        Self {
            lanes,
            fleet: Arc::new(Fleet::new(agent.clone())),
            links: Links::new(agent.clone()),
            devices: Arc::new(devices),
        }
    }

    /// Gives an object that was recreated its new uid: each room keeps what it knows of it.
    pub(super) fn rename(&self, old: &str, new: &str) {
        self.lanes.rename(old, new);
        self.fleet.rename(old, new);
        self.links.rename(old, new);
    }
}

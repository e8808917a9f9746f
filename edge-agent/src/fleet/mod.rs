//! Unmanned vehicles, heard over VDA 5050 on the fleet's own broker and never spoken to.
//!
//! One session for each broker serves all vehicles that are declared on it. It subscribes their `connection`, `state` and `factsheet` and
//! publishes nothing: the one handle on the session, [`Listener`], has no way to. Position, charge and speed stay here; what goes up is what
//! [`kalong_crds::wire::reported::IgvReport`] has words for, and only when it changed.

mod broker;
mod count;
mod message;
mod vehicle;
mod zone;

#[cfg(test)]
mod tests;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard};

use kalong_crds::condition::Reason;
use kalong_crds::igv::FleetBroker;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::order::IgvOrder;
use kalong_crds::wire::reported::{IgvReport, ItemState, ReportedItem};
use rumqttc::Publish;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::realise::Site;
use crate::store::desired::Held;
use broker::{Address, Listener};
use message::Topic;
use vehicle::{Broker, Vehicle};

/// The vehicles that this box listens to, by the broker on which they speak.
#[derive(Debug, Default)]
pub struct Fleet {
    yards: Mutex<BTreeMap<FleetBroker, Yard>>,
}

/// The vehicles on one broker.
#[derive(Debug)]
struct Yard {
    vehicles: BTreeMap<String, Vehicle>,
    /// The session, while there is one.
    listener: Option<Listener>,
    task: JoinHandle<()>,
}

impl Drop for Yard {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fleet {
    fn lock(&self) -> MutexGuard<'_, BTreeMap<FleetBroker, Yard>> {
        // A poisoned lock means that a task died between two plain assignments; what is inside is still whole.
        self.yards.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Listens to this vehicle from now on, as declared.
    pub fn place(site: &Arc<Site>, held: Arc<Held>) {
        let uid = held.item.uid.clone();
        let known = site.fleet.take_out(&uid);
        let order = match read(&held) {
            Ok(order) => order,
            Err(why) => {
                site.fleet.prune();
                return say(site, &held, Err(why));
            }
        };
        let vehicle = match known {
            Some(mut vehicle) if vehicle.order.vda5050 == order.vda5050 => {
                vehicle.redeclare(held, order);
                vehicle
            }
            _ => Vehicle::new(held, order),
        };
        let mut yards = site.fleet.lock();
        let broker = vehicle.order.broker.clone();
        let yard = yards.entry(broker.clone()).or_insert_with(|| Yard {
            vehicles: BTreeMap::new(),
            listener: None,
            task: tokio::spawn(broker::listen(site.clone(), broker)),
        });
        yard.vehicles.insert(uid.clone(), vehicle);
        if let Some(listener) = &yard.listener {
            listener.tune(yard.filters());
        }
        yard.say(site, [&uid]);
        drop(yards);
        site.fleet.prune();
    }

    /// Listens no more; the vehicle notices nothing.
    pub fn remove(&self, uid: &str) {
        if self.take_out(uid).is_some() {
            self.prune();
        }
    }

    /// A vehicle is declared under another uid; what was heard of it stays.
    pub fn rename(&self, old: &str, new: &str) {
        for yard in self.lock().values_mut() {
            if let Some(vehicle) = yard.vehicles.remove(old) {
                yard.vehicles.insert(new.to_owned(), vehicle);
            }
        }
    }

    fn take_out(&self, uid: &str) -> Option<Vehicle> {
        self.lock().values_mut().find_map(|yard| yard.vehicles.remove(uid))
    }

    /// Gives up what nobody is declared for: topics of a session, and sessions.
    fn prune(&self) {
        let mut yards = self.lock();
        yards.retain(|_, yard| !yard.vehicles.is_empty());
        for yard in yards.values() {
            if let Some(listener) = &yard.listener {
                listener.tune(yard.filters());
            }
        }
    }

    /// The broker is reached: every vehicle's topics are subscribed.
    fn reached(&self, site: &Site, broker: &FleetBroker, listener: Listener) {
        let mut yards = self.lock();
        let Some(yard) = yards.get_mut(broker) else { return };
        listener.tune(yard.filters());
        yard.listener = Some(listener);
        let now = Instant::now();
        yard.vehicles.values_mut().for_each(|vehicle| vehicle.session_begins(now));
        yard.say(site, yard.vehicles.keys());
    }

    /// The broker is not reached any more.
    fn lost(&self, site: &Site, broker: &FleetBroker) {
        let mut yards = self.lock();
        let Some(yard) = yards.get_mut(broker) else { return };
        yard.listener = None;
        yard.say(site, yard.vehicles.keys());
    }

    /// A message came.
    fn hear(&self, site: &Site, broker: &FleetBroker, publish: &Publish) {
        let now = Instant::now();
        let mut yards = self.lock();
        let Some(yard) = yards.get_mut(broker) else { return };
        let mut heard_by = Vec::new();
        for (uid, vehicle) in &mut yard.vehicles {
            let Some(topic) = vehicle.spoken_on(&publish.topic) else { continue };
            // The standard retains no state. Where a vehicle has it retained, it is of any age and must not pass for fresh.
            if topic == Topic::State && publish.retain {
                continue;
            }
            match message::read(topic, &vehicle.order.vda5050, &publish.payload) {
                Ok(heard) => {
                    vehicle.complained = false;
                    vehicle.hear(heard, now);
                    heard_by.push(uid.clone());
                }
                // Once until it is heard again: a vehicle speaks every second.
                Err(why) if !vehicle.complained => {
                    vehicle.complained = true;
                    let name = &vehicle.held.item.name;
                    tracing::warn!(igv = name, category = why.category(), "a vehicle is not heard: {why}");
                }
                Err(_) => {}
            }
        }
        for uid in &heard_by {
            if let Some(vehicle) = yard.vehicles.get(uid).filter(|v| v.held.item.uid == *uid) {
                site.counters.igv_seen(vehicle.counters());
            }
        }
        yard.say(site, &heard_by);
    }

    /// Says again what is true of every vehicle of this broker; gives when the next state stops being fresh.
    fn age(&self, site: &Site, broker: &FleetBroker) -> Option<Instant> {
        let now = Instant::now();
        let yards = self.lock();
        let yard = yards.get(broker)?;
        yard.say(site, yard.vehicles.keys());
        yard.vehicles.values().filter_map(|v| v.stale_at(now)).min()
    }
}

impl Yard {
    fn broker(&self) -> Broker {
        if self.listener.is_some() { Broker::Reached } else { Broker::Lost }
    }

    /// The topics that are listened to: those of declared vehicles, and never a wildcard.
    fn filters(&self) -> BTreeSet<(String, Topic)> {
        self.vehicles.values().flat_map(|v| Topic::ALL.map(|t| (v.topic(t), t))).collect()
    }

    /// Says what is true of these vehicles. The image sends it only where it differs from what was said.
    fn say<'a>(&'a self, site: &Site, uids: impl IntoIterator<Item = &'a String>) {
        let now = Instant::now();
        for (uid, vehicle) in uids.into_iter().filter_map(|uid| Some((uid, self.vehicles.get(uid)?))) {
            // Between being renamed and being placed anew it has no uid that may be reported.
            if vehicle.held.item.uid == *uid {
                say(site, &vehicle.held, Ok(vehicle.report(self.broker(), now)));
            }
        }
    }
}

/// Reads the order of a vehicle, and whether its broker can be asked for at all.
fn read(held: &Held) -> Result<IgvOrder, String> {
    let order: IgvOrder =
        held.item.order().map_err(|error| format!("the order of this vehicle cannot be read: {error}"))?;
    if Address::of(&order.broker).is_none() {
        return Err(format!("`{}` is no host and port: set `broker.endpoint` right", order.broker.endpoint));
    }
    Ok(order)
}

fn say(site: &Site, held: &Held, facts: Result<IgvReport, String>) {
    let item = &held.item;
    if !held.adopted {
        site.image.remove(&item.uid);
        return;
    }
    let (state, applied, reason, message, igv) = match facts {
        Ok(report) => (ItemState::Applied, item.generation, String::new(), String::new(), Some(report)),
        Err(why) => (ItemState::Rejected, 0, Reason::InvalidSpec.to_string(), why, None),
    };
    site.image.set(ReportedItem {
        uid: item.uid.clone(),
        kind: ItemKind::Igv,
        generation: item.generation,
        hash: item.hash.clone(),
        applied,
        state,
        reason,
        message,
        device: None,
        lane: None,
        igv,
        link: None,
    });
}

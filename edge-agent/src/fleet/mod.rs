//! Unmanned vehicles, observed over VDA 5050 on the fleet's own broker and never commanded.
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
use std::sync::Arc;

use kalong_crds::Category;
use kalong_crds::igv::FleetBroker;
use kalong_crds::wire::order::IgvOrder;
use kalong_crds::wire::reported::ReportBody;
use parking_lot::Mutex;
use rumqttc::Publish;
use tokio::task::JoinHandle;
use tokio::time::Instant;

use crate::context::AgentContext;
use crate::store::desired::StoredItem;
use broker::{BrokerAddress, Listener};
use message::Topic;
use vehicle::{BrokerLink, Vehicle};

/// The vehicles that this box observes, by their broker.
#[derive(Debug)]
pub struct Fleet {
    agent: Arc<AgentContext>,
    sessions: Mutex<BTreeMap<FleetBroker, FleetSession>>,
}

/// The vehicles on one broker.
#[derive(Debug)]
struct FleetSession {
    vehicles: BTreeMap<String, Vehicle>,
    /// The session, while there is one.
    listener: Option<Listener>,
    task: JoinHandle<()>,
}

impl Drop for FleetSession {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl Fleet {
    /// A fleet without vehicles; the first one connects to its broker.
    pub fn new(agent: Arc<AgentContext>) -> Self {
        Self { agent, sessions: Mutex::default() }
    }

    /// Observes this vehicle as declared from now on.
    pub fn place(self: &Arc<Self>, stored: Arc<StoredItem>) {
        let uid = stored.item.uid.clone();
        let known = self.take_out(&uid);
        let order = match read(&stored) {
            Ok(order) => order,
            Err(why) => {
                self.prune();
                return self.agent.report_order(&stored, Err(why));
            }
        };
        let vehicle = match known {
            Some(mut vehicle) if vehicle.order.vda5050 == order.vda5050 => {
                vehicle.update(stored, order);
                vehicle
            }
            _ => Vehicle::new(stored, order),
        };
        let mut sessions = self.sessions.lock();
        let broker = vehicle.order.broker.clone();
        let session = sessions.entry(broker.clone()).or_insert_with(|| FleetSession {
            vehicles: BTreeMap::new(),
            listener: None,
            task: tokio::spawn(broker::listen(self.clone(), broker)),
        });
        session.vehicles.insert(uid.clone(), vehicle);
        if let Some(listener) = &session.listener {
            listener.subscribe(session.filters());
        }
        session.report(&self.agent, [&uid]);
        drop(sessions);
        self.prune();
    }

    /// Stops observing a vehicle; it is not contacted.
    pub fn remove(&self, uid: &str) {
        if self.take_out(uid).is_some() {
            self.prune();
        }
    }

    /// Gives a vehicle another uid; what is known of it stays.
    pub fn rename(&self, old: &str, new: &str) {
        for session in self.sessions.lock().values_mut() {
            if let Some(vehicle) = session.vehicles.remove(old) {
                session.vehicles.insert(new.to_owned(), vehicle);
            }
        }
    }

    fn take_out(&self, uid: &str) -> Option<Vehicle> {
        self.sessions.lock().values_mut().find_map(|session| session.vehicles.remove(uid))
    }

    /// Ends subscriptions and sessions that no declared vehicle needs.
    fn prune(&self) {
        let mut sessions = self.sessions.lock();
        sessions.retain(|_, session| !session.vehicles.is_empty());
        for session in sessions.values() {
            if let Some(listener) = &session.listener {
                listener.subscribe(session.filters());
            }
        }
    }

    /// Notes that the broker is reached, and subscribes every vehicle's topics.
    fn reached(&self, broker: &FleetBroker, listener: Listener) {
        let mut sessions = self.sessions.lock();
        let Some(session) = sessions.get_mut(broker) else { return };
        listener.subscribe(session.filters());
        session.listener = Some(listener);
        let now = Instant::now();
        session.vehicles.values_mut().for_each(|vehicle| vehicle.session_began(now));
        session.report(&self.agent, session.vehicles.keys());
    }

    /// Notes that the broker is not reached any more.
    fn lost(&self, broker: &FleetBroker) {
        let mut sessions = self.sessions.lock();
        let Some(session) = sessions.get_mut(broker) else { return };
        session.listener = None;
        session.report(&self.agent, session.vehicles.keys());
    }

    /// Takes in a message of the broker. One that cannot be read is dropped.
    fn receive(&self, broker: &FleetBroker, publish: &Publish) {
        let now = Instant::now();
        let mut sessions = self.sessions.lock();
        let Some(session) = sessions.get_mut(broker) else { return };
        let mut received_by = Vec::new();
        for (uid, vehicle) in &mut session.vehicles {
            let Some(topic) = vehicle.topic_of(&publish.topic) else { continue };
            // The standard retains no state. Where a vehicle has it retained, it is of any age and must not pass for fresh.
            if topic == Topic::State && publish.retain {
                continue;
            }
            match message::read(topic, &vehicle.order.vda5050, &publish.payload) {
                Ok(received) => {
                    vehicle.logged = false;
                    vehicle.receive(received, now);
                    received_by.push(uid.clone());
                }
                // Once until a message can be read again: a vehicle sends one every second.
                Err(why) if !vehicle.logged => {
                    vehicle.logged = true;
                    let name = &vehicle.stored.item.name;
                    tracing::warn!(igv = name, category = why.category(), error = %why, "A message of a vehicle is dropped.");
                }
                Err(_) => {}
            }
        }
        for uid in &received_by {
            if let Some(vehicle) = session.vehicles.get(uid).filter(|v| v.stored.item.uid == *uid) {
                self.agent.counters.igv_seen(vehicle.counters());
            }
        }
        session.report(&self.agent, &received_by);
    }

    /// Reports every vehicle of this broker again; returns when the next state stops being fresh.
    fn report_again(&self, broker: &FleetBroker) -> Option<Instant> {
        let now = Instant::now();
        let sessions = self.sessions.lock();
        let session = sessions.get(broker)?;
        session.report(&self.agent, session.vehicles.keys());
        session.vehicles.values().filter_map(|v| v.stale_at(now)).min()
    }
}

impl FleetSession {
    fn broker(&self) -> BrokerLink {
        if self.listener.is_some() { BrokerLink::Reached } else { BrokerLink::Lost }
    }

    /// The topics to subscribe: those of declared vehicles, and never a wildcard.
    fn filters(&self) -> BTreeSet<(String, Topic)> {
        self.vehicles.values().flat_map(|v| Topic::ALL.map(|t| (v.topic(t), t))).collect()
    }

    /// Reports these vehicles; what did not change is not sent.
    fn report<'a>(&'a self, agent: &AgentContext, uids: impl IntoIterator<Item = &'a String>) {
        let now = Instant::now();
        for (uid, vehicle) in uids.into_iter().filter_map(|uid| Some((uid, self.vehicles.get(uid)?))) {
            // Between rename and place it has no uid that may be reported.
            if vehicle.stored.item.uid == *uid {
                let facts = ReportBody::Igv(vehicle.report(self.broker(), now));
                agent.report_order(&vehicle.stored, Ok(Some(facts)));
            }
        }
    }
}

/// Reads the order of a vehicle, and whether its broker can be asked for at all.
fn read(stored: &StoredItem) -> Result<IgvOrder, String> {
    let order: IgvOrder =
        stored.item.order().map_err(|error| format!("the order of this vehicle cannot be read: {error}"))?;
    if BrokerAddress::of(&order.broker).is_none() {
        return Err(format!("`{}` is no host and port: set `broker.endpoint` right", order.broker.endpoint));
    }
    Ok(order)
}

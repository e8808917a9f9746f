//! One vehicle: what it sent, and what is reported of it. Pure: time comes from outside.

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::igv::{Laden, Side, SoftwareVersion, VehicleConnection};
use kalong_crds::wire::order::IgvOrder;
use kalong_crds::wire::reported::IgvReport;
use kalong_crds::wire::telemetry::IgvCounters;
use tokio::time::Instant;

use super::count::{Charging, Energy, HeaderSequence};
use super::message::{NumberedMessage, StateMessage, Topic, VehicleMessage};
use super::zone::side_of;
use crate::store::desired::StoredItem;

/// Age from which on a state is not fresh. A vehicle sends one at least every 30 s.
pub(super) const FRESH: Duration = Duration::from_secs(45);

/// Level of the topics with the major version of VDA 5050 2.x.
const VERSION: &str = "v2";

/// Whether the broker is reached.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum BrokerLink {
    /// There is no session with the broker.
    #[default]
    Lost,
    /// There is a session with the broker.
    Reached,
}

/// A vehicle that is observed.
#[derive(Debug)]
pub(super) struct Vehicle {
    /// The item that declares it.
    pub(super) stored: Arc<StoredItem>,
    /// The order that declares it.
    pub(super) order: IgvOrder,
    /// Whether a dropped message was logged already.
    pub(super) logged: bool,
    connection: VehicleConnection,
    state: Option<StateMessage>,
    /// When a state came last, unless the link went after it.
    spoke: Option<Instant>,
    /// Since when a state is due: it came online, or we began to listen.
    awaited: Option<Instant>,
    software: Vec<SoftwareVersion>,
    states: HeaderSequence,
    factsheets: HeaderSequence,
    lost: u64,
    energy: Energy,
}

impl Vehicle {
    /// A vehicle that sent nothing yet.
    pub(super) fn new(stored: Arc<StoredItem>, order: IgvOrder) -> Self {
        Self {
            stored,
            order,
            logged: false,
            connection: VehicleConnection::default(),
            state: None,
            spoke: None,
            awaited: None,
            software: Vec::new(),
            states: HeaderSequence::default(),
            factsheets: HeaderSequence::default(),
            lost: 0,
            energy: Energy::default(),
        }
    }

    /// The topic of this vehicle on its broker.
    pub(super) fn topic(&self, topic: Topic) -> String {
        let (id, interface) = (&self.order.vda5050, &self.order.broker.interface_name);
        format!("{interface}/{VERSION}/{}/{}/{}", id.manufacturer, id.serial_number, topic.level())
    }

    /// Which of its topics this is, if any.
    pub(super) fn topic_of(&self, topic: &str) -> Option<Topic> {
        let (id, interface) = (&self.order.vda5050, self.order.broker.interface_name.as_str());
        let mut rest = topic;
        for level in [interface, VERSION, &id.manufacturer, &id.serial_number] {
            rest = rest.strip_prefix(level)?.strip_prefix('/')?;
        }
        Topic::ALL.into_iter().find(|t| t.level() == rest)
    }

    /// Takes in a message. Timestamps of the vehicle are ignored: that of a last will is always old.
    pub(super) fn receive(&mut self, received: NumberedMessage, now: Instant) {
        let NumberedMessage { header_id, message } = received;
        match message {
            // Not counted: a last will carries the number of the moment at which it was left with the broker.
            VehicleMessage::Connection(connection) => self.connect(connection, now),
            VehicleMessage::State(state) => {
                self.lost += header_id.map_or(0, |n| self.states.next(n));
                if let Some(charge) = state.charge {
                    let charging = if state.charging { Charging::Yes } else { Charging::No };
                    self.energy.charge(charge, charging, self.order.battery_watt_hours);
                }
                // After the broker lost its retained messages there is no connection message; a state proves one all the same.
                if self.connection == VehicleConnection::Unknown {
                    self.connection = VehicleConnection::Online;
                }
                self.spoke = Some(now);
                self.state = Some(state);
            }
            VehicleMessage::Factsheet(software) => {
                self.lost += header_id.map_or(0, |n| self.factsheets.next(n));
                self.software = software;
            }
        }
    }

    fn connect(&mut self, connection: VehicleConnection, now: Instant) {
        match connection {
            VehicleConnection::Online if self.connection != VehicleConnection::Online => {
                self.awaited = Some(now);
                // What it sent before its connection broke does not hold any more.
                if self.spoke.is_none() {
                    self.state = None;
                }
            }
            VehicleConnection::Offline | VehicleConnection::Broken => {
                (self.spoke, self.awaited) = (None, None);
                self.states.begin();
            }
            VehicleConnection::Online | VehicleConnection::Unknown => {}
        }
        self.connection = connection;
    }

    /// A session with the broker begins: what was sent before it was not lost on the way, and a state is due from now on.
    pub(super) fn session_began(&mut self, now: Instant) {
        self.states.begin();
        self.factsheets.begin();
        if self.current(now).is_none() {
            (self.spoke, self.state) = (None, None);
        }
        if self.connection == VehicleConnection::Online {
            self.awaited = Some(now);
        }
    }

    /// Its last state, if it is not older than a fresh one may be.
    fn current(&self, now: Instant) -> Option<&StateMessage> {
        self.state.as_ref().filter(|_| self.spoke.is_some_and(|spoke| spoke + FRESH > now))
    }

    /// Takes another declaration of the same vehicle; what it sent stays.
    pub(super) fn update(&mut self, stored: Arc<StoredItem>, order: IgvOrder) {
        (self.stored, self.order) = (stored, order);
    }

    /// When it will have been silent for too long, if that is still to come.
    pub(super) fn stale_at(&self, now: Instant) -> Option<Instant> {
        self.spoke.max(self.awaited).map(|since| since + FRESH).filter(|at| *at > now)
    }

    /// The report of the vehicle. Only a fresh state proves where it is and whether it may be changed: a vehicle whose connection broke
    /// drives on to the last node that it was given.
    pub(super) fn report(&self, broker: BrokerLink, now: Instant) -> IgvReport {
        let broker = broker == BrokerLink::Reached;
        let fresh = broker && self.stale_at(now).is_some();
        let state = self.state.as_ref();
        let current = self.current(now).filter(|_| fresh);
        IgvReport {
            broker,
            connection: self.connection,
            fresh,
            operating_mode: state.and_then(|s| s.mode.clone()),
            localised: state.map(|s| s.localised),
            side: current.map_or(Side::Unknown, |s| self.side(s)),
            laden: match state.and_then(|s| s.laden) {
                Some(true) => Laden::Laden,
                Some(false) => Laden::Empty,
                None => Laden::Unknown,
            },
            at_service: current.is_some_and(|s| self.at_service(s)),
            maps: state.and_then(|s| s.maps.clone()),
            software: self.software.clone(),
            errors: state.map(|s| s.errors.clone()).unwrap_or_default(),
        }
    }

    fn side(&self, state: &StateMessage) -> Side {
        match (&self.order.zone_set, &state.position) {
            (Some(zones), Some(position)) => side_of(zones, position),
            _ => Side::Unknown,
        }
    }

    fn at_service(&self, state: &StateMessage) -> bool {
        let change = &self.order.change_at;
        let at_node = state.last_node.as_ref().is_some_and(|node| change.nodes.contains(node));
        at_node && state.idle && state.charge.is_some_and(|charge| charge >= change.min_charge.saturating_mul(1000))
    }

    /// Its counters; they go up and never down as long as it is declared.
    pub(super) fn counters(&self) -> IgvCounters {
        let charge = self.state.as_ref().and_then(|s| s.charge);
        IgvCounters {
            uid: self.stored.item.uid.clone(),
            energy_watt_hours: self.energy.watt_hours(),
            charge_percent: charge.and_then(|c| u8::try_from((c + 500) / 1000).ok()),
            lost_messages: self.lost,
        }
    }
}

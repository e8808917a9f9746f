//! A vehicle on the fleet's broker: VDA 5050 version 2.1 as its standard says it, connection with a last will included.

use std::sync::Arc;
use std::time::{Duration, Instant};

use jiff::Timestamp;
use kalong_crds::igv::{IGVSpec, Vda5050, VehicleMap};
use parking_lot::{Mutex, MutexGuard};
use rumqttc::{Publish, QoS};
use serde_json::{Value, json};
use tokio::sync::watch;

use super::broker::{Attached, MqttBroker, Retain, message};
use super::drive::{CENTIMETRES_A_SECOND, Doing, Drive, FleetWork};
use super::yard;
use crate::site::report::{Switch, VehicleOrder, VehicleReport};

const VERSION: &str = "2.1.0";
/// Usable energy of a full battery where nothing is declared, in watt-hours: 150 km.
const BATTERY: i64 = 280_000;
/// A vehicle tells its state so often while it drives, and so often while it stands. The standard asks for 30 s at most.
const WHILE_DRIVING: Duration = Duration::from_secs(1);
const WHILE_STANDING: Duration = Duration::from_secs(10);
/// Between two looks at itself.
const LOOK: Duration = Duration::from_millis(200);
/// Charge at the start, of the first vehicle and how much less each further one has, in thousandths of a percent.
const FIRST_CHARGE: i64 = 92_000;
const LESS_EACH: i64 = 9_000;

#[derive(Debug)]
pub(crate) struct SimulatedVehicle {
    vda5050: Vda5050,
    /// First level of its topics.
    interface: String,
    map: VehicleMap,
    /// Node where it stands when it has no work.
    stand: String,
    broker: MqttBroker,
    inner: Mutex<VehicleState>,
    /// Rises whenever something was ordered, so that it is said at once.
    ordered: watch::Sender<u64>,
}

#[derive(Debug)]
struct VehicleState {
    drive: Drive,
    moved: Instant,
    link: Option<Attached>,
    localised: bool,
    /// How fast the yard's clock runs, and whether there is work. Without work vehicles come home as fast as they were.
    speed: u32,
    work: FleetWork,
    numbers: Numbers,
    said: Option<(Instant, StateSummary)>,
}

#[derive(Debug, Default)]
struct Numbers {
    connection: u32,
    state: u32,
    factsheet: u32,
}

/// What makes a vehicle speak at once when it changes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct StateSummary {
    driving: bool,
    charging: bool,
    localised: bool,
    outbound: bool,
    orders: u64,
}

impl SimulatedVehicle {
    /// Switched off. Vehicles start with less and less charge, and share the nodes at which they may be changed.
    pub fn new(declared: &IGVSpec, index: usize, broker: &MqttBroker) -> Self {
        let less = LESS_EACH * i64::try_from(index).unwrap_or_default();
        let inner = VehicleState {
            drive: Drive::parked((FIRST_CHARGE - less).max(50_000), declared.battery_watt_hours.unwrap_or(BATTERY)),
            moved: Instant::now(),
            link: None,
            localised: true,
            speed: 1,
            work: FleetWork::None,
            numbers: Numbers::default(),
            said: None,
        };
        let stands = &declared.change_at.nodes;
        Self {
            vda5050: declared.vda5050.clone(),
            interface: declared.broker.interface_name.clone(),
            map: declared.maps.first().cloned().unwrap_or(VehicleMap { name: String::new(), version: String::new() }),
            stand: stands.iter().cycle().nth(index).cloned().unwrap_or_default(),
            broker: broker.clone(),
            inner: Mutex::new(inner),
            ordered: watch::Sender::new(0),
        }
    }

    fn inner(&self) -> MutexGuard<'_, VehicleState> {
        self.inner.lock()
    }

    pub fn serial(&self) -> &str {
        &self.vda5050.serial_number
    }

    /// Drives and speaks for as long as the process runs.
    pub async fn live(self: Arc<Self>) {
        let mut ordered = self.ordered.subscribe();
        loop {
            self.look();
            tokio::select! {
                () = tokio::time::sleep(LOOK) => {}
                _ = ordered.changed() => {}
            }
        }
    }

    pub fn order(&self, order: VehicleOrder) {
        let mut inner = self.inner();
        match order {
            VehicleOrder::On if inner.link.is_none() => self.connect(&mut inner),
            VehicleOrder::On => {}
            // Dropped without a goodbye: the broker publishes the last will.
            VehicleOrder::Off => inner.link = None,
            VehicleOrder::Goodbye => {
                if let Some(link) = inner.link.take() {
                    link.publish(&self.connection(&mut inner.numbers, "OFFLINE"));
                    link.goodbye();
                }
            }
            VehicleOrder::Lose => inner.localised = false,
            VehicleOrder::Find => inner.localised = true,
        }
        drop(inner);
        self.ordered.send_modify(|n| *n += 1);
    }

    /// From now on the yard's clock runs so fast; at 0 the vehicle goes home as fast as it was and parks.
    pub fn clock(&self, speed: u32) {
        let mut inner = self.inner();
        inner.work = if speed == 0 { FleetWork::None } else { FleetWork::Waiting };
        if speed > 0 {
            inner.speed = speed;
        }
        drop(inner);
        self.ordered.send_modify(|n| *n += 1);
    }

    pub fn report(&self) -> VehicleReport {
        let inner = self.inner();
        VehicleReport {
            serial: self.vda5050.serial_number.clone(),
            power: if inner.link.is_some() { Switch::On } else { Switch::Off },
            x_centimetres: inner.drive.place().0,
            side: inner.drive.side(),
            driving: inner.drive.doing == Doing::Driving,
            charge_millis: inner.drive.charge_millis(),
            used_watt_hours: inner.drive.used_watt_hours(),
            states_sent: u64::from(inner.numbers.state),
        }
    }

    fn connect(&self, inner: &mut VehicleState) {
        // The will is written now and speaks later: its time stamp is always old.
        let will = self.connection(&mut Numbers::default(), "CONNECTIONBROKEN");
        let link = self.broker.attach(will);
        link.publish(&self.connection(&mut inner.numbers, "ONLINE"));
        inner.numbers.factsheet += 1;
        let factsheet = self.headed(inner.numbers.factsheet, super::factsheet::content());
        link.publish(&self.message("factsheet", &factsheet, Retain::Yes));
        inner.link = Some(link);
        inner.said = None;
    }

    fn look(&self) {
        let mut inner = self.inner();
        let now = Instant::now();
        let elapsed = now.saturating_duration_since(inner.moved);
        inner.moved = now;
        if inner.link.is_none() {
            // Switched off on the road: it stands there until it is switched on.
            return;
        }
        let (speed, work) = (inner.speed, inner.work);
        inner.drive.advance(elapsed * speed, work);
        let says = inner.says();
        let every = if says.driving { WHILE_DRIVING } else { WHILE_STANDING };
        let due = inner.said.is_none_or(|(at, said)| said != says || now.duration_since(at) >= every);
        if due {
            inner.said = Some((now, says));
            inner.numbers.state = inner.numbers.state.wrapping_add(1);
            let state = self.headed(inner.numbers.state, self.state(&inner));
            let message = self.message("state", &state, Retain::No);
            if let Some(link) = &inner.link {
                link.publish(&message);
            }
        }
    }

    fn message(&self, topic: &str, content: &Value, kept: Retain) -> Publish {
        // Only `connection` is to be confirmed (section 6.2 of the standard).
        let qos = if topic == "connection" { QoS::AtLeastOnce } else { QoS::AtMostOnce };
        let Vda5050 { manufacturer, serial_number, .. } = &self.vda5050;
        let topic = format!("{}/v2/{manufacturer}/{serial_number}/{topic}", self.interface);
        message(topic, content.to_string(), qos, kept)
    }

    fn connection(&self, numbers: &mut Numbers, word: &str) -> Publish {
        numbers.connection += 1;
        let content = self.headed(numbers.connection, json!({ "connectionState": word }));
        self.message("connection", &content, Retain::Yes)
    }

    /// The header of every message, and what follows.
    fn headed(&self, number: u32, content: Value) -> Value {
        let mut message = json!({
            "headerId": number,
            "timestamp": Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string(),
            "version": VERSION,
            "manufacturer": self.vda5050.manufacturer,
            "serialNumber": self.vda5050.serial_number,
        });
        if let (Some(message), Value::Object(content)) = (message.as_object_mut(), content) {
            message.extend(content);
        }
        message
    }

    fn state(&self, inner: &VehicleState) -> Value {
        let drive = &inner.drive;
        let (x, y) = drive.place();
        let driving = drive.doing == Doing::Driving;
        let parked = matches!(drive.doing, Doing::Parked | Doing::Charging);
        let (last, ahead) = self.nodes(drive);
        let (first, numbered) = (u32::try_from(ahead.len()).unwrap_or_default(), ahead.iter().zip(1_u32..));
        let nodes: Vec<Value> = numbered
            .clone()
            .map(|(node, n)| json!({ "nodeId": node, "sequenceId": 2 * n, "released": true }))
            .collect();
        let edges: Vec<Value> = numbered
            .map(|(node, n)| json!({ "edgeId": format!("to-{node}"), "sequenceId": 2 * n - 1, "released": true }))
            .collect();
        let loads = if !parked && drive.is_outbound() {
            vec![json!({ "loadId": "container", "loadType": "40ft" })]
        } else {
            vec![]
        };
        json!({
            "orderId": if parked { String::new() } else { format!("journey-{}", drive.orders) },
            "orderUpdateId": 0,
            "lastNodeId": last,
            "lastNodeSequenceId": if parked { 0 } else { 2 * (8_u32.saturating_sub(first)) },
            "nodeStates": nodes,
            "edgeStates": edges,
            "agvPosition": {
                "x": metres(x), "y": metres(y), "theta": if drive.is_outbound() { 0.0 } else { std::f64::consts::PI },
                "mapId": self.map.name, "positionInitialized": inner.localised,
            },
            "velocity": { "vx": if driving { metres(CENTIMETRES_A_SECOND) } else { 0.0 }, "vy": 0.0, "omega": 0.0 },
            "maps": [{ "mapId": self.map.name, "mapVersion": self.map.version, "mapStatus": "ENABLED" }],
            "loads": loads,
            "driving": driving,
            "paused": false,
            "actionStates": [],
            "batteryState": {
                "batteryCharge": per_mille(drive.charge_millis()), "charging": drive.doing == Doing::Charging,
            },
            "operatingMode": "AUTOMATIC",
            "errors": [],
            "information": [],
            "safetyState": { "eStop": "NONE", "fieldViolation": false },
        })
    }

    /// The node that was passed last, and those that are still ahead.
    fn nodes(&self, drive: &Drive) -> (&str, Vec<&str>) {
        let stand = self.stand.as_str();
        if matches!(drive.doing, Doing::Parked | Doing::Charging) {
            return (stand, vec![]);
        }
        let (x, _) = drive.place();
        let out = yard::NODES.iter();
        let back = yard::NODES.iter().rev().skip(1);
        if drive.is_outbound() {
            let last = out.clone().rev().find(|(_, at)| *at <= x).map_or(stand, |(name, _)| name);
            let ahead = out.filter(|(_, at)| *at > x).chain(back).map(|(name, _)| *name).chain([stand]);
            (last, ahead.collect())
        } else {
            let far = yard::NODES.last().map_or(stand, |(name, _)| name);
            let last = back.clone().rev().find(|(_, at)| *at >= x).map_or(far, |(name, _)| name);
            (last, back.filter(|(_, at)| *at < x).map(|(name, _)| *name).chain([stand]).collect())
        }
    }
}

impl VehicleState {
    fn says(&self) -> StateSummary {
        StateSummary {
            driving: self.drive.doing == Doing::Driving,
            charging: self.drive.doing == Doing::Charging,
            localised: self.localised,
            outbound: self.drive.is_outbound(),
            orders: self.drive.orders,
        }
    }
}

/// A map's centimetres as the metres of the standard.
fn metres(centimetres: i64) -> f64 {
    i32::try_from(centimetres).map_or(0.0, f64::from) / 100.0
}

/// Thousandths of a percent as percent, to a tenth.
fn per_mille(millis: i64) -> f64 {
    i32::try_from(millis / 100).map_or(0.0, f64::from) / 10.0
}

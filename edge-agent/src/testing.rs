//! Builders and a scripted device for the tests of this crate.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use async_trait::async_trait;
use kalong_crds::device::Admin;
use kalong_crds::device_model::{
    DeviceClass, HealthCode, LaneDrainNeed, Probe, Regulatory, Rollback, Severity, Update, UpdateSlots,
};
use kalong_crds::lane::{Admission, Need, Service, SlotRole};
use kalong_crds::property::{Access, Property, PropertyType};
use kalong_crds::protocol::{Protocol, ProtocolName};
use kalong_crds::units::{Digest, Value};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::order::{DeviceOrder, LaneMember, LaneOrder};
use parking_lot::Mutex;

use crate::driver::{DeviceIdentity, Driver, DriverError, Reading, SelfTest, Slots};
use crate::store::desired::StoredItem;

fn property(name: &str, kind: PropertyType, access: Access) -> Property {
    Property {
        name: name.into(),
        kind,
        access,
        unit: None,
        min: None,
        max: None,
        values: vec![],
        stale_after_seconds: 30,
    }
}

/// A barrier with three properties and two codes.
pub(crate) fn order() -> DeviceOrder {
    let health = |name: &str, severity, bit| HealthCode { name: name.into(), severity, bit };
    DeviceOrder {
        class: DeviceClass::AnprCamera,
        model: "cam-x".into(),
        hardware_revisions: vec![],
        protocol: Protocol { name: ProtocolName::GenericHttp, poll_interval_millis: 1000, registers: vec![] },
        properties: vec![
            Property {
                min: Some(100),
                max: Some(5000),
                unit: Some("ms".into()),
                ..property("openMillis", PropertyType::Integer, Access::ReadWrite)
            },
            Property {
                values: vec!["Auto".into(), "Manual".into()],
                ..property("mode", PropertyType::Enumeration, Access::ReadWrite)
            },
            property("serialNumber", PropertyType::Text, Access::ReadOnly),
        ],
        health_codes: vec![health("LensDirty", Severity::Degraded, 0), health("MotorFault", Severity::Faulty, 1)],
        update: Update {
            slots: UpdateSlots::Dual,
            lane_drain: LaneDrainNeed::Needed,
            downtime_seconds: 1,
            rollback: Rollback::Supported,
            soak_seconds: 0,
            probes: vec![Probe::Identity, Probe::SelfTest, Probe::Configuration, Probe::Health],
        },
        regulatory: Regulatory::default(),
        endpoint: "127.0.0.1:1".into(),
        parameters: BTreeMap::new(),
        credential: None,
        config: BTreeMap::new(),
        admin: Admin::Enabled,
        firmware: None,
    }
}

/// A device that the box holds.
pub(crate) fn stored_device(uid: &str, generation: i64, order: &DeviceOrder) -> Arc<StoredItem> {
    let item = Item::new(ItemKind::Device, "mc", uid, uid, generation, order).unwrap();
    Arc::new(StoredItem { item: (&item).into(), adopted: true, leaving: false })
}

/// A lane that the box holds.
pub(crate) fn stored_lane(
    uid: &str,
    controller: &str,
    members: &[&str],
    admission: Admission,
    service: Service,
) -> Arc<StoredItem> {
    let item = lane_item(uid, controller, members, admission, service);
    Arc::new(StoredItem { item: (&item).into(), adopted: true, leaving: false })
}

/// The order of a lane of these devices.
pub(crate) fn lane_order(controller: &str, members: &[&str], admission: Admission, service: Service) -> LaneOrder {
    let member = |uid: &&str| LaneMember {
        slot: (*uid).into(),
        role: SlotRole::Other,
        need: Need::Required,
        uid: (*uid).into(),
    };
    LaneOrder {
        crossing: "bl2".into(),
        direction: serde_json::from_str("\"Outbound\"").unwrap(),
        service,
        admission,
        controller: controller.into(),
        members: members.iter().map(member).collect(),
        hold: None,
        interlocks: Vec::new(),
        open_interlocks: Vec::new(),
    }
}

/// The item of a lane.
pub(crate) fn lane_item(uid: &str, controller: &str, members: &[&str], admission: Admission, service: Service) -> Item {
    Item::new(ItemKind::Lane, "mc", uid, uid, 1, &lane_order(controller, members, admission, service)).unwrap()
}

/// A lane that the box holds with this order.
pub(crate) fn stored_lane_order(uid: &str, order: &LaneOrder) -> Arc<StoredItem> {
    let item = Item::new(ItemKind::Lane, "mc", uid, uid, 1, order).unwrap();
    Arc::new(StoredItem { item: (&item).into(), adopted: true, leaving: false })
}

/// What the scripted device does wrong.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Vice {
    #[default]
    None,
    /// The new image fails its own test.
    FailsSelfTest,
    /// The new image reports another version.
    WrongVersion,
    /// The new image does not start, and the device starts the old one by itself.
    FallsBack,
    /// The device fails to write the new image.
    FlashError,
    /// The device refuses every transfer.
    RefusesTransfer,
    /// The new image never answers.
    Hangs,
}

/// An image: its bytes' digest and the version inside.
pub(crate) type ScriptedImage = (Digest, String);

/// The inside of a scripted device. It outlives every power cut of the box.
#[derive(Debug)]
pub(crate) struct ScriptedState {
    pub(crate) slots: UpdateSlots,
    pub(crate) vice: Vice,
    /// Images by digest, so that a transferred file has a version.
    pub(crate) known: BTreeMap<Digest, String>,
    pub(crate) running: ScriptedImage,
    pub(crate) previous: Option<ScriptedImage>,
    pub(crate) sent: Option<ScriptedImage>,
    pub(crate) written: Option<ScriptedImage>,
    pub(crate) committed: bool,
    pub(crate) boots: i64,
    pub(crate) settings: BTreeMap<String, Value>,
    pub(crate) health: BTreeSet<String>,
    pub(crate) away: bool,
    /// Effective writes of each digest.
    pub(crate) flashes: BTreeMap<Digest, u32>,
    pub(crate) transfers: u32,
    pub(crate) sets: u32,
    good: ScriptedImage,
}

/// A device in memory, which survives restarts of the agent.
#[derive(Clone, Debug)]
pub(crate) struct Scripted(pub(crate) Arc<Mutex<ScriptedState>>);

impl Scripted {
    pub(crate) fn new(slots: UpdateSlots, running: ScriptedImage, known: &[ScriptedImage], vice: Vice) -> Self {
        Self(Arc::new(Mutex::new(ScriptedState {
            slots,
            vice,
            known: known.iter().cloned().collect(),
            good: running.clone(),
            running,
            previous: None,
            sent: None,
            written: None,
            committed: true,
            boots: 1,
            settings: BTreeMap::new(),
            health: BTreeSet::new(),
            away: false,
            flashes: BTreeMap::new(),
            transfers: 0,
            sets: 0,
        })))
    }

    pub(crate) fn with<T>(&self, f: impl FnOnce(&mut ScriptedState) -> T) -> T {
        f(&mut self.0.lock())
    }

    fn reach<T>(&self, f: impl FnOnce(&mut ScriptedState) -> Result<T, DriverError>) -> Result<T, DriverError> {
        self.with(|inside| {
            let hangs = inside.vice == Vice::Hangs && inside.running != inside.good;
            if inside.away || hangs { Err(DriverError::Unreachable("scripted".into(), None)) } else { f(inside) }
        })
    }
}

impl ScriptedState {
    fn boot(&mut self, image: ScriptedImage) {
        self.boots += 1;
        if self.vice == Vice::FallsBack && image != self.good {
            return;
        }
        if image != self.running {
            self.previous = Some(std::mem::replace(&mut self.running, image));
            // A device with one slot has nothing to fall back to, and so nothing to make permanent.
            self.committed = self.slots == UpdateSlots::Single;
        }
    }
}

#[async_trait]
impl Driver for Scripted {
    async fn identify(&mut self) -> Result<DeviceIdentity, DriverError> {
        self.reach(|i| {
            let (digest, version) = i.running.clone();
            let lies = i.vice == Vice::WrongVersion && i.running != i.good;
            Ok(DeviceIdentity {
                serial: "s".into(),
                hardware_revision: "A".into(),
                version: if lies { "0.0.0-oops".into() } else { version },
                digest: Some(digest),
                boot_count: Some(i.boots),
            })
        })
    }

    async fn read(&mut self) -> Result<Reading, DriverError> {
        self.reach(|i| Ok(Reading { properties: i.settings.clone(), health: i.health.clone(), ..Reading::default() }))
    }

    async fn set(&mut self, values: &BTreeMap<String, Value>) -> Result<(), DriverError> {
        self.reach(|i| {
            i.sets += 1;
            for (name, value) in values {
                i.settings.insert(name.clone(), value.clone());
                if name == "admission" {
                    i.settings.insert("admissionState".into(), value.clone());
                }
            }
            Ok(())
        })
    }

    async fn slots(&mut self) -> Result<Slots, DriverError> {
        self.reach(|i| {
            Ok(Slots {
                running: Some(i.running.0.clone()),
                written: i.written.as_ref().map(|w| w.0.clone()),
                committed: i.committed,
            })
        })
    }

    async fn transfer(&mut self, image: &Path, digest: &Digest, size: u64) -> Result<(), DriverError> {
        let bytes = std::fs::read(image).unwrap();
        assert_eq!((Digest::of(&bytes), u64::try_from(bytes.len()).unwrap()), (digest.clone(), size));
        self.reach(|i| {
            i.transfers += 1;
            if i.vice == Vice::RefusesTransfer {
                return Err(DriverError::Refused("no room".into()));
            }
            i.sent = Some((digest.clone(), i.known[digest].clone()));
            Ok(())
        })
    }

    async fn install(&mut self, digest: &Digest) -> Result<(), DriverError> {
        self.reach(|i| {
            let Some(sent) = i.sent.clone().filter(|s| s.0 == *digest) else {
                return Err(DriverError::Refused("nothing was sent".into()));
            };
            if i.vice == Vice::FlashError && *digest != i.good.0 {
                return Err(DriverError::Refused("flash error".into()));
            }
            *i.flashes.entry(digest.clone()).or_default() += 1;
            i.written = Some(sent);
            Ok(())
        })
    }

    async fn activate(&mut self) -> Result<(), DriverError> {
        self.reach(|i| {
            if let Some(image) = i.written.take() {
                i.boot(image);
            }
            Ok(())
        })
    }

    async fn self_test(&mut self) -> Result<SelfTest, DriverError> {
        self.reach(|i| {
            let fails = i.vice == Vice::FailsSelfTest && i.running != i.good;
            Ok(if fails { SelfTest::Failed("optics".into()) } else { SelfTest::Passed })
        })
    }

    async fn commit(&mut self) -> Result<(), DriverError> {
        self.reach(|i| {
            i.committed = true;
            Ok(())
        })
    }

    async fn roll_back(&mut self) -> Result<(), DriverError> {
        // A watchdog below the image answers even when the image hangs.
        self.with(|i| {
            if i.running != i.good {
                let good = i.good.clone();
                i.boot(good);
                i.committed = true;
            }
            Ok(())
        })
    }
}

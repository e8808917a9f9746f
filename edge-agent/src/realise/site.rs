//! What all tasks of the box share.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use kalong_crds::device::Guard;
use kalong_crds::edge_agent::OfflinePolicy;
use kalong_crds::units::AgentId;
use kalong_crds::wire::order::{AgentOrder, DeviceOrder};
use kalong_crds::wire::release::ReleaseKeys;
use tokio::sync::{Notify, watch};

use super::lane::Lanes;
use super::offline::Contact;
use super::traffic::Counters;
use crate::clock::ClockJudge;
use crate::driver::{Credential, Driver, DriverError};
use crate::firmware::download::Downloads;
use crate::fleet::Fleet;
use crate::link::Links;
use crate::store::{Note, Store, StoreError};
use crate::uplink::report::Image;

/// Beats where no order says otherwise.
const DEFAULT_HEARTBEAT: Duration = Duration::from_secs(30);
/// The fastest that an order may ask for.
const FASTEST_HEARTBEAT: Duration = Duration::from_millis(100);

/// Makes the driver of a device.
pub type DriverFactory =
    Arc<dyn Fn(&DeviceOrder, Option<Credential>) -> Result<Box<dyn Driver>, DriverError> + Send + Sync>;

/// What all tasks of the box share.
pub struct Site {
    /// Who the box is.
    pub agent: AgentId,
    /// What survives.
    pub store: Store,
    /// What is reported.
    pub image: Image,
    /// The lanes that this box runs.
    pub lanes: Lanes,
    /// The cache of artifacts.
    pub downloads: Arc<Downloads>,
    /// The keys by which releases are judged.
    pub release_keys: ReleaseKeys,
    /// The key to which credentials are sealed.
    pub sealing: Vec<u8>,
    /// Whether the wall clock can be believed.
    pub clock: ClockJudge,
    /// Whether the operator is reached.
    pub contact: Contact,
    /// What passed the lanes and what the vehicles used.
    pub counters: Counters,
    /// The unmanned vehicles that are listened to.
    pub fleet: Fleet,
    /// The links to the other country.
    pub links: Links,
    /// Makes drivers.
    pub drivers: DriverFactory,
    pub(super) settings: watch::Sender<Option<AgentOrder>>,
    pub(super) wakes: Mutex<BTreeMap<String, Arc<Notify>>>,
}

impl std::fmt::Debug for Site {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Site").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// What a site is made from.
pub struct Parts {
    /// Who the box is.
    pub agent: AgentId,
    /// What survives.
    pub store: Store,
    /// What is reported.
    pub image: Image,
    /// The cache of artifacts.
    pub downloads: Arc<Downloads>,
    /// The keys by which releases are judged.
    pub release_keys: ReleaseKeys,
    /// The key to which credentials are sealed.
    pub sealing: Vec<u8>,
    /// Whether the wall clock can be believed.
    pub clock: ClockJudge,
    /// Makes drivers.
    pub drivers: DriverFactory,
}

impl Site {
    /// A site that was told nothing yet.
    pub fn new(parts: Parts) -> Self {
        let Parts { agent, store, image, downloads, release_keys, sealing, clock, drivers } = parts;
        Self {
            agent,
            store,
            image,
            lanes: Lanes::default(),
            downloads,
            release_keys,
            sealing,
            clock,
            contact: Contact::default(),
            counters: Counters::default(),
            fleet: Fleet::default(),
            links: Links::default(),
            drivers,
            settings: watch::Sender::new(None),
            wakes: Mutex::default(),
        }
    }

    /// Commits a note, and tells the uplink of its events and of a full outbox.
    pub async fn note(&self, note: Note) -> Result<(), StoreError> {
        let has_events = !note.events.is_empty();
        let result = self.store.note(note).await;
        match &result {
            Ok(()) if has_events => self.image.event_added(),
            Err(StoreError::OutboxFull) => self.image.outbox_is_full(true),
            _ => {}
        }
        result
    }

    /// Has a device's task look again at once.
    pub fn wake(&self, uid: &str) {
        let wake = self.wakes.lock().ok().and_then(|w| w.get(uid).cloned());
        if let Some(wake) = wake {
            wake.notify_one();
        }
    }

    /// Says what is true of a lane now, if it is still declared.
    pub fn report_lane(&self, uid: &str) {
        if let Some(report) = self.lanes.report(uid) {
            self.image.set(report);
        }
    }

    /// Makes durable what became of a lane, and tells the uplink of it. What cannot be committed is tried again at the next visit:
    /// the gate comes first.
    pub async fn save_lane(&self, uid: &str) {
        let Some(note) = self.lanes.to_save(uid) else { return };
        if let Err(error) = self.note(note.clone()).await {
            tracing::warn!(lane = uid, category = error.category(), "{error}");
            self.lanes.unsaved(note);
        }
    }

    /// Takes in what a device shows of its interlocks, and has the lanes that depend on it told at once.
    pub async fn guards_seen(&self, uid: &str, name: &str, guards: &[Guard]) {
        let urgent = self.lanes.guards_seen(uid, name, guards);
        for urgent in &urgent {
            self.wake(&urgent.controller);
            self.report_lane(&urgent.lane);
        }
        // No lane waits for the disk.
        for urgent in &urgent {
            self.save_lane(&urgent.lane).await;
        }
    }

    /// The policy for being cut off, and after which time.
    pub fn offline_settings(&self) -> Option<(OfflinePolicy, Duration)> {
        let settings = self.settings.borrow();
        let order = settings.as_ref()?;
        Some((order.offline_policy, Duration::from_secs(u64::try_from(order.offline_after_seconds).ok()?)))
    }

    /// How often to beat.
    pub fn heartbeat(&self) -> Duration {
        let told = self.settings.borrow().as_ref().and_then(|s| u64::try_from(s.heartbeat_millis).ok());
        told.map_or(DEFAULT_HEARTBEAT, Duration::from_millis).max(FASTEST_HEARTBEAT)
    }

    /// Ends when the settings of the box change.
    pub fn settings_changes(&self) -> watch::Receiver<Option<AgentOrder>> {
        self.settings.subscribe()
    }
}

//! What every controller is given.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use kalong_crds::units::Name;
use kalong_crds::wire::order::Sealed;
use kalong_crds::wire::release::ReleaseKeys;
use kalong_rules::LifecycleStage;
use kube::Client;
use kube_runtime::events::Recorder;
use parking_lot::Mutex;

use super::caches::{Caches, Triggers};
use super::clock::Clock;
use super::debounce::ConfirmationDebounce;
use super::drains::Drains;
use super::link::AgentLink;
use super::metrics::Metrics;
use super::mirror::Mirror;
use super::permits::Permits;
use super::sites::SiteGuard;
use super::status::StatusWriter;

/// What the operator was told at its start.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How often agents beat.
    pub heartbeat: Duration,
    /// The authors whose signatures count.
    pub release_keys: ReleaseKeys,
    /// Secret from which the ephemeral keys of sealing are derived, so that sealing again gives the same bytes.
    pub sealing_seed: [u8; 32],
}

/// Everything around a reconcile.
pub struct Context {
    /// The API server.
    pub client: Client,
    /// The agents.
    pub link: Arc<dyn AgentLink>,
    /// The operator's cache of artifacts.
    pub mirror: Arc<dyn Mirror>,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// What the operator was told.
    pub settings: Settings,
    /// What the API server last said.
    pub caches: Caches,
    /// What waits to be looked at.
    pub wakes: Triggers,
    /// The one way to write a status.
    pub status: StatusWriter,
    /// Events for people.
    pub recorder: Recorder,
    /// What is counted.
    pub metrics: Metrics,
    /// What is known of drains beside the cache.
    pub drains: Drains,
    /// Which devices may be touched now.
    pub permits: Permits,
    /// Credentials that were read and sealed.
    pub credentials: Mutex<HashMap<(String, String, String), Sealed>>,
    /// Since when orders await their confirmation.
    pub debounce: ConfirmationDebounce,
}

impl Context {
    /// The site of this namespace. It does not change while the guard is held, which holds up the watches: drop it soon.
    pub fn site(&self, namespace: &str) -> SiteGuard<'_> {
        self.caches.site(namespace)
    }

    /// The stage of an object that belongs to this phase, or to none.
    pub fn life(&self, namespace: &str, phase: Option<&Name>) -> LifecycleStage {
        self.site(namespace).life(phase)
    }
}

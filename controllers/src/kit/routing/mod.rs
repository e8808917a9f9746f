//! What to reconcile when an object changes: the one place that knows which decisions rest on which objects.
//!
//! Each route looks up what the change concerns, so that it costs as much as that, however many other objects there are.

#[cfg(test)]
mod tests;

use std::collections::BTreeSet;
use std::sync::Arc;

use kalong_crds::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, LaneDrain,
    Phase,
};
use kalong_rules::capacity::{Contention, Group, groups_of, is_waiting};
use kalong_rules::claim::has_ended;
use kalong_rules::lifecycle::in_force;
use kalong_rules::{Relation, SiteObject, SiteSnapshot};

use super::caches::{Caches, Change, Controlled, Triggers, namespaced_name};

/// A kind and what its objects concern.
pub(crate) trait Routed: Controlled {
    /// Wakes everything but the object itself that rests on it.
    fn changed(&self, route: &Route<'_>, change: Change);

    /// Wakes everything but the object itself that rests on what its agent reports of it.
    fn reported(&self, _: &Route<'_>) {}
}

/// Where a change in one site is routed.
pub(crate) struct Route<'a> {
    namespace: &'a str,
    site: &'a SiteSnapshot,
    triggers: &'a Triggers,
}

/// Wakes the object and everything that rests on it, in a site that shows the change already.
pub(super) fn route<K: Routed>(site: &SiteSnapshot, triggers: &Triggers, object: &K, change: Change) {
    let (namespace, name) = namespaced_name(object);
    let route = Route { namespace: &namespace, site, triggers };
    route.wake::<K>(&name);
    object.changed(&route, change);
}

/// Wakes the object of which its agent reports something new, and everything that rests on that. The object may be gone already.
pub(crate) fn route_report<K: Routed>(site: &SiteSnapshot, triggers: &Triggers, namespace: &str, name: &str) {
    let route = Route { namespace, site, triggers };
    route.wake::<K>(name);
    if let Some(object) = site.get::<K>(name) {
        object.reported(&route);
    }
}

impl Route<'_> {
    fn wake<K: Controlled>(&self, name: &str) {
        K::queue(self.triggers).wake(self.namespace, name);
    }

    fn wake_all<'b, K: Controlled>(&self, objects: impl IntoIterator<Item = &'b Arc<K>>) {
        objects.into_iter().for_each(|object| self.wake::<K>(object.name()));
    }

    /// The phase that counts the object. A changed spec or annotation may concern any phase, the one that it left included.
    fn phases_of<K: Controlled>(&self, object: &K, change: Change) {
        match (change, object.phase()) {
            (Change::Substance, _) => self.wake_all(self.site.phases.iter()),
            (Change::Status, Some(phase)) => self.wake::<Phase>(phase.as_str()),
            (Change::Status, None) => {}
        }
    }

    /// The claims that concern this lane, and those that wait for a lane that could replace it.
    fn claims_around(&self, lane: &Lane) {
        self.wake_all(self.site.claims_on(lane));
        // A lane that left the target of a claim is held until the claim lets go of it.
        self.wake_all(self.site.drains.by(Relation::Responder, lane.name()));
        self.waiting_claims([Group::of(lane)].into());
    }

    /// The claims whose turn depends on these groups.
    fn waiting_claims(&self, groups: BTreeSet<Group>) {
        let contention = Contention::around(self.site, groups, |claim| is_waiting(self.site, claim));
        self.wake_all(contention.waiting.into_values());
    }
}

impl Routed for Crossing {
    fn changed(&self, route: &Route<'_>, change: Change) {
        route.phases_of(self, change);
        // Claims rest on its floors and on the phase that puts them in force, never on its status.
        if change == Change::Substance {
            route.wake_all(route.site.drains.by(Relation::TargetCrossing, self.name()));
            route.waiting_claims(Group::of_crossing(route.site, self.name()));
        }
    }
}

impl Routed for Lane {
    fn changed(&self, route: &Route<'_>, change: Change) {
        route.wake::<Crossing>(self.spec.crossing_ref.as_str());
        route.phases_of(self, change);
        route.claims_around(self);
        for slot in &self.spec.slots {
            route.wake::<Device>(slot.device_ref.as_str());
            if change == Change::Substance {
                route.wake_all(route.site.lanes_of(slot.device_ref.as_str()));
            }
        }
        if change == Change::Substance {
            route.wake_all(route.site.stations.by(Relation::ServedLane, self.name()));
        }
    }

    /// What a lane reports may end or refuse a claim on it without changing its own status.
    fn reported(&self, route: &Route<'_>) {
        route.claims_around(self);
    }
}

impl Routed for Device {
    fn changed(&self, route: &Route<'_>, change: Change) {
        route.phases_of(self, change);
        route.wake_all(route.site.lanes_of(self.name()));
        for station in route.site.stations_of(self.name()) {
            route.wake::<InspectionStation>(station.name());
            if change == Change::Substance {
                route.wake_all(route.site.lanes_behind(station));
            }
        }
        if change == Change::Substance {
            route.wake::<DeviceModel>(self.spec.model_ref.as_str());
            route.wake::<EdgeAgent>(self.spec.agent_ref.as_str());
        }
    }
}

impl Routed for DeviceModel {
    fn changed(&self, route: &Route<'_>, change: Change) {
        if change == Change::Substance {
            route.wake_all(route.site.devices.by(Relation::DeviceModel, self.name()));
            route.wake_all(route.site.releases.by(Relation::DeviceModel, self.name()));
        }
    }
}

impl Routed for EdgeAgent {
    fn changed(&self, route: &Route<'_>, change: Change) {
        route.phases_of(self, change);
        route.wake_all(route.site.devices.by(Relation::EdgeAgent, self.name()));
        route.wake_all(route.site.igvs.by(Relation::EdgeAgent, self.name()));
        route.wake_all(route.site.links.by(Relation::EdgeAgent, self.name()));
    }
}

impl Routed for FirmwareRelease {
    fn changed(&self, route: &Route<'_>, _: Change) {
        route.wake_all(route.site.devices.by(Relation::FirmwareRelease, self.name()));
    }
}

impl Routed for InspectionStation {
    fn changed(&self, route: &Route<'_>, change: Change) {
        route.wake::<Crossing>(self.spec.crossing_ref.as_str());
        route.phases_of(self, change);
        route.wake_all(route.site.lanes_behind(self));
        route.wake_all(route.site.stations.by(Relation::Fallback, self.name()));
        route.wake_all(route.site.drains.by(Relation::TargetStation, self.name()));
    }
}

impl Routed for IGV {
    fn changed(&self, route: &Route<'_>, change: Change) {
        route.wake::<Crossing>(self.spec.crossing_ref.as_str());
        route.phases_of(self, change);
        if change == Change::Substance {
            route.wake::<EdgeAgent>(self.spec.agent_ref.as_str());
        }
    }
}

impl Routed for BilateralLink {
    fn changed(&self, route: &Route<'_>, change: Change) {
        route.wake::<Crossing>(self.spec.crossing_ref.as_str());
        route.phases_of(self, change);
        if change == Change::Substance {
            route.wake::<EdgeAgent>(self.spec.agent_ref.as_str());
        }
    }
}

impl Routed for LaneDrain {
    fn changed(&self, route: &Route<'_>, change: Change) {
        if let Some(device) = self.spec.requester.strip_prefix("Device/") {
            route.wake::<Device>(device);
        }
        // Those that wait behind it may be next.
        if change == Change::Substance || has_ended(self) {
            route.waiting_claims(groups_of(route.site, &self.spec.target));
        }
        route.wake_all(route.site.lanes_under(&self.spec.target));
    }
}

impl Routed for Phase {
    fn changed(&self, route: &Route<'_>, change: Change) {
        // Its members and the phases after it rest on the state in force alone, not on its progress.
        let site = route.site;
        let state = site.phases.get(self.name()).and_then(|phase| in_force(phase));
        let key = (route.namespace.to_owned(), self.name().to_owned());
        let same = route.triggers.phase_states.lock().insert(key, state) == Some(state);
        if same && change == Change::Status {
            return;
        }
        route.wake_all(site.phases.iter());
        macro_rules! members {
            ($($kind:ident { $list:ident $($facts:tt)* })+) => {
                $(route.wake_all(site.$list.by(Relation::Phase, self.name()));)+
            };
        }
        kalong_crds::for_each_kind!(members);
        for lane in site.lanes.by(Relation::Phase, self.name()) {
            route.claims_around(lane);
        }
        for crossing in site.crossings.by(Relation::Phase, self.name()) {
            route.waiting_claims(Group::of_crossing(site, crossing.name()));
        }
    }
}

impl Triggers {
    /// Wakes every object once: the first reconciles of a leader.
    pub fn everything(&self, caches: &Caches) {
        fn all<K: Controlled>(caches: &Caches, triggers: &Triggers) {
            for object in K::cache(caches).state() {
                let (namespace, name) = namespaced_name(object.as_ref());
                K::queue(triggers).wake(&namespace, &name);
            }
        }
        macro_rules! everything {
            ($($kind:ident { $list:ident $($facts:tt)* })+) => { $(all::<kalong_crds::$kind>(caches, self);)+ };
        }
        kalong_crds::for_each_kind!(everything);
    }
}

//! Whom a change of one object concerns: the one place that knows who looks at whom.

use kalong_crds::units::Name;
use kalong_crds::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, LaneDrain,
    Phase,
};
use kube::ResourceExt;
use kube_runtime::reflector::Store;

use super::caches::{self, Caches, Change, Kind, Triggers, namespaced_name, select};
use super::life::in_force;
use super::queue::ReconcileQueue;

impl Triggers {
    pub(super) fn crossing_changed(&self, caches: &Caches, crossing: &Crossing, change: Change) {
        let (ns, name) = namespaced_name(crossing);
        self.crossings.wake(&ns, &name);
        self.phases_of(caches, &ns, crossing.spec.phase.as_ref(), change);
        // A floor that holds again lets a waiting claim go on.
        wake_all(&caches.drains, &self.drains, &ns, |_| true);
    }

    pub(super) fn lane_changed(&self, caches: &Caches, lane: &Lane, change: Change) {
        let (ns, name) = namespaced_name(lane);
        self.lanes.wake(&ns, &name);
        self.crossings.wake(&ns, lane.spec.crossing_ref.as_str());
        self.phases_of(caches, &ns, lane.spec.phase.as_ref(), change);
        // What a lane does changes what is left for every claim of its crossing.
        wake_all(&caches.drains, &self.drains, &ns, |_| true);
        for slot in &lane.spec.slots {
            self.devices.wake(&ns, slot.device_ref.as_str());
            if change == Change::Substance {
                for other in caches.lanes_of(&ns, slot.device_ref.as_str()) {
                    self.lanes.wake(&ns, &other.name_any());
                }
            }
        }
        if change == Change::Substance {
            wake_all(&caches.stations, &self.stations, &ns, |station| {
                station.spec.serves_lanes.iter().any(|served| served.name.as_str() == name)
            });
        }
    }

    pub(super) fn device_changed(&self, caches: &Caches, device: &Device, change: Change) {
        let (ns, name) = namespaced_name(device);
        self.devices.wake(&ns, &name);
        self.phases_of(caches, &ns, device.spec.phase.as_ref(), change);
        for lane in caches.lanes_of(&ns, &name) {
            self.lanes.wake(&ns, &lane.name_any());
        }
        for station in caches.stations_of(&ns, &name) {
            self.stations.wake(&ns, &station.name_any());
            if change == Change::Substance {
                self.lanes_behind(caches, &ns, &station);
            }
        }
        if change == Change::Substance {
            self.models.wake(&ns, device.spec.model_ref.as_str());
            self.agents.wake(&ns, device.spec.agent_ref.as_str());
        }
    }

    pub(super) fn model_changed(&self, caches: &Caches, model: &DeviceModel, change: Change) {
        let (ns, name) = namespaced_name(model);
        self.models.wake(&ns, &name);
        if change == Change::Substance {
            wake_all(&caches.devices, &self.devices, &ns, |d| d.spec.model_ref.as_str() == name);
            wake_all(&caches.releases, &self.releases, &ns, |r| r.spec.models.iter().any(|m| m.as_str() == name));
        }
    }

    pub(super) fn agent_changed(&self, caches: &Caches, agent: &EdgeAgent, change: Change) {
        let (ns, name) = namespaced_name(agent);
        self.agents.wake(&ns, &name);
        self.phases_of(caches, &ns, agent.spec.phase.as_ref(), change);
        wake_all(&caches.devices, &self.devices, &ns, |d| d.spec.agent_ref.as_str() == name);
        wake_all(&caches.igvs, &self.igvs, &ns, |v| v.spec.agent_ref.as_str() == name);
        wake_all(&caches.links, &self.links, &ns, |l| l.spec.agent_ref.as_str() == name);
    }

    pub(super) fn release_changed(&self, caches: &Caches, release: &FirmwareRelease, _: Change) {
        let (ns, name) = namespaced_name(release);
        self.releases.wake(&ns, &name);
        wake_all(&caches.devices, &self.devices, &ns, |d| {
            d.spec.firmware.as_ref().is_some_and(|f| f.release.as_str() == name)
        });
    }

    pub(super) fn station_changed(&self, caches: &Caches, station: &InspectionStation, change: Change) {
        let (ns, name) = namespaced_name(station);
        self.stations.wake(&ns, &name);
        self.crossings.wake(&ns, station.spec.crossing_ref.as_str());
        self.phases_of(caches, &ns, station.spec.phase.as_ref(), change);
        self.lanes_behind(caches, &ns, station);
        wake_all(&caches.stations, &self.stations, &ns, |other| {
            other.spec.fallback_ref.as_ref().is_some_and(|fallback| fallback.as_str() == name)
        });
        wake_all(&caches.drains, &self.drains, &ns, |drain| drain.spec.target.name.as_str() == name);
    }

    pub(super) fn igv_changed(&self, caches: &Caches, igv: &IGV, change: Change) {
        let (ns, name) = namespaced_name(igv);
        self.igvs.wake(&ns, &name);
        self.crossings.wake(&ns, igv.spec.crossing_ref.as_str());
        self.phases_of(caches, &ns, igv.spec.phase.as_ref(), change);
        if change == Change::Substance {
            self.agents.wake(&ns, igv.spec.agent_ref.as_str());
        }
    }

    pub(super) fn link_changed(&self, caches: &Caches, link: &BilateralLink, change: Change) {
        let (ns, name) = namespaced_name(link);
        self.links.wake(&ns, &name);
        self.crossings.wake(&ns, link.spec.crossing_ref.as_str());
        self.phases_of(caches, &ns, link.spec.phase.as_ref(), change);
        if change == Change::Substance {
            self.agents.wake(&ns, link.spec.agent_ref.as_str());
        }
    }

    pub(super) fn drain_changed(&self, caches: &Caches, drain: &LaneDrain, change: Change) {
        let (ns, name) = namespaced_name(drain);
        self.drains.wake(&ns, &name);
        // Whoever asked goes on, and whoever waited behind it may be next.
        if let Some(device) = drain.spec.requester.strip_prefix("Device/") {
            self.devices.wake(&ns, device);
        }
        if change == Change::Substance {
            wake_all(&caches.drains, &self.drains, &ns, |_| true);
        }
        for lane in caches.lanes_under(&ns, &drain.spec.target) {
            self.lanes.wake(&ns, &lane.name_any());
        }
    }

    pub(super) fn phase_changed(&self, caches: &Caches, phase: &Phase, change: Change) {
        let (ns, name) = namespaced_name(phase);
        let belongs = |phase: Option<&Name>| phase.is_some_and(|p| p.as_str() == name);
        self.phases.wake(&ns, &name);
        // Its members and the phases after it look at the state in force alone: its progress concerns nobody else.
        let state = caches::get(&caches.phases, &ns, &name).and_then(|phase| in_force(&phase));
        let mut states = self.phase_states.lock();
        let same = states.insert((ns.clone(), name.clone()), state) == Some(state);
        drop(states);
        if same && change == Change::Status {
            return;
        }
        wake_all(&caches.phases, &self.phases, &ns, |_| true);
        wake_all(&caches.agents, &self.agents, &ns, |a| belongs(a.spec.phase.as_ref()));
        wake_all(&caches.devices, &self.devices, &ns, |d| belongs(d.spec.phase.as_ref()));
        wake_all(&caches.lanes, &self.lanes, &ns, |l| belongs(l.spec.phase.as_ref()));
        wake_all(&caches.crossings, &self.crossings, &ns, |c| belongs(c.spec.phase.as_ref()));
        wake_all(&caches.stations, &self.stations, &ns, |s| belongs(s.spec.phase.as_ref()));
        wake_all(&caches.igvs, &self.igvs, &ns, |v| belongs(v.spec.phase.as_ref()));
        wake_all(&caches.links, &self.links, &ns, |l| belongs(l.spec.phase.as_ref()));
    }

    /// The phase that counts this object. A changed spec or annotation may concern any phase, the one that it left included.
    fn phases_of(&self, caches: &Caches, namespace: &str, phase: Option<&Name>, change: Change) {
        match (change, phase) {
            (Change::Substance, _) => wake_all(&caches.phases, &self.phases, namespace, |_| true),
            (Change::Status, Some(phase)) => self.phases.wake(namespace, phase.as_str()),
            (Change::Status, None) => {}
        }
    }

    fn lanes_behind(&self, caches: &Caches, namespace: &str, station: &InspectionStation) {
        for lane in caches.lanes_behind(namespace, station) {
            self.lanes.wake(namespace, &lane.name_any());
        }
    }

    /// Everything there is, once: the first pass of a leader.
    pub fn everything(&self, caches: &Caches) {
        fn all<K: Kind>(store: &Store<K>, set: &ReconcileQueue) {
            for object in store.state() {
                let (ns, name) = namespaced_name(object.as_ref());
                set.wake(&ns, &name);
            }
        }
        all(&caches.models, &self.models);
        all(&caches.releases, &self.releases);
        all(&caches.agents, &self.agents);
        all(&caches.phases, &self.phases);
        all(&caches.drains, &self.drains);
        all(&caches.devices, &self.devices);
        all(&caches.stations, &self.stations);
        all(&caches.igvs, &self.igvs);
        all(&caches.links, &self.links);
        all(&caches.lanes, &self.lanes);
        all(&caches.crossings, &self.crossings);
    }
}

fn wake_all<K: Kind>(store: &Store<K>, set: &ReconcileQueue, namespace: &str, fits: impl Fn(&K) -> bool) {
    for object in select(store, namespace, fits) {
        set.wake(namespace, &object.name_any());
    }
}

//! More of a site than Git has, for benchmarks: copies of everything behind its live boxes, each with names and addresses of its own.

use std::collections::BTreeSet;

use kalong_crds::units::Name;
use kube::ResourceExt;
use thiserror::Error;

use super::gitops::SiteObjects;

/// No network of loopback addresses has room for so many copies.
#[derive(Debug, Error)]
#[error("{0} times this site needs more than 254 boxes: take fewer, or several sites")]
pub struct TooLarge(usize);

/// The site `times` over: crossings, lanes, boxes, devices, stations and vehicles of the copies are named `<name>-x<copy>`. Models,
/// releases, phases and links are shared.
///
/// # Errors
/// There are more boxes than the third number of an address can tell apart.
pub fn multiplied(site: &SiteObjects, times: usize) -> Result<SiteObjects, TooLarge> {
    let hosts: BTreeSet<u8> = site.devices.iter().filter_map(|device| host(&device.spec.connection.endpoint)).collect();
    let mut free = (1..=u8::MAX).filter(|number| !hosts.contains(number));
    let mut all = site.clone();
    for copy in 2..=times {
        let numbers: Vec<(u8, u8)> = hosts.iter().copied().zip(free.by_ref()).collect();
        if numbers.len() < hosts.len() {
            return Err(TooLarge(times));
        }
        all.add_copy(site, &format!("-x{copy}"), &numbers);
    }
    Ok(all)
}

/// Third number of an address.
fn host(endpoint: &str) -> Option<u8> {
    endpoint.split('.').nth(2)?.parse().ok()
}

/// The same endpoint behind another box.
fn moved(endpoint: &str, numbers: &[(u8, u8)]) -> String {
    let to = numbers.iter().find(|(from, _)| Some(*from) == host(endpoint)).map(|(_, to)| to.to_string());
    let parts = endpoint.splitn(4, '.').enumerate();
    let parts: Vec<&str> =
        parts.map(|(place, part)| if place == 2 { to.as_deref().unwrap_or(part) } else { part }).collect();
    parts.join(".")
}

impl SiteObjects {
    fn add_copy(&mut self, site: &Self, suffix: &str, numbers: &[(u8, u8)]) {
        let rename = |name: &mut Name| name.0.push_str(suffix);
        for mut crossing in site.crossings.iter().cloned() {
            // A phase opens its crossings by name.
            let name = crossing.name_any();
            for phase in &mut self.phases {
                if phase.spec.crossings.iter().any(|listed| listed.as_str() == name) {
                    phase.spec.crossings.push(Name(format!("{name}{suffix}")));
                }
            }
            crossing.metadata.name = Some(name + suffix);
            crossing.spec.fallback.iter_mut().for_each(rename);
            self.crossings.push(crossing);
        }
        for mut lane in site.lanes.iter().cloned() {
            lane.metadata.name = Some(lane.name_any() + suffix);
            rename(&mut lane.spec.crossing_ref);
            lane.spec.slots.iter_mut().map(|slot| &mut slot.device_ref).for_each(rename);
            lane.spec.fallback.iter_mut().for_each(rename);
            self.lanes.push(lane);
        }
        for mut agent in site.agents.iter().cloned() {
            agent.metadata.name = Some(agent.name_any() + suffix);
            self.agents.push(agent);
        }
        for mut device in site.devices.iter().cloned() {
            device.metadata.name = Some(device.name_any() + suffix);
            rename(&mut device.spec.agent_ref);
            device.spec.connection.endpoint = moved(&device.spec.connection.endpoint, numbers);
            self.devices.push(device);
        }
        for mut station in site.stations.iter().cloned() {
            station.metadata.name = Some(station.name_any() + suffix);
            rename(&mut station.spec.crossing_ref);
            station.spec.slots.iter_mut().map(|slot| &mut slot.device_ref).for_each(rename);
            station.spec.serves_lanes.iter_mut().map(|served| &mut served.name).for_each(rename);
            station.spec.fallback_ref.iter_mut().for_each(rename);
            self.stations.push(station);
        }
        for mut vehicle in site.vehicles.iter().cloned() {
            vehicle.metadata.name = Some(vehicle.name_any() + suffix);
            rename(&mut vehicle.spec.crossing_ref);
            rename(&mut vehicle.spec.agent_ref);
            vehicle.spec.vda5050.serial_number.push_str(suffix);
            self.vehicles.push(vehicle);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{Layout, Preset};

    #[test]
    fn copies_refer_to_copies_and_have_addresses_of_their_own() {
        let one = Layout::read(&Preset::L1.source()).unwrap();
        let three = Layout::of(multiplied(&one.objects, 3).unwrap(), one.facts.clone()).unwrap();
        assert_eq!((three.devices.len(), three.live().count()), (3 * one.devices.len(), 3 * 311));
        let placed = three.devices.iter().find(|device| device.name == "bl2-trad-1-plc-x3").unwrap();
        assert_eq!(
            (placed.agent.as_str(), placed.slot.as_ref().unwrap().lane.as_str()),
            ("bl2-trad-1-x3", "bl2-trad-1-x3")
        );
        let named = |list: &[String], name: &str| list.iter().any(|known| known == name);
        let crossings: Vec<String> = three.objects.crossings.iter().map(ResourceExt::name_any).collect();
        for lane in &three.objects.lanes {
            assert!(named(&crossings, lane.spec.crossing_ref.as_str()), "{}", lane.name_any());
            assert!(lane.spec.fallback.iter().all(|name| three.lane(name.as_str()).is_some()), "{}", lane.name_any());
        }
        assert_eq!(three.objects.phases[0].spec.crossings.len(), 3 * one.objects.phases[0].spec.crossings.len());
        assert!(multiplied(&one.objects, 40).is_err());
    }
}

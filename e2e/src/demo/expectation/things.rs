//! 10. An interlock closes the lanes that depend on it; a missing vehicle is said; the link is in dry run and says why; what is in service
//!     cannot be deleted, and nothing is left Terminating.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason};
use kalong_crds::lane::{Admission, LaneAdmission, Need};
use kalong_crds::{InspectionStation, Lane};
use kube::ResourceExt;

use crate::demo::finding::Finding;
use crate::scenario::{LiveSite, Present, ScenarioError};
use crate::site::report::InterlockState;

/// The interlock is read every second, and the lanes' controllers are told at once.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
const SEEN_WITHIN: Duration = Duration::from_secs(60);
/// What the policy says of each object.
const REFUSAL: &str = "is in service and cannot be deleted";

pub(super) async fn look(site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    let mut finding = Finding::default();
    interlock(site, &mut finding).await?;
    vehicles(site, &mut finding).await?;
    link(site, &mut finding).await?;
    deletion(site, &mut finding).await?;
    Ok(finding)
}

/// A station with lanes that need it and that are declared open, the device that shows its interlock, and these lanes.
fn guarded(site: &LiveSite) -> Option<(String, String, BTreeSet<String>)> {
    let stations = site.stations.present();
    let with = |station: &InspectionStation| {
        let served = station.spec.serves_lanes.iter().filter(|served| served.need == Need::Required);
        let lanes: BTreeSet<String> = served.map(|served| served.name.0.clone()).collect();
        let open = |name: &String| site.lanes.get(name).is_some_and(|lane| lane.spec.admission == Admission::Open);
        let device = station.spec.slots.iter().map(|slot| slot.device_ref.0.clone()).find(|name| {
            let device = site.devices.get(name);
            device.and_then(|d| d.status.as_ref().map(|s| !s.guards.is_empty())).unwrap_or(false)
        });
        let open: BTreeSet<String> = lanes.into_iter().filter(open).collect();
        device.filter(|_| !open.is_empty()).map(|device| (station.name_any(), device, open))
    };
    stations.values().find_map(|station| with(station))
}

async fn interlock(site: &LiveSite, finding: &mut Finding) -> Result<(), ScenarioError> {
    let Some((station, device, lanes)) = guarded(site) else {
        return Err(ScenarioError::shape("the site", "no station has an interlock and an open lane that needs it"));
    };
    let control = site.simulated.control();
    let begun = Instant::now();
    control.interlock(&device, InterlockState::Open).await?;
    lanes_are(site, "lanes closed by the interlock", &lanes, |lane| {
        let closed = lane.status.as_ref().is_some_and(|s| s.admission == LaneAdmission::Closed);
        closed && lane.reason(ConditionType::Available) == Reason::InterlockOpen.as_str()
    })
    .await?;
    let closed = begun.elapsed();
    site.stations
        .until("the station to say so", CLOSED_WITHIN, &site.progress, |seen| {
            let seen = seen.get(&station).ok_or("it is not there")?;
            let unsafe_now = seen
                .condition(ConditionType::InterlocksSafe)
                .is_some_and(|c| c.status == ConditionStatus::False.as_str());
            let names: BTreeSet<String> =
                seen.status.as_ref().map(|s| s.closed_lanes.iter().map(|n| n.0.clone()).collect()).unwrap_or_default();
            if unsafe_now && lanes.is_subset(&names) { Ok(()) } else { Err(format!("it names {names:?}")) }
        })
        .await?;
    let drains: Vec<String> = site.drains.present().keys().cloned().collect();
    finding.require(drains.is_empty(), || format!("a safety closure is no drain, and there are {}", drains.join(", ")));
    control.interlock(&device, InterlockState::Safe).await?;
    lanes_are(site, "lanes open again", &lanes, |lane| {
        lane.is(ConditionType::Available) && lane.status.as_ref().is_some_and(|s| s.admission == LaneAdmission::Open)
    })
    .await?;
    finding.say(format!(
        "the interlock of {station} closed {} after {:.1} s and gave them back",
        lanes.iter().cloned().collect::<Vec<_>>().join(", "),
        closed.as_secs_f64()
    ));
    finding.seconds("interlockSeconds", closed);
    finding.count("interlockLanes", lanes.len());
    Ok(())
}

async fn lanes_are(
    site: &LiveSite,
    what: &str,
    names: &BTreeSet<String>,
    holds: impl Fn(&Lane) -> bool,
) -> Result<(), ScenarioError> {
    site.lanes
        .until(what, CLOSED_WITHIN, &site.progress, |seen: &Present<Lane>| {
            let not = |name: &&String| !seen.get(*name).is_some_and(|lane| holds(lane.as_ref()));
            match names.iter().find(not) {
                None => Ok(()),
                Some(name) => {
                    let said = seen.get(name).and_then(|lane| lane.condition(ConditionType::Available).cloned());
                    Err(format!("{name}: {}", said.map_or_else(String::new, |c| format!("{} {}", c.reason, c.message))))
                }
            }
        })
        .await
}

/// Five declared, four seen.
async fn vehicles(site: &LiveSite, finding: &mut Finding) -> Result<(), ScenarioError> {
    let control = site.simulated.control();
    let absent = control.absent_vehicles().await?;
    let (declared, missing) = site
        .igvs
        .until("vehicles", SEEN_WITHIN, &site.progress, |seen| {
            let serial = |name: &String| seen.get(name).map(|igv| igv.spec.vda5050.serial_number.clone());
            let (here, missing): (Vec<&String>, Vec<&String>) = seen.keys().partition(|name| {
                seen.get(*name).is_some_and(|igv| igv.is(ConditionType::Connected) && igv.is(ConditionType::Localised))
            });
            let missing: BTreeSet<String> = missing.into_iter().filter_map(serial).collect();
            if missing == absent && here.len() + missing.len() == seen.len() {
                Ok((seen.len(), missing))
            } else {
                Err(format!("{} of {} seen", here.len(), seen.len()))
            }
        })
        .await?;
    let unsettled = site.igvs.present();
    let unknown: Vec<&String> = unsettled
        .iter()
        .filter(|(_, igv)| {
            igv.condition(ConditionType::Ready).is_none_or(|c| c.status == ConditionStatus::Unknown.as_str())
        })
        .map(|(name, _)| name)
        .collect();
    finding.require(unknown.is_empty(), || format!("{unknown:?} stay Ready=Unknown"));
    let seen = declared - missing.len();
    let said = site.crossings.present().values().any(|crossing| {
        let status = crossing.status.as_ref();
        status.is_some_and(|s| {
            usize::try_from(s.igvs_declared) == Ok(declared) && usize::try_from(s.igvs_seen) == Ok(seen)
        })
    });
    finding.require(said, || format!("no crossing says {declared} declared, {seen} seen"));
    finding.say(format!("{declared} vehicles declared, {seen} seen"));
    finding.count("vehiclesDeclared", declared);
    finding.count("vehiclesSeen", seen);
    Ok(())
}

/// Ready for the reason DryRun, not Available, and not one connection to the peer.
async fn link(site: &LiveSite, finding: &mut Finding) -> Result<(), ScenarioError> {
    let why = site
        .links
        .until("the link", SEEN_WITHIN, &site.progress, |seen| {
            let link = seen.values().next().ok_or("no link is declared")?;
            let ready = link.condition(ConditionType::Ready).ok_or("it was not visited yet")?;
            if ready.status == ConditionStatus::True.as_str() && ready.reason == Reason::DryRun.as_str() {
                let agreement = link.condition(ConditionType::AgreementInForce).map(|c| c.message.clone());
                Ok((link.is(ConditionType::Available), agreement.unwrap_or_default()))
            } else {
                Err(format!("is {}: {}", ready.reason, ready.message))
            }
        })
        .await?;
    let (available, message) = why;
    finding.require(!available, || "a link in dry run is Available".to_owned());
    finding.require(!message.is_empty(), || "the link does not say why it is in dry run".to_owned());
    let calls = site.simulated.control().peer_calls().await?;
    finding.require(calls == 0, || format!("the peer was called {calls} times in dry run"));
    finding.say(format!("the link is in dry run ({calls} calls to the peer): {message}"));
    Ok(())
}

/// A mistaken `kubectl delete --all`.
async fn deletion(site: &LiveSite, finding: &mut Finding) -> Result<(), ScenarioError> {
    let mut refused = 0;
    let in_service = [
        ("devices", site.devices.present().into_keys().collect::<BTreeSet<String>>()),
        (
            "lanes",
            site.lanes
                .present()
                .into_iter()
                .filter(|(_, lane)| lane.spec.admission == Admission::Open)
                .map(|(name, _)| name)
                .collect(),
        ),
    ];
    for (kind, names) in in_service {
        let delete = ["-n", site.namespace(), "delete", kind, "--all", "--wait=false"];
        let words = site.cluster.kubectl_complaint(delete).await?;
        let silent = names.iter().find(|name| !words.contains(&format!("/{name} {REFUSAL}")));
        finding.require(silent.is_none(), || format!("{kind}: nothing was said of {silent:?}"));
        refused += names.len();
    }
    settled_down(site).await?;
    finding.say(format!(
        "`kubectl delete --all` of devices and lanes was refused for {refused} objects, none is Terminating"
    ));
    finding.count("refusedDeletions", refused);
    Ok(())
}

/// What was closed may go, and goes; nothing stays behind half deleted.
async fn settled_down(site: &LiveSite) -> Result<(), ScenarioError> {
    fn terminating<K: ResourceExt>(seen: &Present<K>) -> Result<(), String> {
        match seen.iter().find(|(_, object)| object.meta().deletion_timestamp.is_some()) {
            None => Ok(()),
            Some((name, _)) => Err(format!("{name} is Terminating")),
        }
    }
    site.devices.until("no device Terminating", SEEN_WITHIN, &site.progress, terminating).await?;
    site.lanes.until("no lane Terminating", SEEN_WITHIN, &site.progress, terminating).await
}

//! 10. An interlock closes the lanes that depend on it; a missing vehicle is said; the link is in dry run and says why; what is in service
//!     cannot be deleted, and nothing is left Terminating.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use kalong_crds::condition::{ConditionStatus, ConditionType, Conditioned, Reason};
use kalong_crds::lane::{Admission, LaneAdmission, Need};
use kalong_crds::{Crossing, IGV, InspectionStation, Lane};
use kube::ResourceExt;
use tokio::time::sleep;

use super::settled::settled;
use crate::demo::finding::Finding;
use crate::scenario::{LiveSite, Present, ScenarioError};
use crate::site::report::InterlockState;

/// The interlock is read every second, and the lanes' controllers are told at once.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);
const SEEN_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(200);
/// What the policy says of each object.
const REFUSAL: &str = "is in service and cannot be deleted";

pub(super) async fn look(site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    let mut finding = Finding::default();
    settled(site).await?;
    // So that one that is there later is of the interlock's making.
    site.drains
        .until("no drain left", SEEN_WITHIN, &site.progress, |seen| {
            seen.keys().next().map_or(Ok(()), |name| Err(format!("{name} is there")))
        })
        .await?;
    interlock(site, &mut finding).await?;
    vehicles(site, &mut finding).await?;
    link(site, &mut finding).await?;
    deletion(site, &mut finding).await?;
    Ok(finding)
}

/// A station whose interlock closes lanes.
struct Guarded {
    station: String,
    device: String,
    /// Need the station, are declared open, and are open.
    lanes: BTreeSet<String>,
}

fn guarded(site: &LiveSite) -> Option<Guarded> {
    let stations = site.stations.present();
    let with = |station: &InspectionStation| {
        let served = station.spec.serves_lanes.iter().filter(|served| served.need == Need::Required);
        let lanes: BTreeSet<String> = served.map(|served| served.name.0.clone()).collect();
        let device = station.spec.slots.iter().map(|slot| slot.device_ref.0.clone()).find(|name| {
            let device = site.devices.get(name);
            device.and_then(|d| d.status.as_ref().map(|s| !s.guards.is_empty())).unwrap_or(false)
        });
        let declared_open = |name: &String| site.lanes.get(name).is_some_and(|l| l.spec.admission == Admission::Open);
        let lanes: BTreeSet<String> = lanes.into_iter().filter(declared_open).collect();
        let open = |name: &String| site.lanes.get(name).is_some_and(|lane| is_open(&lane));
        let device = device.filter(|_| !lanes.is_empty() && lanes.iter().all(open))?;
        Some(Guarded { station: station.name_any(), device, lanes })
    };
    stations.values().find_map(|station| with(station))
}

fn is_open(lane: &Lane) -> bool {
    lane.is(ConditionType::Available) && lane.status.as_ref().is_some_and(|s| s.admission == LaneAdmission::Open)
}

/// Waits until there is one: what guards it and what it closes is known from its box's reports.
async fn until_guarded(site: &LiveSite) -> Result<Guarded, ScenarioError> {
    let begun = Instant::now();
    loop {
        if let Some(guarded) = guarded(site) {
            return Ok(guarded);
        }
        let what = "a station with an interlock and an open lane that needs it";
        if begun.elapsed() > SEEN_WITHIN {
            let seen = "there is none".to_owned();
            return Err(ScenarioError::Deadline { what: what.to_owned(), within: SEEN_WITHIN, seen });
        }
        site.progress.now_and_then(&format!("waiting for {what}"));
        sleep(POLL).await;
    }
}

async fn interlock(site: &LiveSite, finding: &mut Finding) -> Result<(), ScenarioError> {
    let Guarded { station, device, lanes } = until_guarded(site).await?;
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
    lanes_are(site, "lanes open again", &lanes, is_open).await?;
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
            let settled = |igv: &IGV| {
                igv.condition(ConditionType::Ready).is_some_and(|c| c.status != ConditionStatus::Unknown.as_str())
            };
            if let Some((name, _)) = seen.iter().find(|(_, igv)| !settled(igv)) {
                Err(format!("Ready of {name} is Unknown"))
            } else if missing == absent && here.len() + missing.len() == seen.len() {
                Ok((seen.len(), missing))
            } else {
                Err(format!("{} of {} seen", here.len(), seen.len()))
            }
        })
        .await?;
    let seen = declared - missing.len();
    site.crossings
        .until("the crossing to count them", SEEN_WITHIN, &site.progress, |crossings| {
            let counts = |crossing: &Crossing| {
                let status = crossing.status.as_ref()?;
                Some((usize::try_from(status.igvs_declared).ok()?, usize::try_from(status.igvs_seen).ok()?))
            };
            let said = crossings.values().any(|crossing| counts(crossing) == Some((declared, seen)));
            if said { Ok(()) } else { Err(format!("no crossing says {declared} declared, {seen} seen")) }
        })
        .await?;
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

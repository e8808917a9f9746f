//! 5. The line of one box is cut: what is known of its devices turns Unknown after the grace time and not before; when it is back
//!    they are Ready, and what happened meanwhile arrives in order, nothing lost and nothing twice.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use k8s_openapi::api::events::v1::Event;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::device_model::Severity;
use tokio::time::sleep;

use super::settled::{is_ready, settled};
use crate::demo::finding::Finding;
use crate::scenario::{GRACE, LiveSite, Reconnect, ScenarioError, incidents};
use crate::site::layout::Placed;

/// The devices turn one after the other.
const UNKNOWN_DEADLINE: Duration = Duration::from_secs(60);
const READY_DEADLINE: Duration = Duration::from_secs(120);
/// After the grace time: a look a second, a status write a device. A second or two on an idle machine, seven on one that compiles.
const LATE: Duration = Duration::from_secs(6);
/// Our clock at the line and the operator's at its end differ by the way between them.
const EARLY: Duration = Duration::from_millis(250);
/// Each state is held for two polls and a half, so that the box sees it.
const POLLS_HELD: f64 = 2.5;
/// The box looks ten times as often as this.
const EVENT_DEADLINE: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(200);

pub(super) async fn look(site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    let mut finding = Finding::default();
    settled(site).await?;
    let Some(trouble) = trouble(site) else {
        return Err(ScenarioError::Shape {
            what: "the site",
            why: "no device has a mild and a grave health code".into(),
        });
    };
    let agent = trouble.device.agent.clone();
    let names: BTreeSet<String> =
        site.layout.live().filter(|device| device.agent == agent).map(|device| device.name.clone()).collect();
    let seen_before = incidents(&site.events().await?, &site.agent_id(&agent)).len();

    site.uplink.cut(&agent);
    let cut = Instant::now();
    let last_frame = site.uplink.meter(&agent).last_up.unwrap_or(cut);
    let (unknown, toggled) = tokio::join!(all_unknown(site, &names), toggle(site, &trouble));
    unknown?;
    toggled?;
    turned(site, &names, last_frame, cut, &mut finding);
    let away = cut.elapsed();

    site.uplink.reconnect(&agent, Reconnect::Reset);
    let mended = Instant::now();
    site.devices
        .until(&format!("devices behind {agent}"), READY_DEADLINE, &site.progress, |seen| {
            let ready =
                names.iter().filter(|name| seen.get(*name).is_some_and(|device| is_ready(device.as_ref()))).count();
            if ready == names.len() { Ok(()) } else { Err(format!("{ready} of {} Ready again", names.len())) }
        })
        .await?;
    let back = mended.elapsed();
    finding.say(format!("Ready again {:.1} s after {:.1} s without a line", back.as_secs_f64(), away.as_secs_f64()));
    finding.seconds("readyAgainSeconds", back);
    delivered(site, &agent, &trouble, seen_before, &mut finding).await?;
    finding.count("devices", names.len());
    Ok(finding)
}

/// A device that is looked at often and can complain mildly and gravely.
struct Trouble {
    device: Placed,
    mild: String,
    grave: String,
}

impl Trouble {
    /// What is done to it, and what the box tells of that.
    fn script(&self) -> [(Vec<&str>, Reason); 6] {
        let (mild, grave) = (self.mild.as_str(), self.grave.as_str());
        let recovered = || (vec![], Reason::DeviceRecovered);
        [
            (vec![mild], Reason::DeviceDegraded),
            recovered(),
            (vec![grave], Reason::DeviceFaulty),
            (vec![mild], Reason::DeviceDegraded),
            (vec![grave], Reason::DeviceFaulty),
            recovered(),
        ]
    }
}

fn trouble(site: &LiveSite) -> Option<Trouble> {
    site.layout.live().filter(|device| device.model.spec.protocol.poll_interval_millis <= 1000).find_map(|device| {
        let code = |severity| device.model.code(severity).map(str::to_owned);
        Some(Trouble { device: device.clone(), mild: code(Severity::Degraded)?, grave: code(Severity::Faulty)? })
    })
}

async fn toggle(site: &LiveSite, trouble: &Trouble) -> Result<(), ScenarioError> {
    let poll = u64::try_from(trouble.device.model.spec.protocol.poll_interval_millis).unwrap_or(1000);
    let held = Duration::from_millis(poll).mul_f64(POLLS_HELD);
    for (codes, _) in trouble.script() {
        site.simulated.health_of(&trouble.device.name, &codes).await?;
        sleep(held).await;
    }
    Ok(())
}

async fn all_unknown(site: &LiveSite, names: &BTreeSet<String>) -> Result<(), ScenarioError> {
    site.devices
        .until("devices without a line", UNKNOWN_DEADLINE, &site.progress, |seen| {
            let unknown = names.iter().filter(|name| {
                seen.get(*name).is_some_and(|device| {
                    device.condition(ConditionType::Ready).is_some_and(|ready| ready.status == "Unknown")
                })
            });
            let unknown = unknown.count();
            if unknown == names.len() { Ok(()) } else { Err(format!("{unknown} of {} Unknown", names.len())) }
        })
        .await
}

/// When each device turned, counted from the last frame that passed.
fn turned(site: &LiveSite, names: &BTreeSet<String>, last_frame: Instant, cut: Instant, finding: &mut Finding) {
    let (mut first, mut last) = (Duration::MAX, Duration::ZERO);
    for name in names {
        let history = site.devices.history(name);
        let unknown = history.iter().filter(|sighting| sighting.at >= cut).find(|sighting| {
            sighting.object.condition(ConditionType::Ready).is_some_and(|ready| ready.status == "Unknown")
        });
        let Some(unknown) = unknown else {
            finding.require(false, || format!("{name} never turned Unknown"));
            continue;
        };
        let after = unknown.at.saturating_duration_since(last_frame);
        (first, last) = (first.min(after), last.max(after));
        let reason = unknown.object.reason(ConditionType::Ready);
        finding.require(reason == Reason::AgentUnreachable.as_str(), || format!("{name} is Unknown for {reason}"));
        finding.require(after + EARLY >= GRACE, || format!("{name} turned Unknown after {:.1} s", after.as_secs_f64()));
        finding.require(after <= GRACE + LATE, || {
            format!("{name} turned Unknown only after {:.1} s", after.as_secs_f64())
        });
        let stale = ["Available", "Connected"].into_iter().filter(|kind| {
            unknown
                .object
                .conditions()
                .iter()
                .any(|condition| condition.type_ == *kind && condition.status != "Unknown")
        });
        let stale: Vec<_> = stale.collect();
        finding.require(stale.is_empty(), || format!("{name} still states {}", stale.join(" and ")));
    }
    finding.say(format!(
        "{} devices Unknown {:.1} to {:.1} s after the last frame (grace {} s)",
        names.len(),
        first.as_secs_f64(),
        last.as_secs_f64(),
        GRACE.as_secs()
    ));
    finding.seconds("firstUnknownSeconds", first);
    finding.seconds("lastUnknownSeconds", last);
}

/// The Events of the outage, in the order of the store.
async fn delivered(
    site: &LiveSite,
    agent: &str,
    trouble: &Trouble,
    before: usize,
    finding: &mut Finding,
) -> Result<(), ScenarioError> {
    let wanted: Vec<&str> = trouble.script().iter().map(|(_, reason)| reason.as_str()).collect();
    let id = site.agent_id(agent);
    let begun = Instant::now();
    let (all, told) = loop {
        let events = site.events().await?;
        let all = incidents(&events, &id);
        let told = told(&events, &id, before, &trouble.device.name);
        if told.len() >= wanted.len() || begun.elapsed() > EVENT_DEADLINE {
            break (all, told);
        }
        site.progress.now_and_then(&format!("events of the outage: {} of {}", told.len(), wanted.len()));
        sleep(POLL).await;
    };
    finding.require(told == wanted, || format!("events of the outage are {told:?}, expected {wanted:?}"));
    for pair in all.windows(2) {
        if let [earlier, later] = pair {
            let follows = (later.epoch == earlier.epoch && later.seq == earlier.seq + 1)
                || (later.epoch > earlier.epoch && later.seq == 1);
            finding.require(follows, || format!("event {earlier:?} is followed by {later:?}"));
        }
    }
    finding.say(format!(
        "{} events of the outage delivered in order, {} of this agent without a gap",
        told.len(),
        all.len()
    ));
    finding.count("eventsOfTheOutage", told.len());
    Ok(())
}

/// Reasons of this device's Events, after the first `before` of the box.
fn told(events: &[Event], agent: &str, before: usize, device: &str) -> Vec<String> {
    let of_agent = events.iter().filter(|event| crate::scenario::incident(event, agent).is_some()).skip(before);
    of_agent
        .filter(|event| event.regarding.as_ref().and_then(|about| about.name.as_deref()) == Some(device))
        .filter_map(|event| event.reason.clone())
        .collect()
}

//! 3. A release with a wrong signature and one with a wrong digest are refused, one that starts but fails its own test is rolled
//!    back; the devices serve on, and status and Events say why.

use std::time::{Duration, Instant};

use kalong_crds::Device;
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::device_model::{LaneDrainNeed, UpdateSlots};
use kalong_crds::protocol::FirmwareTransport;
use tokio::time::sleep;

use super::settled::settled;
use crate::demo::finding::Finding;
use crate::scenario::{Flaw, LiveSite, Publication, ScenarioError, publish};
use crate::site::image::Behaviour;
use crate::site::layout::Placed;
use crate::site::report::{DeviceSnapshot, Power};

/// The operator's part is done in a second; the device's takes a transfer and two starts.
const REFUSE_DEADLINE: Duration = Duration::from_secs(120);
const EVENT_DEADLINE: Duration = Duration::from_secs(20);
const POLL: Duration = Duration::from_millis(200);

/// A bad release, and what has to come of it.
struct Bad {
    title: &'static str,
    stem: &'static str,
    flaw: Flaw,
    behaviour: &'static [Behaviour],
    /// Any of these has to be the reason in the status.
    reasons: &'static [Reason],
    /// Any of these has to be the reason of an Event of the device.
    events: &'static [Reason],
    /// Whether the device gets the image at all.
    reaches: Reaches,
}

/// How far a bad release comes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Reaches {
    /// Nothing is sent to the device.
    Nobody,
    /// The device gets the image.
    Device,
}

impl Reaches {
    /// How many images the device gets: with one slot only, what ran before has to be sent again.
    fn uploads(self, device: &Placed) -> u64 {
        match (self, device.model.spec.update.slots) {
            (Self::Nobody, _) => 0,
            (Self::Device, UpdateSlots::Single) => 2,
            (Self::Device, UpdateSlots::Dual | UpdateSlots::External) => 1,
        }
    }
}

const BAD: [Bad; 3] = [
    Bad {
        title: "wrong signature",
        stem: "badly-signed",
        flaw: Flaw::Signature,
        behaviour: &[],
        reasons: &[Reason::SignatureInvalid],
        events: &[Reason::SignatureInvalid],
        reaches: Reaches::Nobody,
    },
    Bad {
        title: "wrong digest",
        stem: "exchanged",
        flaw: Flaw::Digest,
        behaviour: &[],
        reasons: &[Reason::DigestMismatch],
        events: &[Reason::DigestMismatch],
        reaches: Reaches::Nobody,
    },
    Bad {
        title: "failing probe",
        stem: "failing",
        flaw: Flaw::None,
        behaviour: &[Behaviour::FailsSelfTest],
        reasons: &[Reason::ProbeFailed, Reason::RolledBack],
        events: &[Reason::RolledBack],
        reaches: Reaches::Device,
    },
];

pub(super) async fn look(site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    let mut finding = Finding::default();
    settled(site).await?;
    let before = site.truth().await?;
    let victims = victims(site);
    finding.require(victims.len() == BAD.len(), || "the site has no three devices to try bad releases on".into());
    let begun = Instant::now();
    for (bad, victim) in BAD.iter().zip(&victims) {
        let name = format!("{}-{}", bad.stem, victim.model.name);
        let (behaviour, flaw) = (bad.behaviour, bad.flaw);
        let wanted =
            Publication { name: name.clone(), model: &victim.model, version: "66.6.0", counter: 66, behaviour, flaw };
        publish(site, &wanted).await?;
        site.patch("device", &victim.name, &patch_to(&name)).await?;
    }
    for (bad, victim) in BAD.iter().zip(&victims) {
        let found = judged(site, bad, victim, before.get(&victim.name), &mut finding).await?;
        finding.say(format!("{}: {found}", bad.title));
    }
    finding.seconds("refusedSeconds", begun.elapsed());
    // The site goes on with what is good.
    for (bad, victim) in BAD.iter().zip(&victims) {
        let factory = victim.spec.firmware.as_ref().map_or("", |firmware| firmware.release.as_str());
        site.patch("device", &victim.name, &patch_to(factory)).await?;
        let release = format!("{}-{}", bad.stem, victim.model.name);
        site.cluster.kubectl(["-n", site.namespace(), "delete", "firmwarerelease", &release]).await?;
    }
    settled(site).await?;
    Ok(finding)
}

fn patch_to(release: &str) -> String {
    serde_json::json!({"spec": {"firmware": {"release": release}}}).to_string()
}

/// Devices that may be changed although their lane is open, or that stand in none, and that test themselves.
fn victims(site: &LiveSite) -> Vec<Placed> {
    let fits = |device: &&Placed| {
        device.model.is_updatable()
            && device.model.firmware_transport() == FirmwareTransport::Slots
            && device.model.offers_self_test()
            && (device.slot.is_none() || device.model.spec.update.lane_drain == LaneDrainNeed::NotNeeded)
    };
    site.layout.live().filter(fits).take(BAD.len()).cloned().collect()
}

/// Waits for the verdict, then looks at the device and at its Events.
async fn judged(
    site: &LiveSite,
    bad: &Bad,
    victim: &Placed,
    before: Option<&DeviceSnapshot>,
    finding: &mut Finding,
) -> Result<String, ScenarioError> {
    let name = &victim.name;
    let device = site
        .devices
        .until(&format!("{} on {name}", bad.title), REFUSE_DEADLINE, &site.progress, |seen| {
            let device = seen.get(name).ok_or("the device is gone")?;
            let reason = device.reason(ConditionType::Ready);
            let stalled = device.is(ConditionType::Stalled) && !device.is(ConditionType::Ready);
            if stalled && bad.reasons.iter().any(|wanted| wanted.as_str() == reason) {
                Ok(device.clone())
            } else {
                Err(format!("Ready is {reason}"))
            }
        })
        .await?;
    let message = device.condition(ConditionType::Ready).map_or("", |ready| ready.message.as_str());
    finding.require(!message.is_empty(), || format!("{name}: the reason has no message"));
    finding.require(device.is(ConditionType::Available), || format!("{name} is not Available any more"));
    let running = device.status.as_ref().and_then(|status| status.firmware.as_ref()).map_or("", |f| f.running.as_str());
    finding.require(running == victim.model.version(), || format!("{name} is shown to run `{running}`"));
    let held = site.simulated.control().device(name).await?;
    let earlier = before.map(|report| report.counts).unwrap_or_default();
    let uploads = held.counts.since(&earlier).uploads;
    let expected = bad.reaches.uploads(victim);
    finding.require(uploads == expected, || format!("{name} got {uploads} images, expected {expected}"));
    finding.require(held.power == Power::On, || format!("{name} does not answer: {:?}", held.power));
    finding
        .require(before.is_some_and(|report| report.digest == held.digest && report.version == held.version), || {
            format!("{name} runs {} and not what it ran before", held.version)
        });
    let event = event(site, bad, &device).await?;
    finding.require(event.is_some(), || format!("{name} has no Event with {:?}", bad.events));
    let outcome = if bad.reaches == Reaches::Nobody { "refused" } else { "rolled back" };
    let reason = device.reason(ConditionType::Ready).to_owned();
    Ok(format!("{outcome} ({reason}, Event {})", event.unwrap_or_else(|| "missing".into())))
}

async fn event(site: &LiveSite, bad: &Bad, device: &Device) -> Result<Option<String>, ScenarioError> {
    let begun = Instant::now();
    loop {
        let found = site.events().await?.into_iter().find_map(|event| {
            let about = event.regarding.as_ref()?.uid == device.metadata.uid;
            let reason = event.reason?;
            (about && bad.events.iter().any(|wanted| wanted.as_str() == reason)).then_some(reason)
        });
        if found.is_some() || begun.elapsed() > EVENT_DEADLINE {
            return Ok(found);
        }
        sleep(POLL).await;
    }
}

//! 1. Every box enrols with its token, everything live is Ready, everything planned is Ready as Planned, and every device holds
//!    the configuration and the image that are declared.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use kalong_crds::{Device, EdgeAgent, FirmwareRelease};

use super::settled::settled;
use crate::demo::finding::Finding;
use crate::scenario::{LiveSite, ScenarioError};
use crate::site::report::DeviceSnapshot;

/// A box says what certificate it holds in its first report.
const CERTIFICATE_DEADLINE: Duration = Duration::from_secs(60);

pub(super) async fn look(site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    let mut finding = Finding::default();
    let settled = settled(site).await?;
    let took = Instant::now().duration_since(site.declared);
    let enrolled = site
        .boxes
        .until("certificates of edge agents", CERTIFICATE_DEADLINE, &site.progress, |seen| {
            let holds = |agent: &EdgeAgent| agent.status.as_ref().is_some_and(|s| s.certificate.is_some());
            let enrolled = seen.values().filter(|agent| holds(agent)).count();
            if enrolled == settled.boxes { Ok(enrolled) } else { Err(format!("{enrolled} of {}", settled.boxes)) }
        })
        .await?;
    let truth = site.truth().await?;
    let compared = compare(site, &truth, &mut finding);
    finding.say(format!("{enrolled} agents enrolled"));
    finding.say(format!(
        "{} devices, {} lanes and {} crossings Ready {:.1} s after they were declared",
        settled.devices,
        settled.lanes,
        settled.crossings,
        took.as_secs_f64()
    ));
    finding.say(format!("{} objects Planned and not contacted", settled.planned));
    finding.say(format!(
        "{} settings and {} image digests as the simulator holds them",
        compared.settings, compared.digests
    ));
    finding.seconds("allReadySeconds", took);
    finding.count("agents", enrolled);
    finding.count("devices", settled.devices);
    finding.count("lanes", settled.lanes);
    finding.count("crossings", settled.crossings);
    finding.count("planned", settled.planned);
    finding.count("settings", compared.settings);
    finding.count("digests", compared.digests);
    writes(site, settled.devices, &mut finding)?;
    Ok(finding)
}

#[derive(Default)]
struct Compared {
    settings: usize,
    digests: usize,
}

/// Holds what the API server declares against what the devices hold.
fn compare(site: &LiveSite, truth: &BTreeMap<String, DeviceSnapshot>, finding: &mut Finding) -> Compared {
    let (devices, releases) = (site.devices.present(), site.releases.present());
    let mut compared = Compared::default();
    for placed in &site.layout.devices {
        let name = &placed.name;
        let (Some(declared), Some(held)) = (devices.get(name), truth.get(name)) else {
            finding.require(false, || format!("{name} is not in the cluster or not in the simulator"));
            continue;
        };
        if !placed.is_live() {
            let touched = held.counts.connections + held.counts.requests;
            finding.require(touched == 0, || format!("{name} is Planned and was contacted {touched} times"));
            continue;
        }
        for (setting, value) in &declared.spec.config {
            let there = held.settings.get(setting);
            compared.settings += usize::from(there == Some(value));
            finding.require(there == Some(value), || format!("{name}: {setting} is {there:?}, declared is {value}"));
        }
        if let Some(release) = wanted(declared, &releases) {
            let digest = &release.spec.artifact.digest;
            compared.digests += usize::from(held.digest.as_ref() == Some(digest));
            finding.require(held.digest.as_ref() == Some(digest), || {
                format!("{name} runs the image {:?}, declared is {digest}", held.digest)
            });
            finding.require(held.version == release.spec.version, || {
                format!("{name} runs {}, declared is {}", held.version, release.spec.version)
            });
        }
    }
    compared
}

fn wanted<'a>(
    device: &Device,
    releases: &'a BTreeMap<String, Arc<FirmwareRelease>>,
) -> Option<&'a Arc<FirmwareRelease>> {
    device.spec.firmware.as_ref().and_then(|firmware| releases.get(firmware.release.as_str()))
}

/// What it cost at the API server until all were Ready.
fn writes(site: &LiveSite, devices: usize, finding: &mut Finding) -> Result<(), ScenarioError> {
    let Some(plane) = site.cluster.plane() else { return Ok(()) };
    let writes = plane.audit().writes_by(&site.operator_user(), Default::default())?;
    let of_devices = writes.iter().filter(|entry| entry.resource == "devices").count();
    let status = writes.iter().filter(|entry| entry.resource == "devices" && entry.subresource == "status").count();
    let each = |count: usize| {
        let number = |n: usize| u32::try_from(n).map_or(f64::MAX, f64::from);
        number(count) / number(devices.max(1))
    };
    finding.say(format!("{:.2} API writes a device ({:.2} of status)", each(of_devices), each(status)));
    finding.measure("apiWritesPerDevice", each(of_devices));
    finding.measure("statusWritesPerDevice", each(status));
    finding.count("apiWrites", writes.len());
    Ok(())
}

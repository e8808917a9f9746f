//! 6. A minute in which nothing happens costs beats and the lease, and nothing else; then one change costs one status write.

use std::time::{Duration, Instant};

use kalong_crds::device_model::Severity;
use tokio::time::sleep;

use super::settled::settled;
use crate::cluster::{AuditEntry, AuditMark, ControlPlane};
use crate::demo::finding::Finding;
use crate::scenario::{LiveSite, ScenarioError};

const IDLE: Duration = Duration::from_secs(60);
/// Of twenty that are sent, two may fall beside the minute.
const BEATS: u64 = 18;
/// What follows a change comes in this time.
const FOLLOW: Duration = Duration::from_secs(5);
const CHANGE_DEADLINE: Duration = Duration::from_secs(30);
/// What came before is over once nothing was written for so long: the slowest devices are polled every 5 s.
const CALM: Duration = Duration::from_secs(6);
const CALM_DEADLINE: Duration = Duration::from_secs(60);

pub(super) async fn look(site: &mut LiveSite) -> Result<Finding, ScenarioError> {
    let mut finding = Finding::default();
    settled(site).await?;
    calm(site).await?;
    site.progress.line("nothing happens for a minute");
    let counter = Counter::start(site).await?;
    let lines = site.uplink.meters();
    sleep(IDLE).await;
    let beats = site.uplink.meters().into_iter().map(|(name, meter)| {
        let earlier = lines.get(&name).map(|line| line.messages_up).unwrap_or_default();
        (name, meter.messages_up.saturating_sub(earlier))
    });
    let beats: Vec<(String, u64)> = beats.collect();
    let writes = counter.so_far(site).await?;
    for (name, count) in &beats {
        finding.require(*count >= BEATS, || format!("{name} was heard {count} times in a minute"));
    }
    finding.require(beats.len() == site.agents.len(), || format!("{} lines are known", beats.len()));
    let least = beats.iter().map(|(_, count)| *count).min().unwrap_or_default();
    // TLS hides what is said: counted are records towards the gateway that are long enough for a beat and too long for a keep-alive.
    finding.say(format!("at least {least} beats an agent in {} s, counted on its line as TLS records", IDLE.as_secs()));
    finding.require(writes.is_empty(), || format!("the operator wrote {}", words(&writes)));
    finding.say(format!("{} API writes beside the lease in {}", writes.len(), counter.source()));
    finding.measure("leastBeats", f64::from(u32::try_from(least).unwrap_or(u32::MAX)));
    finding.count("idleWrites", writes.len());

    let statuses = one_change(site).await?;
    finding.require(statuses.len() == 1, || format!("one change was followed by {}", words(&statuses)));
    finding.say(format!("one device changed: {} status write", statuses.len()));
    finding.count("writesOfOneChange", statuses.len());
    Ok(finding)
}

/// Waits until the operator has written what came before.
async fn calm(site: &LiveSite) -> Result<(), ScenarioError> {
    let begun = Instant::now();
    loop {
        let counter = Counter::start(site).await?;
        sleep(CALM).await;
        let writes = counter.so_far(site).await?;
        if writes.is_empty() {
            return Ok(());
        }
        if begun.elapsed() > CALM_DEADLINE {
            let seen = format!("the operator wrote {}", words(&writes));
            return Err(ScenarioError::Deadline { what: "a calm moment".into(), within: CALM_DEADLINE, seen });
        }
        site.progress.now_and_then(&format!("a calm moment: the operator wrote {}", words(&writes)));
    }
}

/// A mild complaint of one device, and what the operator writes of it.
async fn one_change(site: &LiveSite) -> Result<Vec<OperatorWrite>, ScenarioError> {
    // Of a device that stands in no lane, so that nothing else has to be said.
    let mut outside = site.layout.live().filter(|device| device.slot.is_none());
    let found = outside.find_map(|device| Some((device, device.model.code(Severity::Degraded)?)));
    let Some((device, code)) = found else {
        return Err(ScenarioError::Shape {
            what: "the site",
            why: "no device outside lanes has a mild health code".into(),
        });
    };
    let counter = Counter::start(site).await?;
    site.simulated.health_of(&device.name, &[code]).await?;
    site.devices
        .until(&format!("{code} of {}", device.name), CHANGE_DEADLINE, &site.progress, |seen| {
            let shown = seen.get(&device.name).and_then(|device| device.status.as_ref()?.health.clone());
            let shown = shown.map(|health| health.codes).unwrap_or_default();
            if shown == [code] { Ok(()) } else { Err(format!("shown is {shown:?}")) }
        })
        .await?;
    sleep(FOLLOW).await;
    let mut writes = counter.so_far(site).await?;
    writes.retain(|write| write.subresource == "status");
    site.simulated.health_of(&device.name, &[]).await?;
    Ok(writes)
}

/// A write of the operator.
struct OperatorWrite {
    resource: String,
    subresource: String,
    name: String,
}

impl From<AuditEntry> for OperatorWrite {
    fn from(entry: AuditEntry) -> Self {
        Self { resource: entry.resource, subresource: entry.subresource, name: entry.name }
    }
}

fn words(writes: &[OperatorWrite]) -> String {
    let list: Vec<_> = writes.iter().take(6).map(|w| format!("{}/{} {}", w.resource, w.subresource, w.name)).collect();
    if list.is_empty() { "nothing".to_owned() } else { format!("{} times: {}", writes.len(), list.join(", ")) }
}

/// Counts the operator's writes from a moment on.
enum Counter {
    Audit(AuditMark),
    /// In a cluster without one: every version of an object that a watcher saw.
    Watch(Instant),
}

impl Counter {
    async fn start(site: &LiveSite) -> Result<Self, ScenarioError> {
        match site.cluster.plane() {
            Some(plane) => Ok(Self::Audit(plane.audit_fence().await?)),
            None => Ok(Self::Watch(Instant::now())),
        }
    }

    fn source(&self) -> &'static str {
        match self {
            Self::Audit(_) => "the audit log",
            Self::Watch(_) => "what a watcher saw (this cluster's audit log is not ours to read)",
        }
    }

    async fn so_far(&self, site: &LiveSite) -> Result<Vec<OperatorWrite>, ScenarioError> {
        match (self, site.cluster.plane()) {
            (Self::Audit(mark), Some(plane)) => audited(plane, *mark, &site.operator_user()).await,
            (Self::Audit(_), None) => Ok(Vec::new()),
            (Self::Watch(since), _) => Ok(watched(site, *since)),
        }
    }
}

async fn audited(plane: &ControlPlane, mark: AuditMark, user: &str) -> Result<Vec<OperatorWrite>, ScenarioError> {
    plane.audit_fence().await?;
    Ok(plane.audit().writes_by(user, mark)?.into_iter().map(OperatorWrite::from).collect())
}

fn watched(site: &LiveSite, since: Instant) -> Vec<OperatorWrite> {
    let write = |resource: &str, name: Option<String>| OperatorWrite {
        resource: resource.to_owned(),
        subresource: "status".to_owned(),
        name: name.unwrap_or_default(),
    };
    let mut writes = Vec::new();
    writes.extend(site.devices.since(since).into_iter().map(|s| write("devices", s.object.metadata.name.clone())));
    writes.extend(site.lanes.since(since).into_iter().map(|s| write("lanes", s.object.metadata.name.clone())));
    writes.extend(site.crossings.since(since).into_iter().map(|s| write("crossings", s.object.metadata.name.clone())));
    writes.extend(site.boxes.since(since).into_iter().map(|s| write("edgeagents", s.object.metadata.name.clone())));
    writes
}

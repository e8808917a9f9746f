//! New firmware for some cameras, as a person asks for it, and what the cameras themselves say came of it.

use std::collections::BTreeMap;

use futures::{StreamExt, TryStreamExt};
use kalong_crds::protocol::FirmwareTransport;

use crate::demo::finding::Finding;
use crate::scenario::{Flaw, LiveSite, Publication, Published, ScenarioError, publish};
use crate::site::layout::Placed;
use crate::site::model::Model;
use crate::site::report::DeviceSnapshot;

const PATCH_AT_ONCE: usize = 4;

pub(super) type Releases = BTreeMap<String, Published>;

/// One release a model of these cameras.
pub(super) async fn publish_all(
    site: &LiveSite,
    cameras: &[Placed],
    version: impl Fn(&Model) -> String,
    counter: i64,
) -> Result<Releases, ScenarioError> {
    let mut releases = BTreeMap::new();
    for model in cameras.iter().map(|camera| &camera.model) {
        if !releases.contains_key(&model.name) {
            let version = version(model);
            let name = format!("{}-{version}", model.name);
            let wanted = Publication { name, model, version: &version, counter, behaviour: &[], flaw: Flaw::None };
            releases.insert(model.name.clone(), publish(site, &wanted).await?);
        }
    }
    Ok(releases)
}

/// Patches `spec.firmware` of all of them, as fast as a person's script does.
pub(super) async fn want(site: &LiveSite, cameras: &[Placed], releases: &Releases) -> Result<(), ScenarioError> {
    futures::stream::iter(cameras)
        .map(|camera| async move {
            let release = releases.get(&camera.model.name).map_or("", |release| release.name.as_str());
            let patch = serde_json::json!({"spec": {"firmware": {"release": release}}}).to_string();
            site.patch("device", &camera.name, &patch).await
        })
        .buffer_unordered(PATCH_AT_ONCE)
        .try_collect::<Vec<()>>()
        .await
        .map(drop)
}

/// The devices themselves: the new image, made permanent, uploaded once, and on no other device.
pub(super) async fn prove(
    site: &LiveSite,
    cameras: &[Placed],
    releases: &Releases,
    before: &BTreeMap<String, DeviceSnapshot>,
    finding: &mut Finding,
) -> Result<(), ScenarioError> {
    let after = site.truth().await?;
    let mut uploads = 0;
    for (name, held) in &after {
        let earlier = before.get(name).map(|report| report.counts).unwrap_or_default();
        let counts = held.counts.since(&earlier);
        uploads += counts.uploads;
        let Some(camera) = cameras.iter().find(|camera| camera.name == *name) else {
            finding.require(counts.uploads == 0 && counts.reboots == 0, || {
                format!("{name} got {} images and {} restarts without being asked", counts.uploads, counts.reboots)
            });
            continue;
        };
        let Some(release) = releases.get(&camera.model.name) else { continue };
        finding.require(held.digest.as_ref() == Some(&release.digest), || format!("{name} runs {:?}", held.digest));
        // An upload knows no trial, so nothing makes an image permanent there.
        let permanent = held.committed || camera.model.firmware_transport() == FirmwareTransport::Upload;
        finding.require(permanent, || format!("{name} runs its new image on trial only"));
        finding.require(counts.uploads == 1, || format!("{name} got {} images", counts.uploads));
    }
    finding.say(format!("{uploads} uploads"));
    Ok(())
}

//! How a device goes, and how it does not.

use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::{DELETE_IN_SERVICE, Device, EdgeAgent};
use serde_json::json;

use super::fixture::fixture;
use super::home::{Home, shared_site};
use super::site::declared;
use crate::kit::{SOON, holds, until};

async fn device_goes_once_it_is_out_of_service_and_its_box_let_go_of_it() {
    let fixture = fixture().await;
    let site = shared_site("deletion").await;
    let (here, away) = (fixture.device(), fixture.device());
    site.working_box("here").await;
    site.working_box("away").await;
    site.device(here, "here").await;
    site.device(away, "away").await;
    for placed in [here, away] {
        site.ready::<Device>(&placed.name).await;
    }
    let counts = async |name: &str| fixture.control().device(name).await.unwrap().counts;
    let before = counts(&here.name).await;

    let refusal = site.delete::<Device>(&here.name).await.unwrap_err();
    assert!(refusal.contains("in service") && refusal.contains("spec.admin: Disabled"), "{refusal}");
    site.patch::<Device>(&here.name, json!({"spec": {"admin": "Disabled"}})).await;
    site.delete::<Device>(&here.name).await.unwrap();
    site.gone::<Device>(&here.name).await;
    let in_sync =
        |a: &EdgeAgent| a.is(ConditionType::Synced) && a.status.as_ref().is_some_and(|s| s.orphans.is_empty());
    site.until::<EdgeAgent>("here", "in sync, without orphans", SOON, in_sync).await;
    let after = counts(&here.name).await;
    assert_eq!((after.writes, after.reboots), (before.writes, before.reboots), "the device is left as it is");

    // Its box is away: the object waits, and says for whom.
    site.stop_box("away").await;
    site.silent("away").await;
    site.patch::<Device>(&away.name, json!({"spec": {"admin": "Disabled"}})).await;
    site.delete::<Device>(&away.name).await.unwrap();
    let waits = |d: &Device| {
        d.reason(ConditionType::Ready) == "Terminating"
            && d.status.as_ref().is_some_and(|s| s.blocked_by.iter().any(|b| b.code == BlockCode::AgentUnreachable))
    };
    site.until::<Device>(&away.name, "waits for its box", SOON, waits).await;
    site.run("away").await;
    site.gone::<Device>(&away.name).await;
    site.until::<EdgeAgent>("away", "in sync, without orphans", SOON, in_sync).await;
}

async fn device_that_vanished_from_the_cluster_goes_on_as_an_orphan_and_is_adopted_untouched() {
    let fixture = fixture().await;
    let home = Home::new(&fixture.cluster, "orphans", &["orphans"]).await;
    let site = home.site("orphans");
    let mut operator = home.operator("only");
    operator.start().await;
    operator.serves().await;
    let (placed, other) = (fixture.device(), fixture.device());
    site.working_box("gate").await;
    for device in [placed, other] {
        site.device(device, "gate").await;
    }
    for device in [placed, other] {
        site.ready::<Device>(&device.name).await;
    }
    let counts = async || fixture.control().device(&placed.name).await.unwrap().counts;
    let before = counts().await;

    // A store that was replaced: the object is gone, and no finalizer ever sent a tombstone.
    operator.stop().await;
    let by_hand =
        json!({"metadata": {"finalizers": null, "annotations": {DELETE_IN_SERVICE: "Linh, 2026-11-22, test"}}});
    site.patch::<Device>(&placed.name, by_hand).await;
    site.delete::<Device>(&placed.name).await.unwrap();
    site.gone::<Device>(&placed.name).await;
    operator.start().await;
    operator.serves().await;
    let orphan = format!("Device/{}", placed.name);
    let reported = |a: &EdgeAgent| a.status.as_ref().is_some_and(|s| s.orphans.contains(&orphan));
    site.until::<EdgeAgent>("gate", "reports the orphan", SOON, reported).await;
    let read = counts().await.requests;
    until("the orphan is still served", SOON, async || holds(counts().await.requests > read, read)).await;
    let change = site.change(other).await;
    site.holds(other, &change).await;
    let reported = site.get::<EdgeAgent>("gate").await;
    assert!(reported.status.unwrap().orphans.contains(&orphan), "a change of another device takes nothing away");

    site.create(&declared(fixture, placed, "gate")).await;
    site.ready::<Device>(&placed.name).await;
    let adopted = |a: &EdgeAgent| a.status.as_ref().is_some_and(|s| s.orphans.is_empty());
    site.until::<EdgeAgent>("gate", "has no orphan any more", SOON, adopted).await;
    let after = counts().await;
    assert_eq!((after.writes, after.reboots), (before.writes, before.reboots), "adopted without touching the device");
}

crate::tests![
    device_goes_once_it_is_out_of_service_and_its_box_let_go_of_it,
    device_that_vanished_from_the_cluster_goes_on_as_an_orphan_and_is_adopted_untouched,
];

//! A box that is shut out is out at once; one that is given up lets its devices go.

use std::time::{Duration, Instant};

use http::StatusCode;
use jiff::SignedDuration;
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::{ABANDON, Device, EdgeAgent};
use serde_json::json;

use super::door::{Door, request, token};
use super::fixture::fixture;
use super::home::{shared, shared_site};
use super::moving::talks;
use crate::kit::{SOON, holds, until};

/// The promise is one second; the rest is our own looking.
const OUT_WITHIN: Duration = Duration::from_millis(1200);

async fn suspension_ends_a_live_session_within_a_second_and_lifting_it_lets_the_box_back_in() {
    let fixture = fixture().await;
    let site = shared_site("suspension").await;
    let listens = shared().await.1.listens;
    let placed = fixture.device();
    site.working_box("gate").await;
    site.device(placed, "gate").await;
    site.ready::<Device>(&placed.name).await;
    let pid = site.process_of("gate").pid();
    assert!(talks(pid, listens.mqtt));

    site.patch::<EdgeAgent>("gate", json!({"spec": {"suspend": true}})).await;
    let declared = Instant::now();
    until("the session has ended", SOON, async || holds(!talks(pid, listens.mqtt), "it stands")).await;
    assert!(declared.elapsed() <= OUT_WITHIN, "{:?}", declared.elapsed());
    let resting = |a: &EdgeAgent| a.is(ConditionType::Ready) && a.reason(ConditionType::Ready) == "Suspended";
    site.until::<EdgeAgent>("gate", "Suspended", SOON, resting).await;

    // No certificate for it meanwhile; the token stays good.
    let door = Door::of(&site, listens.https).await;
    let token = token(&site, "gate", SignedDuration::from_hours(1)).await;
    let said = door.ask("suspension.gate", &token, &request("suspension.gate", &[])).await;
    assert_eq!(said.status, StatusCode::FORBIDDEN, "{said:?}");
    assert!(said.message().contains("suspended"), "{said:?}");

    // What was declared while it was out is in force once it is back.
    let change = site.change(placed).await;
    site.patch::<EdgeAgent>("gate", json!({"spec": {"suspend": false}})).await;
    until("the box is back", SOON, async || holds(talks(pid, listens.mqtt), site.box_log("gate"))).await;
    site.holds(placed, &change).await;
    site.ready::<Device>(&placed.name).await;
    site.ready::<EdgeAgent>("gate").await;
}

async fn box_that_is_given_up_releases_its_devices_and_never_comes_back() {
    let fixture = fixture().await;
    let site = shared_site("abandoned").await;
    let placed = fixture.device();
    site.working_box("gate").await;
    site.device(placed, "gate").await;
    site.ready::<Device>(&placed.name).await;
    site.process_of("gate").kill().await.unwrap();
    site.patch::<Device>(&placed.name, json!({"spec": {"admin": "Disabled"}})).await;
    site.delete::<Device>(&placed.name).await.unwrap();
    site.delete::<EdgeAgent>("gate").await.unwrap();
    let kept =
        |a: &EdgeAgent| a.status.as_ref().is_some_and(|s| s.blocked_by.iter().any(|b| b.message.contains(ABANDON)));
    site.until::<EdgeAgent>("gate", "kept while a device names it", SOON, kept).await;

    let given_up = json!({"metadata": {"annotations": {ABANDON: "Linh, 2026-11-22, box burnt"}}});
    site.patch::<EdgeAgent>("gate", given_up).await;
    site.gone::<Device>(&placed.name).await;
    site.gone::<EdgeAgent>("gate").await;

    // The box was only thought to be burnt.
    let earlier = site.box_log("gate").len();
    site.run("gate").await;
    let since = || site.box_log("gate").split_off(earlier);
    until("the box that came back is refused", SOON, async || holds(since().contains("refuses this box"), since()))
        .await;
    assert!(!since().contains("The operator is reached."), "{}", since());
}

async fn two_boxes_with_one_identity_are_both_shut_out_until_the_right_one_enrols_anew() {
    let site = shared_site("doubles").await;
    site.working_box("gate").await;
    site.ready::<EdgeAgent>("gate").await;
    // A disk that was cloned.
    site.stop_box("gate").await;
    let (original, clone) = (site.state_of("gate"), site.state_of("clone"));
    std::fs::create_dir_all(&clone).unwrap();
    for entry in std::fs::read_dir(&original).unwrap().map(Result::unwrap).filter(|e| e.path().is_file()) {
        std::fs::copy(entry.path(), clone.join(entry.file_name())).unwrap();
    }
    site.run("gate").await;
    site.run("clone").await;
    let say = site.stalled::<EdgeAgent>("gate", "DuplicateIdentity", SOON).await;
    assert!(say.contains("find the second one") && say.contains("enrol"), "{say}");

    site.stop_box("clone").await;
    site.stop_box("gate").await;
    site.enrol("gate").await.unwrap();
    site.run("gate").await;
    site.ready::<EdgeAgent>("gate").await;
}

crate::tests![
    suspension_ends_a_live_session_within_a_second_and_lifting_it_lets_the_box_back_in,
    box_that_is_given_up_releases_its_devices_and_never_comes_back,
    two_boxes_with_one_identity_are_both_shut_out_until_the_right_one_enrols_anew,
];

//! What is only planned is healthy and untouched, until its phase is live.

use std::net::SocketAddr;

use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::{Crossing, Device, EdgeAgent, Lane};
use serde_json::json;

use super::ground::{SOON, ground, holds, until};
use super::home::{Home, LIVE};
use super::moving::talks;
use super::plain_http::get;
use super::site::{Kind, TestSite};

const LATER: &str = "phase-2";

async fn rests<K: Kind + Conditioned>(site: &TestSite<'_>, name: &str) {
    site.until(name, "Ready because Planned", SOON, |object: &K| {
        object.is(ConditionType::Ready) && object.reason(ConditionType::Ready) == "Planned"
    })
    .await;
}

#[tokio::test]
async fn planned_things_are_healthy_and_not_contacted_until_their_phase_is_live() {
    let ground = ground().await;
    let home = Home::new(&ground.cluster, "planned", &["planned"]).await;
    let site = home.site("planned");
    let mut operator = home.operator("only");
    operator.start().await;
    operator.serves().await;
    let (live, later) = (ground.device(), ground.device_of("lane-plc"));
    site.working_box("gate").await;
    site.agent("later").await;
    site.patch::<EdgeAgent>("later", json!({"spec": {"phase": LATER}})).await;
    site.crossing("bridge").await;
    site.patch::<Crossing>("bridge", json!({"spec": {"phase": LATER}})).await;
    site.model_of(later).await;
    let mut device = super::site::declared(ground, later, "gate");
    device.spec.phase = Some(LATER.into());
    site.create(&device).await;
    site.device(live, "gate").await;
    site.lane("lane", "bridge", &[("Controller", &later.name)]).await;
    site.patch::<Lane>("lane", json!({"spec": {"phase": LATER}})).await;

    rests::<EdgeAgent>(&site, "later").await;
    rests::<Crossing>(&site, "bridge").await;
    rests::<Device>(&site, &later.name).await;
    rests::<Lane>(&site, "lane").await;
    site.ready::<Device>(&live.name).await;
    let counts = ground.control().device(&later.name).await.unwrap().counts;
    assert_eq!((counts.connections, counts.requests), (0, 0), "a planned device is not contacted");
    let (_, metrics) = get(operator.listens.http, "/metrics").await.unwrap();
    let alarms = metrics.lines().filter(|line| line.starts_with("kalong_resource_condition{")).collect::<Vec<_>>();
    let planned = |name: &str| alarms.iter().any(|line| line.contains(&format!("name=\"{name}\"")));
    assert!(![later.name.as_str(), "later", "bridge", "lane"].into_iter().any(planned), "{alarms:?}");

    operator.stop().await;
    operator.live = format!("{LIVE},{LATER}");
    operator.start().await;
    operator.serves().await;
    let device = site.ready_again::<Device>(&later.name).await;
    assert!(device.is(ConditionType::Connected));
    site.ready_again::<Lane>("lane").await;
    site.until::<EdgeAgent>("later", "live now, so it has to enrol", SOON, |a| {
        a.reason(ConditionType::Ready) == "NotEnrolled"
    })
    .await;
    assert!(ground.control().device(&later.name).await.unwrap().counts.connections > 0);
    let (pid, endpoint) = (site.process_of("gate").pid(), SocketAddr::V4(later.endpoint(ground.network())));
    until("the box reads it", SOON, async || holds(talks(pid, endpoint), "no connection")).await;

    // A phase that is put off again: its devices are let go of and left as they are.
    operator.stop().await;
    operator.live = LIVE.to_owned();
    operator.start().await;
    operator.serves().await;
    rests::<Device>(&site, &later.name).await;
    rests::<Lane>(&site, "lane").await;
    until("the box lets go of it", SOON, async || holds(!talks(pid, endpoint), "still connected")).await;
    site.ready::<Device>(&live.name).await;
}

impl TestSite<'_> {
    /// Ready for another reason than being planned.
    async fn ready_again<K: Kind + Conditioned>(&self, name: &str) -> K {
        self.until(name, "Ready in service", SOON, |object: &K| {
            object.is(ConditionType::Ready) && object.reason(ConditionType::Ready) != "Planned"
        })
        .await
    }
}

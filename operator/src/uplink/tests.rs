//! What an uplink does with counters, urgent orders and the question who holds what: frames in, answers and metrics out.

use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use kalong_controllers::kit::link::{Admittance, AgentLink, Holding};
use kalong_crds::lane::CargoClass;
use kalong_crds::units::AgentId;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::event::Event;
use kalong_crds::wire::signature::Signer;
use kalong_crds::wire::telemetry::{
    CLEARANCE_BOUNDS, ClassCount, GATE_BOUNDS, IgvCounters, LaneCounters, Telemetry, Timing,
};
use kalong_crds::wire::topic::{Down, Up};
use prometheus::{Encoder, Registry, TextEncoder};
use serde_json::json;

use super::events::EventSink;
use super::model::{Model, device};
use super::{RenewalError, Renewals, SinkError, Uplink, UplinkConfig, UplinkMetrics};
use crate::broker::{Intake, Session, Verdict};

struct Nobody;

impl EventSink for Nobody {
    fn deliver<'a>(&'a self, _: &'a AgentId, _: &'a Event) -> BoxFuture<'a, Result<(), SinkError>> {
        Box::pin(async { Ok(()) })
    }
}

impl Renewals for Nobody {
    fn renew<'a>(&'a self, _: &'a AgentId, _: Renewal) -> BoxFuture<'a, Result<Control, RenewalError>> {
        Box::pin(async { Err(RenewalError("no".into())) })
    }
}

const GRACE: Duration = Duration::from_secs(90);

struct Desk {
    registry: Registry,
    metrics: Arc<UplinkMetrics>,
    uplink: Arc<Uplink>,
    signer: Vec<u8>,
}

struct Visitor {
    model: Model,
    session: Session,
}

impl Desk {
    fn new() -> Self {
        let signer = Signer::generate().unwrap();
        let registry = Registry::new();
        let metrics = Arc::new(UplinkMetrics::register(&registry).unwrap());
        let config = UplinkConfig {
            term: 1,
            signer: Signer::from_pkcs8("k", &signer).unwrap(),
            grace: GRACE,
            metrics: Arc::clone(&metrics),
        };
        let uplink = Uplink::new(config, Arc::new(Nobody), Arc::new(Nobody));
        Self { registry, metrics, uplink, signer }
    }

    /// A box with a session that has reported its whole.
    fn enter(&self, name: &str) -> Visitor {
        let keys = vec![Signer::from_pkcs8("k", &self.signer).unwrap().public()];
        let mut model = Model::new(format!("mong-cai.{name}").parse().unwrap(), keys);
        let session = Session::unwired(1, model.id.clone());
        self.uplink.admit(&model.id, Admittance::Admitted);
        self.uplink.session_started(&model.id, session.clone());
        model.connected();
        let mut entered = Visitor { model, session };
        self.report(&mut entered);
        entered
    }

    fn report(&self, from: &mut Visitor) {
        for message in from.model.report() {
            self.uplink.frame(&from.model.id, Up::Reported, message.into());
        }
    }

    fn count(&self, from: &mut Visitor, said: Telemetry) -> Verdict {
        let message = from.model.envelope(said);
        self.uplink.frame(&from.model.id, Up::Telemetry, message.into())
    }

    fn scrape(&self) -> String {
        let mut text = Vec::new();
        TextEncoder::new().encode(&self.registry.gather(), &mut text).unwrap();
        String::from_utf8(text).unwrap()
    }

    /// Waits, in the paused clock of the test, until the box took something in and reported again.
    async fn told(&self, to: &mut Visitor) -> Vec<Down> {
        let wait = async {
            loop {
                let mut heard = Vec::new();
                for (down, message) in to.session.take() {
                    if to.model.receive(down, &message) {
                        heard.push(down);
                    }
                }
                if !heard.is_empty() {
                    return heard;
                }
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), wait).await.unwrap()
    }
}

fn lane(uid: &str) -> Item {
    let order = json!({"crossing": "bac-luan-2", "direction": "Outbound", "service": "Smart", "admission": "Open",
        "controller": "c", "members": []});
    Item::new(ItemKind::Lane, "mong-cai", &format!("lane-{uid}"), uid, 1, &order).unwrap()
}

fn vehicle(uid: &str) -> Item {
    let order = json!({"crossing": "bac-luan-2", "broker": {"endpoint": "127.0.0.1:1883", "interfaceName": "uagv"},
        "vda5050": {"version": "2.1", "manufacturer": "KIT", "serialNumber": "0001"}, "changeAt": {"minCharge": 40}});
    Item::new(ItemKind::Igv, "mong-cai", &format!("igv-{uid}"), uid, 1, &order).unwrap()
}

fn link(mode: &str) -> Item {
    Item::new(ItemKind::Link, "mong-cai", "dongxing", "l", 1, &json!({"profile": "Simulated", "mode": mode})).unwrap()
}

fn passed(uid: &str, count: u64) -> LaneCounters {
    let timing =
        |bounds: &[u64], millis: u64| Timing { count, sum_millis: millis * count, buckets: vec![count; bounds.len()] };
    LaneCounters {
        uid: uid.into(),
        passages: vec![
            ClassCount { class: CargoClass::FreshProduce, count },
            ClassCount { class: CargoClass::General, count: 1 },
        ],
        gate: timing(&GATE_BOUNDS, 4_500),
        clearance: timing(&CLEARANCE_BOUNDS, 50_000),
    }
}

#[tokio::test(start_paused = true)]
async fn counters_are_scraped_under_the_names_of_the_orders() {
    let desk = Desk::new();
    let mut here = desk.enter("a1");
    desk.uplink.want(&here.model.id, lane("u1"));
    desk.uplink.want(&here.model.id, vehicle("v1"));
    let igv = IgvCounters { uid: "v1".into(), energy_watt_hours: 12_500, charge_percent: Some(80), lost_messages: 2 };
    desk.count(&mut here, Telemetry { lanes: vec![passed("u1", 7)], igvs: vec![igv] });
    let text = desk.scrape();
    let at = r#"crossing="bac-luan-2",direction="Outbound",lane="lane-u1",namespace="mong-cai",service="Smart""#;
    for line in [
        format!(r#"kalong_lane_passages_total{{cargo_class="FreshProduce",{at}}} 7"#),
        format!(r#"kalong_lane_passages_total{{cargo_class="General",{at}}} 1"#),
        format!(r#"kalong_lane_passage_duration_seconds_bucket{{{at},le="5"}} 7"#),
        format!("kalong_lane_passage_duration_seconds_sum{{{at}}} 31.5"),
        format!("kalong_lane_passage_duration_seconds_count{{{at}}} 7"),
        r#"kalong_clearance_seconds_count{crossing="bac-luan-2",lane="lane-u1",namespace="mong-cai"} 7"#.to_owned(),
        r#"kalong_clearance_seconds_sum{crossing="bac-luan-2",lane="lane-u1",namespace="mong-cai"} 350"#.to_owned(),
        r#"kalong_igv_energy_kwh_total{crossing="bac-luan-2",igv="igv-v1",namespace="mong-cai"} 12.5"#.to_owned(),
        r#"kalong_igv_charge_ratio{crossing="bac-luan-2",igv="igv-v1",namespace="mong-cai"} 0.8"#.to_owned(),
        r#"kalong_igv_lost_messages_total{crossing="bac-luan-2",igv="igv-v1",namespace="mong-cai"} 2"#.to_owned(),
    ] {
        assert!(text.contains(&line), "{line} in\n{text}");
    }
}

#[tokio::test(start_paused = true)]
async fn repeated_late_or_foreign_counters_change_nothing() {
    let desk = Desk::new();
    let (mut here, mut there) = (desk.enter("a1"), desk.enter("a2"));
    desk.uplink.want(&here.model.id, lane("u1"));
    let early = here.model.envelope(Telemetry { lanes: vec![passed("u1", 3)], igvs: vec![] });
    desk.count(&mut here, Telemetry { lanes: vec![passed("u1", 7)], igvs: vec![] });
    assert_eq!(desk.uplink.frame(&here.model.id, Up::Telemetry, early.into()), Verdict::Carry);
    desk.count(&mut there, Telemetry { lanes: vec![passed("u1", 99)], igvs: vec![] });
    assert!(
        desk.scrape().contains(
            "kalong_clearance_seconds_count{crossing=\"bac-luan-2\",lane=\"lane-u1\",namespace=\"mong-cai\"} 7"
        )
    );
    assert_eq!(desk.metrics.refusals("telemetry-not-bound"), 1);
    // Whoever speaks for another is shown the door.
    let forged = there.model.envelope(Telemetry::default());
    assert_eq!(desk.uplink.frame(&here.model.id, Up::Telemetry, forged.into()), Verdict::Close);
}

#[tokio::test(start_paused = true)]
async fn counters_wake_nobody_and_go_with_the_order() {
    use futures::{FutureExt, StreamExt};
    let desk = Desk::new();
    let mut here = desk.enter("a1");
    desk.uplink.want(&here.model.id, lane("u1"));
    desk.uplink.open();
    desk.told(&mut here).await;
    desk.report(&mut here);
    let mut lanes = desk.uplink.wakes(ItemKind::Lane);
    while lanes.next().now_or_never().is_some() {}
    desk.count(&mut here, Telemetry { lanes: vec![passed("u1", 7)], igvs: vec![] });
    assert!(lanes.next().now_or_never().is_none(), "a passage is no reason to look at a lane");
    assert!(desk.scrape().contains("kalong_lane_passages_total"));
    desk.uplink.remove(&here.model.id, "u1", 1);
    assert!(!desk.scrape().contains("kalong_lane_passages_total"));
}

#[tokio::test(start_paused = true)]
async fn charge_of_a_vehicle_is_not_told_while_its_agent_is_silent() {
    let desk = Desk::new();
    let mut here = desk.enter("a1");
    desk.uplink.want(&here.model.id, vehicle("v1"));
    let igv = IgvCounters { uid: "v1".into(), energy_watt_hours: 1, charge_percent: Some(250), lost_messages: 0 };
    desk.count(&mut here, Telemetry { lanes: vec![], igvs: vec![igv] });
    assert!(
        desk.scrape().contains(r#"kalong_igv_charge_ratio{crossing="bac-luan-2",igv="igv-v1",namespace="mong-cai"} 1"#)
    );
    tokio::time::advance(GRACE + Duration::from_secs(1)).await;
    let text = desk.scrape();
    assert!(!text.contains("kalong_igv_charge_ratio") && text.contains("kalong_igv_energy_kwh_total"), "{text}");
}

#[tokio::test(start_paused = true)]
async fn cut_link_overtakes_an_order_that_is_not_confirmed() {
    let desk = Desk::new();
    let mut here = desk.enter("a1");
    desk.uplink.want(&here.model.id, link("Watch"));
    desk.uplink.open();
    desk.told(&mut here).await;
    desk.report(&mut here);
    // The box takes this one in and does not confirm it: nothing more would be sent for ten seconds.
    desk.uplink.want(&here.model.id, device("cam", "d1", 1, "x"));
    desk.told(&mut here).await;
    let start = tokio::time::Instant::now();
    desk.uplink.want(&here.model.id, link("Cut"));
    let cut = async {
        while here.model.items.get("l").is_none_or(|item| item.spec["mode"] != "Cut") {
            desk.told(&mut here).await;
            desk.report(&mut here);
        }
    };
    tokio::time::timeout(Duration::from_secs(120), cut).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn holders_are_known_without_asking_every_agent() {
    let desk = Desk::new();
    let (mut here, mut there) = (desk.enter("a1"), desk.enter("a2"));
    let (old, new) = (here.model.id.clone(), there.model.id.clone());
    desk.uplink.want(&old, device("cam", "d1", 1, "x"));
    desk.uplink.open();
    desk.told(&mut here).await;
    assert!(desk.uplink.holders("d1").is_empty(), "it did not say so yet");
    desk.report(&mut here);
    assert_eq!(desk.uplink.holders("d1"), std::slice::from_ref(&old));
    desk.uplink.want(&new, device("cam", "d1", 1, "x"));
    desk.told(&mut there).await;
    desk.report(&mut there);
    assert_eq!(desk.uplink.holders("d1"), [old.clone(), new.clone()]);
    desk.uplink.remove(&old, "d1", 1);
    desk.told(&mut here).await;
    desk.report(&mut here);
    assert_eq!(desk.uplink.holders("d1"), std::slice::from_ref(&new));
    assert_eq!(desk.uplink.holding(&old, "d1"), Holding::NotHeld);
    desk.uplink.forget(&new);
    assert!(desk.uplink.holders("d1").is_empty());
}

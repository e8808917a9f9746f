//! Counters of agents: frames in, metrics out.

use std::time::Duration;

use kalong_controllers::kit::link::AgentLink;
use kalong_crds::lane::CargoClass;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::telemetry::{
    CLEARANCE_BOUNDS, ClassCount, GATE_BOUNDS, IgvCounters, LaneCounters, Telemetry, Timing,
};
use kalong_crds::wire::topic::Up;
use prometheus::{Encoder, TextEncoder};

use super::harness::{GRACE, TestAgent, UplinkHarness, lane, vehicle};
use crate::transport::{FrameResult, SessionHandler};

fn count(harness: &UplinkHarness, from: &mut TestAgent, said: Telemetry) -> FrameResult {
    let message = from.model.envelope(said);
    harness.uplink.frame(&from.model.id, Up::Telemetry, message.into())
}

fn scrape(harness: &UplinkHarness) -> String {
    let mut text = Vec::new();
    TextEncoder::new().encode(&harness.registry.gather(), &mut text).unwrap();
    String::from_utf8(text).unwrap()
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
    let harness = UplinkHarness::new();
    let mut here = harness.enter("a1");
    harness.uplink.want(&here.model.id, lane("u1"));
    harness.uplink.want(&here.model.id, vehicle("v1"));
    let igv = IgvCounters { uid: "v1".into(), energy_watt_hours: 12_500, charge_percent: Some(80), lost_messages: 2 };
    count(&harness, &mut here, Telemetry { lanes: vec![passed("u1", 7)], igvs: vec![igv] });
    let text = scrape(&harness);
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
    let harness = UplinkHarness::new();
    let (mut here, mut there) = (harness.enter("a1"), harness.enter("a2"));
    harness.uplink.want(&here.model.id, lane("u1"));
    let early = here.model.envelope(Telemetry { lanes: vec![passed("u1", 3)], igvs: vec![] });
    count(&harness, &mut here, Telemetry { lanes: vec![passed("u1", 7)], igvs: vec![] });
    assert_eq!(harness.uplink.frame(&here.model.id, Up::Telemetry, early.into()), FrameResult::Continue);
    count(&harness, &mut there, Telemetry { lanes: vec![passed("u1", 99)], igvs: vec![] });
    assert!(
        scrape(&harness).contains(
            "kalong_clearance_seconds_count{crossing=\"bac-luan-2\",lane=\"lane-u1\",namespace=\"mong-cai\"} 7"
        )
    );
    assert_eq!(harness.metrics.refusals("telemetry-not-bound"), 1);
    // A box that speaks for another one loses its session.
    let forged = there.model.envelope(Telemetry::default());
    assert_eq!(harness.uplink.frame(&here.model.id, Up::Telemetry, forged.into()), FrameResult::Close);
}

#[tokio::test(start_paused = true)]
async fn counters_wake_nobody_and_go_with_the_order() {
    use futures::{FutureExt, StreamExt};
    let harness = UplinkHarness::new();
    let mut here = harness.enter("a1");
    harness.uplink.want(&here.model.id, lane("u1"));
    harness.uplink.open();
    here.told().await;
    harness.report(&mut here);
    let mut lanes = harness.uplink.wakes(ItemKind::Lane);
    while lanes.next().now_or_never().is_some() {}
    count(&harness, &mut here, Telemetry { lanes: vec![passed("u1", 7)], igvs: vec![] });
    assert!(lanes.next().now_or_never().is_none(), "a passage is no reason to look at a lane");
    assert!(scrape(&harness).contains("kalong_lane_passages_total"));
    harness.uplink.remove(&here.model.id, "u1", 1);
    assert!(!scrape(&harness).contains("kalong_lane_passages_total"));
}

#[tokio::test(start_paused = true)]
async fn charge_of_a_vehicle_is_not_told_while_its_agent_is_silent() {
    let harness = UplinkHarness::new();
    let mut here = harness.enter("a1");
    harness.uplink.want(&here.model.id, vehicle("v1"));
    let igv = IgvCounters { uid: "v1".into(), energy_watt_hours: 1, charge_percent: Some(250), lost_messages: 0 };
    count(&harness, &mut here, Telemetry { lanes: vec![], igvs: vec![igv] });
    assert!(
        scrape(&harness)
            .contains(r#"kalong_igv_charge_ratio{crossing="bac-luan-2",igv="igv-v1",namespace="mong-cai"} 1"#)
    );
    tokio::time::advance(GRACE + Duration::from_secs(1)).await;
    let text = scrape(&harness);
    assert!(!text.contains("kalong_igv_charge_ratio") && text.contains("kalong_igv_energy_kwh_total"), "{text}");
}

//! Traffic on lanes that nobody but their own controllers runs.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use kalong_crds::lane::{CargoClass, LaneAdmission};
use kalong_crds::protocol::RegisterTable;
use kalong_e2e::site::report::Power;
use kalong_e2e::site::traffic::{LaneTraffic, Passage, TouchKind, TrafficReport, due};

use super::bench::{Bench, PATIENCE, bench, layout};
use super::modbus::{once, place, read};

const LANE: &str = "tb-trad-1";
const PLC: &str = "tb-trad-1-plc";
const BARRIER: &str = "tb-trad-1-entry-barrier";
const SEED: u64 = 11;
/// An hour of traffic in 36 s.
const SPEED: u32 = 100;

/// Tells the lane's controller what the lane shall do: 1 to open it.
async fn admit(bench: &Bench, word: u8) {
    let (at, _) = place("lane-plc", "admission", RegisterTable::HoldingRegister);
    let write = [&[6], at.as_slice(), &[0, word]].concat();
    assert_eq!(once(bench.address(PLC).await, &write), write);
}

fn lane(report: &TrafficReport) -> LaneTraffic {
    report.lanes.iter().find(|l| l.name == LANE).unwrap().clone()
}

/// Looks until it is as wanted; whatever it sees meanwhile has to be possible.
async fn until(bench: &Bench, wanted: impl Fn(&LaneTraffic) -> bool) -> LaneTraffic {
    let end = Instant::now() + PATIENCE;
    loop {
        let seen = lane(&bench.control.traffic_report().await.unwrap());
        assert_eq!(seen.due, seen.total() + seen.inside + seen.waiting, "somebody was lost: {seen:#?}");
        assert!(
            seen.state() != LaneAdmission::Closed || seen.inside == 0,
            "somebody is inside a closed lane: {seen:#?}"
        );
        if wanted(&seen) {
            return seen;
        }
        assert!(Instant::now() < end, "never became what was wanted: {seen:#?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

fn list(report: &TrafficReport) -> Vec<Passage> {
    let layout = layout();
    let lane = layout.demand(layout.lane(LANE).unwrap()).unwrap();
    due(SEED, &lane, Duration::ZERO, Duration::from_millis(report.traffic_millis))
}

/// All counters of the lane's controller, read in one request.
async fn counters(bench: &Bench) -> BTreeMap<&'static str, u64> {
    let names = [
        "passages",
        "passagesFreshProduce",
        "passagesFrozenSeafood",
        "passagesElectronics",
        "gateTenths",
        "clearanceSeconds",
    ];
    let (first, _) = place("lane-plc", "admissionState", RegisterTable::InputRegister);
    let first = u16::from_be_bytes(first);
    let words = u16::try_from(2 + 2 * names.len()).unwrap();
    let block = once(bench.address(PLC).await, &read(4, (first.to_be_bytes(), words.to_be_bytes())));
    assert_eq!((block[0], usize::from(block[1])), (4, usize::from(words) * 2));
    names
        .into_iter()
        .map(|name| {
            let (at, words) = place("lane-plc", name, RegisterTable::InputRegister);
            assert_eq!(words, [0, 2], "{name}");
            let from = 2 + usize::from(u16::from_be_bytes(at) - first) * 2;
            (name, u64::from(u32::from_be_bytes(block[from..from + 4].try_into().unwrap())))
        })
        .collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn those_who_are_due_pass_the_open_lane_and_its_controller_counts_each_once() {
    let bench = bench().await;
    admit(&bench, 1).await;
    bench.control.traffic_start(SEED, SPEED).await.unwrap();
    until(&bench, |l| l.total() >= 30).await;
    let stopped = bench.control.traffic_stop().await.unwrap();
    let seen = until(&bench, |l| l.inside == 0).await;
    let due = list(&stopped);
    assert_eq!(seen.due, u64::try_from(due.len()).unwrap());
    let passed = &due[..usize::try_from(seen.total()).unwrap()];
    let of = |class| u64::try_from(passed.iter().filter(|p| p.class == class).count()).unwrap();
    assert!(seen.passed.iter().all(|(class, count)| of(*class) == *count), "{seen:#?}");
    let tenths: u128 = passed.iter().map(|p| p.gate.as_millis() / 100).sum();
    assert_eq!(u128::from(seen.gate_tenths), tenths);
    let least: u64 = passed.iter().map(|p| (p.before + p.gate).as_secs()).sum();
    assert!(seen.clearance_seconds >= least, "{} {least}", seen.clearance_seconds);

    let counted = counters(&bench).await;
    assert_eq!(counted["passages"], seen.total());
    assert_eq!(counted["passagesFrozenSeafood"], of(CargoClass::FrozenSeafood));
    assert_eq!((counted["gateTenths"], counted["clearanceSeconds"]), (seen.gate_tenths, seen.clearance_seconds));
    let again = bench.control.traffic_report().await.unwrap();
    assert_eq!(again.traffic_millis, stopped.traffic_millis, "nobody comes any more");
}

#[tokio::test(flavor = "multi_thread")]
async fn closed_lane_empties_and_who_came_meanwhile_passes_when_it_opens_again() {
    let bench = bench().await;
    bench.control.traffic_start(SEED, SPEED).await.unwrap();
    let never = until(&bench, |l| l.waiting >= 3).await;
    assert_eq!((never.total(), never.inside), (0, 0), "nobody passes a lane that was never opened");
    for _ in 0..3 {
        admit(&bench, 1).await;
        until(&bench, |l| l.inside > 0).await;
        admit(&bench, 0).await;
        let closed = until(&bench, |l| l.state() == LaneAdmission::Closed).await;
        let later = until(&bench, |l| l.waiting >= closed.waiting + 3).await;
        assert_eq!((later.total(), later.inside), (closed.total(), 0), "nobody entered");
    }
    admit(&bench, 1).await;
    let end = until(&bench, |l| l.waiting <= 1 && l.total() > 20).await;
    let states: Vec<LaneAdmission> = end.admission.iter().map(|t| t.state).collect();
    use LaneAdmission::{Closed, Draining, Open};
    assert_eq!(states[..4], [Closed, Open, Draining, Closed], "a lane with somebody inside drains first");
    assert!(end.admission.windows(2).all(|t| t[0].at_millis <= t[1].at_millis));
    assert!(states.ends_with(&[Open]));
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_survive_a_restart_and_a_restart_is_written_down() {
    let bench = bench().await;
    admit(&bench, 1).await;
    bench.control.traffic_start(SEED, SPEED).await.unwrap();
    let before = until(&bench, |l| l.total() >= 5).await;
    bench.control.service(PLC).await.unwrap();
    bench.until(PLC, |d| d.power == Power::On && d.counts.reboots == 1).await;
    let after = until(&bench, |l| l.total() > before.total()).await;
    let counted = counters(&bench).await;
    assert!(counted["passages"] >= after.total());
    let touch = after.touched.iter().find(|t| t.device == PLC && t.kind == TouchKind::Restart).unwrap();
    assert!(touch.at_millis > 0 && touch.state == LaneAdmission::Open);
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_touches_a_device_of_a_lane_is_written_down_with_how_many_are_inside() {
    let bench = bench().await;
    bench.control.occupancy(PLC, 2).await.unwrap();
    let (at, _) = place("barrier", "holdOpenMillis", RegisterTable::HoldingRegister);
    once(bench.address(BARRIER).await, &[&[16], at.as_slice(), &[0, 2, 4, 0, 0, 0x1F, 0x40]].concat());
    admit(&bench, 1).await;
    let seen = lane(&bench.control.traffic_report().await.unwrap());
    let touched: Vec<_> = seen.touched.iter().map(|t| (t.device.as_str(), t.kind, t.inside)).collect();
    assert_eq!(touched, [(BARRIER, TouchKind::Setting, 2)], "orders to open and close are none");
    let states: Vec<LaneAdmission> = seen.admission.iter().map(|t| t.state).collect();
    assert_eq!(states, [LaneAdmission::Closed, LaneAdmission::Draining, LaneAdmission::Open]);
}

#[tokio::test(flavor = "multi_thread")]
async fn traffic_that_is_there_is_not_started_again_and_has_a_possible_speed() {
    let bench = bench().await;
    for speed in [0, 101] {
        assert!(bench.control.traffic_start(SEED, speed).await.is_err());
    }
    bench.control.traffic_start(SEED, 1).await.unwrap();
    let refused = bench.control.traffic_start(SEED, 1).await.unwrap_err();
    assert!(refused.to_string().contains("stop it"), "{refused}");
    bench.control.traffic_stop().await.unwrap();
    bench.control.traffic_start(SEED, 1).await.unwrap();
}

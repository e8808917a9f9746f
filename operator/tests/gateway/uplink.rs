//! Gateway and uplink together, with agents that behave and some that do not.

use std::sync::Arc;
use std::time::{Duration, Instant};

use kalong_controllers::kit::link::{Admittance, AgentLink, Holding, Presence};
use kalong_crds::lane::CargoClass;
use kalong_crds::units::AgentId;
use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::signature::Signer;
use kalong_crds::wire::telemetry::{CLEARANCE_BOUNDS, ClassCount, GATE_BOUNDS, LaneCounters, Telemetry, Timing};
use kalong_crds::wire::topic::Up;
use kalong_operator::broker::Limits;
use kalong_operator::broker::metrics::DeniedAction;
use prometheus::{Encoder, Registry, TextEncoder};
use rumqttc::{Connect, ConnectReturnCode, Packet, Publish, QoS};

use crate::site::model::{Model, device};
use crate::site::{Agent, LOOPBACK, Site, id, until, uplink, uplink_in};

const GRACE: Duration = Duration::from_secs(90);

fn key() -> Vec<u8> {
    Signer::generate().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_hundred_agents_at_once_all_report_and_get_what_is_wanted() {
    let (uplink, keys) = uplink(3, &key(), GRACE);
    let agents: Vec<_> = (0..300).map(|n| id(&format!("a{n}"))).collect();
    for agent in &agents {
        uplink.admit(agent, Admittance::Admitted);
        uplink.want(agent, device("d", &format!("u-{agent}"), 1, "x"));
    }
    uplink.open();
    let site = Site::over(uplink.clone(), Limits::default(), LOOPBACK).await;
    let configs: Vec<_> = agents.iter().map(|a| site.ca.client(a.as_str(), &site.ca)).collect();
    let start = Instant::now();
    let address = site.gateway.local_addr();
    let live: Vec<_> = agents
        .iter()
        .zip(configs)
        .map(|(agent, config)| Agent::start(address, config, Model::new(agent.clone(), keys.clone())))
        .collect();
    until("every agent holds its item", || agents.iter().all(|agent| uplink.facts(agent).synced)).await;
    println!("300 agents in sync after {:?}", start.elapsed());
    assert!(live.iter().all(|agent| agent.model.lock().applied == 1));
    assert_eq!(uplink.connected(), 300);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn restart_of_the_operator_sends_nothing_that_is_held_and_calls_nobody_silent() {
    let key = key();
    let (first, keys) = uplink(3, &key, GRACE);
    let agents: Vec<_> = (0..14).map(|n| id(&format!("a{n}"))).collect();
    let prepare = |uplink: &Arc<kalong_operator::uplink::Uplink>| {
        for agent in &agents {
            uplink.admit(agent, Admittance::Admitted);
            for n in 0..20 {
                uplink.want(agent, device(&format!("d{n}"), &format!("u{n}-{agent}"), 1, "x"));
            }
        }
        uplink.open();
    };
    prepare(&first);
    let site = Site::over(first.clone(), Limits::default(), LOOPBACK).await;
    let address = site.gateway.local_addr();
    let live: Vec<_> = agents
        .iter()
        .map(|a| Agent::start(address, site.ca.client(a.as_str(), &site.ca), Model::new(a.clone(), keys.clone())))
        .collect();
    until("all hold everything", || agents.iter().all(|agent| first.facts(agent).synced)).await;
    let applied: Vec<_> = live.iter().map(|agent| agent.model.lock().applied).collect();
    let ca = site.ca;
    site.gateway.stop(Duration::from_secs(5)).await.unwrap();
    drop(first);

    let (second, _) = uplink(4, &key, GRACE);
    let site = Site::under(ca, second.clone(), Limits::default(), address).await;
    // Agents that connect before their EdgeAgents were reconciled are kept waiting, not turned away.
    prepare(&second);
    until("all hold everything again", || agents.iter().all(|agent| second.facts(agent).synced)).await;
    assert!(agents.iter().all(|agent| second.facts(agent).presence == Presence::Present));
    assert_eq!(applied, live.iter().map(|agent| agent.model.lock().applied).collect::<Vec<_>>());

    second.want(&agents[0], device("d0", &format!("u0-{}", agents[0]), 2, "y"));
    until("a change under the new term arrives", || live[0].model.lock().fence.term == 4).await;
    second.remove(&agents[1], &format!("u1-{}", agents[1]), 2);
    until("a tombstone is confirmed", || second.holding(&agents[1], &format!("u1-{}", agents[1])) == Holding::NotHeld)
        .await;
    assert_eq!(live[1].model.lock().items.len(), 19);
    drop(site);
}

#[tokio::test]
async fn suspended_agent_is_out_within_a_second_and_stays_out() {
    let (uplink, _) = uplink(1, &key(), GRACE);
    let agent = id("a1");
    uplink.admit(&agent, Admittance::Admitted);
    uplink.open();
    let site = Site::over(uplink.clone(), Limits::default(), LOOPBACK).await;
    let mut raw = site.enter(&agent).await;
    let start = Instant::now();
    uplink.admit(&agent, Admittance::Refused);
    raw.closed().await;
    assert!(start.elapsed() < Duration::from_secs(1));
    for (name, code) in
        [("mong-cai.a1", ConnectReturnCode::NotAuthorized), ("mong-cai.nobody", ConnectReturnCode::NotAuthorized)]
    {
        let mut raw = site.dial(name).await;
        raw.send(Packet::Connect(Connect::new(name))).await;
        match raw.next().await {
            Some(Packet::ConnAck(ack)) => assert_eq!(ack.code, code),
            other => panic!("{other:?}"),
        }
    }
}

#[tokio::test]
async fn two_boxes_with_one_identity_are_both_shut_out_until_it_is_enrolled_anew() {
    let (uplink, _) = uplink(1, &key(), GRACE);
    let agent = id("a1");
    uplink.admit(&agent, Admittance::Admitted);
    uplink.open();
    let site = Site::over(uplink.clone(), Limits::default(), LOOPBACK).await;
    let mut last = site.enter(&agent).await;
    for _ in 0..3 {
        let next = site.enter(&agent).await;
        last.closed().await;
        last = next;
    }
    assert!(!uplink.facts(&agent).duplicate);
    let mut fourth = site.dial(agent.as_str()).await;
    fourth.send(Packet::Connect(Connect::new(agent.as_str()))).await;
    match fourth.next().await {
        Some(Packet::ConnAck(ack)) => assert_eq!(ack.code, ConnectReturnCode::NotAuthorized),
        other => panic!("{other:?}"),
    }
    last.closed().await;
    assert!(uplink.facts(&agent).duplicate);
    uplink.enrolled(&agent);
    site.enter(&agent).await;
}

#[tokio::test]
async fn message_that_speaks_for_another_agent_ends_the_session() {
    let (uplink, keys) = uplink(1, &key(), GRACE);
    let (agent, other) = (id("a1"), id("a2"));
    uplink.admit(&agent, Admittance::Admitted);
    uplink.admit(&other, Admittance::Admitted);
    uplink.open();
    let site = Site::over(uplink.clone(), Limits::default(), LOOPBACK).await;
    let mut raw = site.enter(&agent).await;
    let forged = Model::new(other.clone(), keys).report().remove(0);
    raw.publish(&Up::Reported.of(&agent), forged).await;
    raw.closed().await;
    until("it is counted", || site.metrics.denials(DeniedAction::Payload) == 1).await;
    assert!(!uplink.facts(&other).reported && !uplink.facts(&agent).reported);
}

fn lane(uid: &str) -> Item {
    let order = serde_json::json!({"crossing": "bac-luan-2", "direction": "Inbound", "service": "Smart",
        "admission": "Open", "controller": "c", "members": []});
    Item::new(ItemKind::Lane, "mong-cai", &format!("lane-{uid}"), uid, 1, &order).unwrap()
}

fn passed(uid: &str) -> LaneCounters {
    let timing = |bounds: &[u64]| Timing { count: 1, sum_millis: 9_000, buckets: vec![1; bounds.len()] };
    LaneCounters {
        uid: uid.to_owned(),
        passages: vec![ClassCount { class: CargoClass::General, count: 1 }],
        gate: timing(&GATE_BOUNDS),
        clearance: timing(&CLEARANCE_BOUNDS),
    }
}

#[tokio::test]
async fn counters_are_told_only_for_oneself_and_without_an_acknowledgement() {
    let registry = Registry::new();
    let (uplink, keys) = uplink_in(&registry, 1, &key(), GRACE);
    let (agent, other) = (id("a1"), id("a2"));
    for one in [&agent, &other] {
        uplink.admit(one, Admittance::Admitted);
        uplink.want(one, lane(&format!("u-{one}")));
    }
    uplink.open();
    let site = Site::over(uplink.clone(), Limits::default(), LOOPBACK).await;
    let counted = |one: &AgentId| {
        let mut text = Vec::new();
        TextEncoder::new().encode(&registry.gather(), &mut text).unwrap();
        let lane = format!("lane=\"lane-u-{one}\"");
        String::from_utf8(text)
            .unwrap()
            .lines()
            .any(|line| line.starts_with("kalong_lane_passages_total{") && line.contains(&lane))
    };

    // In its own name, for a lane of another agent: not believed.
    let mut model = Model::new(agent.clone(), keys.clone());
    let mut raw = site.enter(&agent).await;
    let both = [passed(&format!("u-{agent}")), passed(&format!("u-{other}"))].to_vec();
    let own = model.envelope(Telemetry { lanes: both, igvs: vec![] });
    raw.send(Packet::Publish(Publish::new(Up::Telemetry.of(&agent), QoS::AtMostOnce, own))).await;
    until("its own lane is counted", || counted(&agent)).await;
    assert!(!counted(&other));
    raw.send(Packet::PingReq).await;
    assert_eq!(raw.next().await, Some(Packet::PingResp), "quality of service 0 is not acknowledged");

    // In the other's name, on its own topic: the session ends. On the other's topic the packet does not get so far.
    let forged = || Model::new(other.clone(), keys.clone()).envelope(Telemetry { lanes: vec![], igvs: vec![] });
    raw.publish(&Up::Telemetry.of(&agent), forged()).await;
    raw.closed().await;
    until("it is counted", || site.metrics.denials(DeniedAction::Payload) == 1).await;
    let mut raw = site.enter(&agent).await;
    raw.publish(&Up::Telemetry.of(&other), forged()).await;
    raw.closed().await;
    until("it is counted", || site.metrics.denials(DeniedAction::Publish) == 1).await;
}

#[tokio::test]
async fn certificate_is_renewed_over_the_session() {
    let (uplink, keys) = uplink(1, &key(), GRACE);
    let agent = id("a1");
    uplink.admit(&agent, Admittance::Admitted);
    uplink.open();
    let site = Site::over(uplink.clone(), Limits::default(), LOOPBACK).await;
    let config = site.ca.client(agent.as_str(), &site.ca);
    let live = Agent::start(site.gateway.local_addr(), config, Model::new(agent.clone(), keys));
    until("it reported", || uplink.facts(&agent).reported).await;
    let request = live.model.lock().envelope(Renewal { csr: "pem".into() });
    live.orders.send(vec![(Up::Csr, request)]).unwrap();
    let answer = Control::Certificate { certificate: "pem".into(), authorities: agent.to_string() };
    until("the answer came", || live.model.lock().control.contains(&answer)).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn last_word_of_every_item_survives_a_flood_of_reports() {
    let (uplink, keys) = uplink(1, &key(), GRACE);
    let agent = id("a1");
    uplink.admit(&agent, Admittance::Admitted);
    for n in 0..20 {
        uplink.want(&agent, device(&format!("d{n}"), &format!("u{n}"), 1, "x"));
    }
    uplink.open();
    let site = Site::over(uplink.clone(), Limits::default(), LOOPBACK).await;
    let config = site.ca.client(agent.as_str(), &site.ca);
    let live = Agent::start(site.gateway.local_addr(), config, Model::new(agent.clone(), keys));
    until("it holds everything", || uplink.facts(&agent).synced).await;
    for round in 0..8 {
        for n in 0..20 {
            live.say(&format!("u{n}"), &format!("word {round}"));
        }
    }
    let heard = |n: i32| uplink.report(&agent, &format!("u{n}")).is_some_and(|item| item.message == "word 7");
    until("the last words are heard", || (0..20).all(heard)).await;
    live.beat();
    until("its clock is known", || uplink.facts(&agent).clock == kalong_crds::wire::envelope::Clock::Synced).await;
}

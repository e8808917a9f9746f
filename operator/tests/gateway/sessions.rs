//! What a session may send and receive, and what ends it.

use std::time::{Duration, Instant};

use bytes::Bytes;
use kalong_crds::wire::topic::{Down, OPERATOR_STATE, Up};
use kalong_operator::broker::Limits;
use kalong_operator::broker::metrics::DeniedAction;
use kalong_operator::transport::EndReason;
use rumqttc::{Connect, Packet, PubAck, QoS, SubscribeReasonCode};
use tokio::io::AsyncWriteExt;

use crate::site::{Seen, Site, alive, id, until};

#[tokio::test]
async fn forbidden_publishes_end_the_session_and_leave_the_router_alone() {
    let site = Site::recording(Limits::default()).await;
    let agent = id("a1");
    let own = Up::Reported.of(&agent);
    let large = vec![b'x'; 64 * 1024 + 1];
    let bad: [(&str, &[u8]); 8] = [
        ("đèn/1", b"x"),
        ("kalong/v1/mong-cai.a2/reported", b"x"),
        ("kalong/v1/mong-cai.a2/telemetry", b"x"),
        ("kalong/v1/mong-cai.a1/desired", b"x"),
        (OPERATOR_STATE, b"x"),
        ("kalong/v1/+/reported", b"x"),
        (&own, b""),
        (&own, &large),
    ];
    for (n, (topic, payload)) in (1..).zip(bad) {
        let mut raw = site.enter(&agent).await;
        raw.publish(topic, payload).await;
        raw.closed().await;
        until("the denial is counted", || site.metrics.denials(DeniedAction::Publish) == n).await;
    }
    assert_eq!(site.handler.count(|seen| matches!(seen, Seen::Frame(..))), 0);
    alive(&site).await;
}

#[tokio::test]
async fn wildcards_and_foreign_topics_are_not_granted() {
    let site = Site::recording(Limits::default()).await;
    let agent = id("a1");
    let mut raw = site.enter(&agent).await;
    let own = Down::Desired.of(&agent);
    let codes = raw.subscribe(&["#", "kalong/v1/+/desired", "kalong/v1/mong-cai.a2/ctl", &own]).await;
    use SubscribeReasonCode::{Failure, Success};
    assert_eq!(codes, [Failure, Failure, Failure, Success(QoS::AtLeastOnce)]);
    assert_eq!(site.metrics.denials(DeniedAction::Subscribe), 3);
}

#[tokio::test]
async fn garbage_ends_only_its_own_session() {
    let site = Site::recording(Limits::default()).await;
    for garbage in [
        &[0xFF_u8, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF][..],
        &[0x00, 0x00],
        &[0x30, 0xFF, 0xFF, 0xFF, 0x7F],
        &[0x32, 0x04, 0x00, 0x01, b'x', 0x00],
        &[0x82, 0x02, 0x00, 0x00],
        &[0x40, 0x02, 0x00, 0x09],
        &[0x34, 0x05, 0x00, 0x01, b'x', 0x00, 0x01],
    ] {
        let mut raw = site.enter(&id("a1")).await;
        raw.wire.get_mut().write_all(garbage).await.unwrap();
        raw.closed().await;
    }
    alive(&site).await;
}

#[tokio::test]
async fn flooded_agents_that_disconnect_do_not_hurt_the_router() {
    let site = Site::recording(Limits::default()).await;
    let agent = id("a1");
    for _ in 0..60 {
        let mut raw = site.enter(&agent).await;
        raw.subscribe(&[&Down::Desired.of(&agent), &Down::Ctl.of(&agent)]).await;
        let session = site.handler.session(&agent);
        for n in 0..40 {
            session.desired(vec![Bytes::from(format!("d{n}"))]);
            session.control(Bytes::from(format!("c{n}")));
        }
        raw.send(Packet::Disconnect).await;
    }
    alive(&site).await;
}

#[tokio::test]
async fn silent_client_is_closed_although_it_is_written_to() {
    let site = Site::recording(Limits::default()).await;
    let agent = id("a1");
    let mut raw = site.dial(agent.as_str()).await;
    let mut packet = Connect::new(agent.as_str());
    packet.keep_alive = 1;
    raw.send(Packet::Connect(packet)).await;
    raw.subscribe(&[&Down::Ctl.of(&agent)]).await;
    let start = Instant::now();
    let session = site.handler.session(&agent);
    let writer = tokio::spawn(async move {
        let mut ticks = tokio::time::interval(Duration::from_millis(100));
        loop {
            ticks.tick().await;
            session.control(Bytes::from_static(b"still there?"));
        }
    });
    raw.closed().await;
    writer.abort();
    let took = start.elapsed();
    assert!(took > Duration::from_millis(1300) && took < Duration::from_millis(2500), "{took:?}");
    until("its reason is known", || site.metrics.ends(EndReason::KeepAlive) == 1).await;
}

#[tokio::test]
async fn client_that_never_reads_is_closed() {
    let limits =
        Limits { write: Duration::from_millis(500), acknowledge: Duration::from_millis(500), ..Limits::default() };
    let site = Site::recording(limits).await;
    let agent = id("a1");
    let mut raw = site.enter(&agent).await;
    raw.subscribe(&[&Down::Desired.of(&agent)]).await;
    site.handler.session(&agent).desired((0..60).map(|_| Bytes::from(vec![b'x'; 60_000])).collect());
    until("it is closed", || site.metrics.ends(EndReason::WriteTimeout) == 1).await;
}

#[tokio::test]
async fn acknowledgements_out_of_order_end_the_session() {
    let site = Site::recording(Limits::default()).await;
    let agent = id("a1");
    let mut raw = site.enter(&agent).await;
    raw.subscribe(&[&Down::Ctl.of(&agent)]).await;
    let session = site.handler.session(&agent);
    session.control(Bytes::from_static(b"1"));
    session.control(Bytes::from_static(b"2"));
    let mut numbers = Vec::new();
    while numbers.len() < 2 {
        if let Some(Packet::Publish(publish)) = raw.next().await {
            numbers.push(publish.pkid);
        }
    }
    raw.send(Packet::PubAck(PubAck::new(numbers[1]))).await;
    raw.closed().await;
    until("its reason is known", || site.metrics.ends(EndReason::Protocol) == 1).await;
}

#[tokio::test]
async fn slow_reader_gets_the_newest_desired_and_no_control_out_of_order() {
    let site = Site::recording(Limits::default()).await;
    let agent = id("a1");
    let mut raw = site.enter(&agent).await;
    raw.subscribe(&[&Down::Desired.of(&agent), &Down::Ctl.of(&agent)]).await;
    let session = site.handler.session(&agent);
    for n in 0..500_u32 {
        session.desired([1, 2].map(|part| Bytes::from(format!("{n}/{part}"))).to_vec());
    }
    session.control(Bytes::from_static(b"last"));
    let mut got = Vec::new();
    loop {
        let message = raw.message().await.unwrap();
        if message.payload == "last" {
            break;
        }
        got.push(message.payload);
    }
    assert_eq!(got[got.len() - 2..], ["499/1", "499/2"]);
    assert!(got.len() < 100, "what was overtaken was sent all the same: {}", got.len());
}

#[tokio::test]
async fn newer_connection_takes_over_and_the_older_one_ends_first() {
    let site = Site::recording(Limits::default()).await;
    let agent = id("a1");
    let mut first = site.enter(&agent).await;
    let mut second = site.enter(&agent).await;
    first.closed().await;
    second.send(Packet::PingReq).await;
    assert_eq!(second.next().await, Some(Packet::PingResp));
    assert_eq!(site.metrics.connected(), 1);
    let seen = site.handler.seen.lock().clone();
    let (a, ended) = (agent.clone(), EndReason::TakenOver);
    let expected =
        [Seen::Started(a.clone()), Seen::TakenOver(a.clone()), Seen::Ended(a.clone(), ended), Seen::Started(a)];
    assert_eq!(seen, expected);
}

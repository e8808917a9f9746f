//! Connections that become no session, the limit of sessions, certificates and the stop.

use std::time::{Duration, Instant};

use kalong_operator::broker::Limits;
use kalong_operator::broker::metrics::Handshake;
use kalong_operator::transport::EndReason;
use rumqttc::{Connect, ConnectReturnCode, LastWill, Packet, Protocol, QoS};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use crate::site::{BOUND, Ca, Raw, Seen, Site, alive, id, until};

#[tokio::test]
async fn silent_sockets_do_not_delay_a_good_agent() {
    let site = Site::recording(Limits { handshakes: 4, ..Limits::default() }).await;
    let mut silent = Vec::new();
    for _ in 0..100 {
        silent.push(TcpStream::connect(site.gateway.local_addr()).await.unwrap());
    }
    let start = Instant::now();
    site.enter(&id("good")).await;
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn silent_socket_is_closed_at_the_deadline() {
    let site = Site::recording(Limits { handshake: Duration::from_millis(200), ..Limits::default() }).await;
    let mut silent = TcpStream::connect(site.gateway.local_addr()).await.unwrap();
    let mut byte = [0];
    let end = tokio::time::timeout(BOUND, silent.read(&mut byte)).await.unwrap();
    assert!(matches!(end, Ok(0) | Err(_)));
    until("the timeout is counted", || site.metrics.handshakes(Handshake::Timeout) == 1).await;
}

#[tokio::test]
async fn refused_and_broken_connects_leave_the_door_open() {
    let site = Site::recording(Limits::default()).await;
    let agent = id("a1");
    for bad in ["mong-cai.a1+", "x/y", "mong-cai.a2"] {
        let mut raw = site.dial(agent.as_str()).await;
        raw.send(Packet::Connect(Connect::new(bad))).await;
        match raw.next().await {
            Some(Packet::ConnAck(ack)) => assert_eq!(ack.code, ConnectReturnCode::BadClientId),
            other => panic!("{other:?}"),
        }
    }
    for _ in 0..40 {
        let mut raw = site.dial(agent.as_str()).await;
        raw.send(Packet::Connect(Connect::new(agent.as_str()))).await;
        let (stream, _) = raw.wire.get_mut().get_mut();
        stream.set_zero_linger().unwrap();
    }
    site.enter(&agent).await;
    alive(&site).await;
}

#[tokio::test]
async fn unusable_certificates_never_get_as_far_as_mqtt() {
    let site = Site::recording(Limits::default()).await;
    let stranger = Ca::new("stranger");
    let address = site.gateway.local_addr();
    for config in [stranger.client("mong-cai.a1", &site.ca), site.ca.client("No Agent", &site.ca)] {
        // With TLS 1.3 the client hears of its refusal only when it reads.
        if let Ok(mut raw) = Raw::dial(address, config).await {
            raw.send(Packet::Connect(Connect::new("mong-cai.a1"))).await;
            assert_eq!(raw.next().await, None);
        }
    }
    assert_eq!(site.handler.count(|_| true), 0);
    until("both are counted", || {
        site.metrics.handshakes(Handshake::Tls) == 1 && site.metrics.handshakes(Handshake::Identity) == 1
    })
    .await;
}

#[tokio::test]
async fn other_versions_wills_and_endless_sessions_are_refused() {
    let site = Site::recording(Limits::default()).await;
    type Change = fn(&mut Connect);
    let cases: [(Change, ConnectReturnCode); 3] = [
        (|c| c.keep_alive = 0, ConnectReturnCode::NotAuthorized),
        (
            |c| c.last_will = Some(LastWill::new("kalong/v1/mong-cai.a2/reported", "x", QoS::AtLeastOnce, true)),
            ConnectReturnCode::NotAuthorized,
        ),
        (|c| c.protocol = Protocol::V5, ConnectReturnCode::RefusedProtocolVersion),
    ];
    for (change, code) in cases {
        let mut packet = Connect::new("mong-cai.a1");
        change(&mut packet);
        let mut raw = site.dial("mong-cai.a1").await;
        raw.send(Packet::Connect(packet)).await;
        match raw.next().await {
            Some(Packet::ConnAck(ack)) => assert_eq!(ack.code, code),
            other => panic!("{other:?}"),
        }
        raw.closed().await;
    }
    // A real MQTT 5 CONNECT with a property, as bytes.
    let mut raw = site.dial("mong-cai.a1").await;
    let connect = [&[0x10, 29, 0, 4][..], b"MQTT", &[5, 2, 0, 30, 5, 0x11, 0, 0, 0, 9, 0, 11], b"mong-cai.a1"].concat();
    raw.wire.get_mut().write_all(&connect).await.unwrap();
    raw.closed().await;
    assert_eq!(site.handler.count(|_| true), 0);
    alive(&site).await;
}

#[tokio::test]
async fn connections_beyond_the_cap_are_turned_away_and_the_others_stay() {
    let site = Site::recording(Limits { sessions: 2, ..Limits::default() }).await;
    let mut kept = site.enter(&id("a1")).await;
    let _other = site.enter(&id("a2")).await;
    let mut third = site.dial("mong-cai.a3").await;
    third.send(Packet::Connect(Connect::new("mong-cai.a3"))).await;
    match third.next().await {
        Some(Packet::ConnAck(ack)) => assert_eq!(ack.code, ConnectReturnCode::ServiceUnavailable),
        other => panic!("{other:?}"),
    }
    kept.send(Packet::PingReq).await;
    assert_eq!(kept.next().await, Some(Packet::PingResp));
}

#[tokio::test]
async fn both_authorities_are_believed_while_the_bundle_holds_both() {
    let site = Site::recording(Limits::default()).await;
    let next = Ca::new("next");
    let address = site.gateway.local_addr();
    let mut old = site.enter(&id("a1")).await;
    let early = Raw::dial(address, next.client("mong-cai.a2", &site.ca)).await;
    if let Ok(mut early) = early {
        early.send(Packet::Connect(Connect::new("mong-cai.a2"))).await;
        assert_eq!(early.next().await, None);
    }
    site.tls.send(site.ca.server(&[&site.ca, &next])).unwrap();
    let mut new = Raw::dial(address, next.client("mong-cai.a2", &site.ca)).await.unwrap();
    new.connect("mong-cai.a2").await;
    for raw in [&mut old, &mut new] {
        raw.send(Packet::PingReq).await;
        assert_eq!(raw.next().await, Some(Packet::PingResp));
    }
}

#[tokio::test]
async fn stop_ends_every_session_in_time_and_frees_the_port() {
    let site = Site::recording(Limits::default()).await;
    let address = site.gateway.local_addr();
    let mut raw = site.enter(&id("a1")).await;
    let _silent = TcpStream::connect(address).await.unwrap();
    let (ca, handler) = (site.ca, site.handler);
    site.gateway.stop(Duration::from_secs(5)).await.unwrap();
    raw.closed().await;
    assert_eq!(handler.count(|seen| matches!(seen, Seen::Ended(_, EndReason::Shutdown))), 1);
    let site = Site::under(ca, handler, Limits::default(), address).await;
    assert_eq!(site.gateway.local_addr(), address);
    alive(&site).await;
}

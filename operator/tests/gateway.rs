//! The gateway against clients of every temper, over loopback and real mTLS. Each test names what must hold.

#[cfg(test)]
mod gateway_site;

#[cfg(test)]
mod tests {
    use std::net::SocketAddr;
    use std::sync::Arc;
    use std::time::{Duration, Instant};

    use bytes::Bytes;
    use kalong_controllers::kit::link::{Admittance, AgentLink, Holding, Presence};
    use kalong_crds::lane::CargoClass;
    use kalong_crds::units::AgentId;
    use kalong_crds::wire::control::{Control, Renewal};
    use kalong_crds::wire::desired::{Item, ItemKind};
    use kalong_crds::wire::signature::Signer;
    use kalong_crds::wire::telemetry::{CLEARANCE_BOUNDS, ClassCount, GATE_BOUNDS, LaneCounters, Telemetry, Timing};
    use kalong_crds::wire::topic::{Down, OPERATOR_STATE, Up};
    use kalong_operator::broker::Limits;
    use kalong_operator::broker::metrics::{DeniedAction, Handshake};
    use kalong_operator::transport::EndReason;
    use prometheus::{Encoder, Registry, TextEncoder};
    use rumqttc::{Connect, ConnectReturnCode, LastWill, Packet, Protocol, PubAck, Publish, QoS, SubscribeReasonCode};
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpStream;

    use super::gateway_site::model::{Model, device};
    use super::gateway_site::{Agent, BOUND, Ca, Raw, Seen, Site, id, until, uplink, uplink_in};

    const LOOPBACK: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 0);
    const GRACE: Duration = Duration::from_secs(90);

    /// A message from the operator still reaches an agent.
    async fn alive(site: &Site<super::gateway_site::Recorder>) {
        let agent = id("probe");
        let mut raw = site.enter(&agent).await;
        raw.subscribe(&[&Down::Ctl.of(&agent)]).await;
        site.handler.session(&agent).control(Bytes::from_static(b"alive"));
        assert_eq!(raw.message().await.unwrap().payload, "alive");
        raw.send(Packet::Disconnect).await;
        raw.closed().await;
    }

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
        let connect =
            [&[0x10, 29, 0, 4][..], b"MQTT", &[5, 2, 0, 30, 5, 0x11, 0, 0, 0, 9, 0, 11], b"mong-cai.a1"].concat();
        raw.wire.get_mut().write_all(&connect).await.unwrap();
        raw.closed().await;
        assert_eq!(site.handler.count(|_| true), 0);
        alive(&site).await;
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
        let seen = site.handler.seen.lock().unwrap().clone();
        let (a, ended) = (agent.clone(), EndReason::TakenOver);
        let expected =
            [Seen::Started(a.clone()), Seen::TakenOver(a.clone()), Seen::Ended(a.clone(), ended), Seen::Started(a)];
        assert_eq!(seen, expected);
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
        assert!(live.iter().all(|agent| agent.model.lock().unwrap().applied == 1));
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
        let applied: Vec<_> = live.iter().map(|agent| agent.model.lock().unwrap().applied).collect();
        let ca = site.ca;
        site.gateway.stop(Duration::from_secs(5)).await.unwrap();
        drop(first);

        let (second, _) = uplink(4, &key, GRACE);
        let site = Site::under(ca, second.clone(), Limits::default(), address).await;
        // Agents that connect before their EdgeAgents were reconciled are kept waiting, not turned away.
        prepare(&second);
        until("all hold everything again", || agents.iter().all(|agent| second.facts(agent).synced)).await;
        assert!(agents.iter().all(|agent| second.facts(agent).presence == Presence::Present));
        assert_eq!(applied, live.iter().map(|agent| agent.model.lock().unwrap().applied).collect::<Vec<_>>());

        second.want(&agents[0], device("d0", &format!("u0-{}", agents[0]), 2, "y"));
        until("a change under the new term arrives", || live[0].model.lock().unwrap().fence.term == 4).await;
        second.remove(&agents[1], &format!("u1-{}", agents[1]), 2);
        until("a tombstone is confirmed", || {
            second.holding(&agents[1], &format!("u1-{}", agents[1])) == Holding::NotHeld
        })
        .await;
        assert_eq!(live[1].model.lock().unwrap().items.len(), 19);
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
        let request = live.model.lock().unwrap().envelope(Renewal { csr: "pem".into() });
        live.orders.send(vec![(Up::Csr, request)]).unwrap();
        let answer = Control::Certificate { certificate: "pem".into(), authorities: agent.to_string() };
        until("the answer came", || live.model.lock().unwrap().control.contains(&answer)).await;
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
}

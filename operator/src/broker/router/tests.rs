//! The router against what made rumqttd panic or stall.

use super::*;

const BOUND: Duration = Duration::from_secs(20);

/// The next message, the link's subscription being in force.
async fn message(link: &mut RouterLink) -> Bytes {
    loop {
        match tokio::time::timeout(BOUND, link.next()).await.unwrap().unwrap() {
            LinkEvent::Message { payload, .. } => return payload,
            LinkEvent::Subscribed => {}
        }
    }
}

async fn subscribed(router: &Router, id: &str, topic: &str) -> RouterLink {
    let mut link = router.link(id).await.unwrap();
    link.subscribe(topic).unwrap();
    let first = tokio::time::timeout(BOUND, link.next()).await.unwrap().unwrap();
    assert!(matches!(first, LinkEvent::Subscribed));
    link
}

async fn router(period: Duration) -> Router {
    let (_, hint) = watch::channel(Bytes::from_static(b"{}"));
    Router::start(RouterSettings::for_sessions(8), 8, period, hint).await.unwrap()
}

#[tokio::test]
async fn settings_that_would_kill_the_router_are_refused_by_name() {
    let good = RouterSettings::for_sessions(8);
    for (bad, name) in [
        (RouterSettings { segment_bytes: 1023, ..good }, "segment_bytes"),
        (RouterSettings { segments: 0, ..good }, "segments"),
        (RouterSettings { links: 8, ..good }, "links"),
        (RouterSettings { replay: 0, ..good }, "replay"),
    ] {
        let (_, hint) = watch::channel(Bytes::from_static(b"{}"));
        match Router::start(bad, 8, Duration::from_secs(1), hint).await {
            Err(RouterError::Setting(found, ..)) => assert_eq!(found, name),
            _ => panic!("{name} was accepted"),
        }
    }
}

#[tokio::test]
async fn link_still_receives_after_ten_thousand_messages() {
    let router = router(Duration::from_secs(10)).await;
    let mut link = subscribed(&router, "a.b", "t").await;
    for round in 0..50_u32 {
        for n in 0..200_u32 {
            router.publish("t".into(), Bytes::from((round * 200 + n).to_string())).unwrap();
        }
        for n in 0..200_u32 {
            assert_eq!(message(&mut link).await, (round * 200 + n).to_string());
        }
    }
}

#[tokio::test]
async fn flooded_links_that_vanish_do_not_hurt_the_router() {
    let router = router(Duration::from_secs(10)).await;
    for round in 0..60 {
        let mut link = subscribed(&router, "a.b", "t").await;
        for _ in 0..300 {
            router.publish("t".into(), Bytes::from_static(b"flood")).unwrap();
        }
        if round % 2 == 0 {
            message(&mut link).await;
        }
    }
    let mut link = subscribed(&router, "a.b", "u").await;
    router.publish("u".into(), Bytes::from_static(b"alive")).unwrap();
    assert_eq!(message(&mut link).await, "alive");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_overtakes_a_subscription_that_is_in_force() {
    let router = router(Duration::from_secs(10)).await;
    let noise = router.clone();
    let (stop, stopped) = (Arc::new(std::sync::atomic::AtomicBool::new(false)), std::sync::atomic::Ordering::SeqCst);
    let stopping = Arc::clone(&stop);
    // The publisher is busy all the time, as in a storm of agents.
    let noisy = std::thread::spawn(move || {
        while !stopping.load(stopped) {
            noise.publish("noise".into(), Bytes::from_static(b"x")).unwrap();
        }
    });
    for n in 0..200 {
        let topic = format!("t{n}");
        let mut link = subscribed(&router, "a.b", &topic).await;
        router.publish(topic, Bytes::from_static(b"first")).unwrap();
        assert_eq!(message(&mut link).await, "first");
    }
    stop.store(true, stopped);
    noisy.join().unwrap();
}

#[tokio::test]
async fn death_of_the_router_is_fatal_within_the_watchdog_time() {
    let router = router(Duration::from_millis(50)).await;
    let fatal = router.fatal();
    // The router panics on a topic that begins with a multi-byte character; no agent's packet can bring it one.
    let mut link = subscribed(&router, "a.b", "t").await;
    let _ = router.publish("đ/1".into(), Bytes::from_static(b"x"));
    // Silent while its thread still prints what happened, gone afterwards.
    let fatal = tokio::time::timeout(BOUND, fatal).await.unwrap();
    assert!(matches!(fatal, RouterFailure::RouterGone | RouterFailure::RouterSilent));
    let end = async { while link.next().await.is_ok() {} };
    tokio::time::timeout(BOUND, end).await.unwrap();
    assert!(router.link("a.c").await.is_err());
}

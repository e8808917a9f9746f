//! The agent's process against a small gateway: what is said first, what is obeyed, what survives a kill.

use kalong_crds::wire::control::{Control, Renewal};
use kalong_crds::wire::desired::{Item, ItemKind, rev_of};
use kalong_crds::wire::digest::Rev;
use kalong_crds::wire::envelope::{Beat, Envelope};
use kalong_crds::wire::reported::ItemState;
use kalong_crds::wire::topic::{Down, Up};
use kalong_edge_agent::store::identity::AgentIdentity;
use rcgen::{CertificateParams, DnType, Issuer, KeyPair};
use rumqttc::Packet;
use serde_json::json;

use crate::post::{AGENT, Agent, Post, agent_item, signed};

fn device_item(n: u32, generation: i64) -> Item {
    // Nothing listens there: the agent reports that honestly.
    let spec = json!({
        "class": "LanePlc", "model": "plc-x",
        "protocol": { "name": "ModbusTcp", "pollIntervalMillis": 1000, "registers": [
            { "name": "serialNumber", "table": "InputRegister", "address": 0, "words": 8, "encoding": "Ascii" } ] },
        "properties": [ { "name": "serialNumber", "type": "Text" } ],
        "update": {}, "regulatory": {}, "endpoint": "127.0.0.1:9", "admin": "Enabled"
    });
    Item::new(ItemKind::Device, "mc", &format!("plc-{n}"), &format!("uid-{n}"), generation, &spec).unwrap()
}

#[tokio::test]
async fn whole_comes_first_and_what_is_told_is_held_confirmed_and_survives_a_kill() {
    let mut post = Post::new().await;
    let agent = post.start();
    let mut session = post.session().await;
    let (epoch, first) = session.reported(|_| true).await;
    assert_eq!(session.seen.len(), 1, "nothing before the whole");
    assert!(first.base.is_none() && first.items.is_empty() && first.about.is_some());
    assert_eq!(first.desired_rev, Rev::empty());

    let items = [agent_item(200), device_item(1, 1)];
    post.tell(&mut session, None, &items, rev_of(&items)).await;
    let mut device = None;
    let mut fence = None;
    session
        .reported(|r| {
            if r.desired_rev == rev_of(&items) {
                fence.get_or_insert((r.term, r.term_seq));
            }
            let unreachable = r.items.iter().find(|i| i.uid == "uid-1" && i.reason == "DeviceUnreachable");
            device = device.take().or_else(|| unreachable.cloned());
            fence.is_some() && device.is_some()
        })
        .await;
    assert_eq!(fence, Some((1, 1)));
    let device = device.unwrap();
    assert_eq!((device.state, device.applied), (ItemState::Applying, 0));
    assert!(device.device().is_some_and(|d| !d.connected && d.health.is_none()));
    let beat = session.until(|up, payload| (up == Up::Beat).then(|| Beat::parse(payload).unwrap())).await;
    assert_eq!((beat.epoch, beat.desired), (epoch, rev_of(&items)));

    // A difference on a base that the agent does not hold: it asks for the whole and changes nothing.
    let wrong = Rev::over([("x", 1, &items[0].hash)]);
    post.tell(&mut session, Some(wrong), &[device_item(2, 1)], Rev::empty()).await;
    let (_, asking) = session.reported(|r| r.want_whole).await;
    assert_eq!(asking.desired_rev, rev_of(&items));

    drop(agent);
    drop(session);
    let _agent = post.start();
    let mut session = post.session().await;
    let (again, whole) = session.reported(|_| true).await;
    assert_eq!((again, whole.desired_rev.clone()), (epoch + 1, rev_of(&items)));
    assert!(whole.base.is_none() && whole.items.len() == 2);

    // What an earlier or deposed operator says is not heard.
    (post.term, post.seq) = (1, 0);
    let other = [agent_item(900)];
    post.tell(&mut session, None, &other, rev_of(&other)).await;
    (post.term, post.seq) = (2, 0);
    let more = [agent_item(200), device_item(1, 1), device_item(2, 1)];
    post.tell(&mut session, Some(rev_of(&items)), &more[2..], rev_of(&more)).await;
    let (_, now) = session.reported(|r| r.desired_rev == rev_of(&more)).await;
    assert_eq!(now.term, 2);
}

#[tokio::test]
async fn events_come_again_until_they_are_acked() {
    let mut post = Post::new().await;
    // An event from before: the agent has to bring it up by itself.
    let opened = kalong_edge_agent::store::Store::open(post.folder.path()).unwrap();
    let event = kalong_edge_agent::store::outbox::NewEvent {
        kind: ItemKind::Device,
        name: "plc-1".into(),
        uid: "uid-1".into(),
        reason: kalong_crds::Reason::DeviceFaulty,
        severity: kalong_crds::wire::event::EventSeverity::Warning,
        note: "the device reports MotorFault".into(),
    };
    let transaction =
        kalong_edge_agent::store::Transaction { uid: "uid-1".into(), events: vec![event; 3], ..Default::default() };
    opened.store.commit(transaction).await.unwrap();
    let epoch = opened.epoch;
    drop(opened);

    let _agent = post.start();
    let mut session = post.session().await;
    let sent = session.events().await;
    let order: Vec<_> = sent.iter().map(|e| (e.origin_epoch, e.origin_seq)).collect();
    assert_eq!(order, [(epoch, 1), (epoch, 2), (epoch, 3)]);
    assert!(session.seen[0].0.ends_with("/reported"), "the whole comes before the outbox");
    let ack = post.seal(Down::Ctl, Control::Ack { epoch, upto: 2 });
    session.write(Packet::Publish(ack)).await;
    let rest = session.events().await;
    assert_eq!(rest.iter().map(|e| e.origin_seq).collect::<Vec<_>>(), [3]);
}

#[tokio::test]
async fn new_certificate_is_used_and_one_that_does_not_connect_is_given_up() {
    let mut post = Post::new().await;
    // Two thirds of this certificate's life are over.
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, AGENT);
    params.not_before = rcgen::date_time_ymd(2020, 1, 1);
    let key = KeyPair::generate().unwrap();
    let certificate = params.signed_by(&key, &post.issuer).unwrap().pem();
    params.not_after = rcgen::date_time_ymd(2027, 6, 1);
    let short = params.signed_by(&key, &post.issuer).unwrap().pem();
    assert_ne!(certificate, short);
    let old = AgentIdentity { certificate: short, key: key.serialize_pem(), ..post.identity() };
    old.save(post.folder.path()).unwrap();

    let _agent = post.start();
    let mut session = post.session().await;
    let csr = session
        .until(|up, payload| {
            (up == Up::Csr).then(|| Envelope::<Renewal>::parse(payload, &AGENT.parse().unwrap()).unwrap().body.csr)
        })
        .await;
    assert!(csr.contains("BEGIN CERTIFICATE REQUEST"));
    // A certificate for another key is not taken: the session goes on.
    let (foreign, _) = signed(&post.issuer, AGENT, &[]);
    let authorities = post.authority.clone();
    let offer = post.seal(Down::Ctl, Control::Certificate { certificate: foreign, authorities });
    session.write(Packet::Publish(offer)).await;
    let resync = post.seal(Down::Ctl, Control::Resync {});
    session.write(Packet::Publish(resync)).await;
    session.reported(|r| r.base.is_none()).await;
    drop(session);
    drop(_agent);

    // A candidate that the gateway does not accept: the old one connects after it.
    let stranger = Issuer::new(CertificateParams::default(), KeyPair::generate().unwrap());
    let (certificate, key) = signed(&stranger, AGENT, &[]);
    AgentIdentity { certificate, key, ..old.clone() }.save_candidate(post.folder.path()).unwrap();
    let _agent = post.start();
    let mut session = post.session().await;
    session.reported(|_| true).await;
    assert!(AgentIdentity::candidate(post.folder.path()).is_none());
    assert_eq!(AgentIdentity::load(post.folder.path()).unwrap().certificate, old.certificate);
    drop(session);
    drop(_agent);

    // One that connects replaces the old one.
    let next = post.identity();
    next.save_candidate(post.folder.path()).unwrap();
    let _agent = post.start();
    let mut session = post.session().await;
    session.reported(|_| true).await;
    assert_eq!(AgentIdentity::load(post.folder.path()).unwrap().certificate, next.certificate);
}

/// DurableState of its own in kilobytes, without the pages of the program file; none where the system does not tell.
fn resident(agent: &Agent) -> Option<u64> {
    let status = std::fs::read_to_string(format!("/proc/{}/status", agent.0.id())).ok()?;
    status.lines().find_map(|l| l.strip_prefix("RssAnon:")?.trim().strip_suffix(" kB")?.parse().ok())
}

#[tokio::test]
async fn sixty_devices_are_held_in_bounded_memory() {
    let mut post = Post::new().await;
    let agent = post.start();
    let mut session = post.session().await;
    session.reported(|_| true).await;
    let mut items = vec![agent_item(500)];
    items.extend((0..60).map(|n| device_item(n, 1)));
    post.tell(&mut session, None, &items, rev_of(&items)).await;
    let mut reported = std::collections::BTreeSet::new();
    session
        .reported(|r| {
            reported.extend(r.items.iter().map(|i| i.uid.clone()));
            reported.len() == items.len()
        })
        .await;
    if let Some(kilobytes) = resident(&agent) {
        println!("resident with sixty devices: {kilobytes} kB");
        // The whole of a shipped build is to stay below 12 MB; a build for tests has larger code and larger frames.
        assert!(kilobytes < 12_000, "{kilobytes} kB");
    }
}

//! One leads. The others wait, and take over when they may.

use std::time::{Duration, Instant};

use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::{Device, EdgeAgent};
use kalong_e2e::cluster::Exit;
use kalong_e2e::throttle::{ProxiedRequest, Throttle};
use kube::api::{DeleteParams, Patch, PatchParams};
use serde_json::json;

use super::fixture::fixture;
use super::home::Home;
use crate::kit::{SOON, holds, until};
use kalong_e2e::scenario::plain_http::listens;

/// The Lease lasts 30 s and is renewed every 10 s; standbys look every 2 s, and bringing everything up takes a while on a busy machine.
const AFTER_A_CRASH: std::ops::RangeInclusive<u64> = 18..=40;
/// A look of a standby, and bringing everything up: less than the Lease lasts.
const AT_ONCE: Duration = Duration::from_secs(15);
/// The next renewal, which finds that the Lease is not ours.
const NEXT_RENEWAL: Duration = Duration::from_secs(20);
const LEASE: &str = "kalong-operator";

fn writes(front: &Throttle) -> Vec<ProxiedRequest> {
    front.passed().into_iter().filter(ProxiedRequest::is_write).collect()
}

async fn only_the_leader_writes_and_listens_and_a_standby_takes_over_when_it_may() {
    let fixture = fixture().await;
    let home = Home::new(&fixture.cluster, "lease", &["lease"]).await;
    let site = home.site("lease");
    let plane = fixture.cluster.plane().unwrap();
    let mut doors = Vec::new();
    let mut operators = Vec::new();
    for name in ["first", "second"] {
        let door = Throttle::start(plane.server_url(), plane.ca_pem()).await.unwrap();
        let mut operator = home.operator(name);
        operator.kubeconfig = door.kubeconfig(home.kubeconfig(), operator.directory.join("kubeconfig")).unwrap();
        operator.start().await;
        operator.is(if doors.is_empty() { "serving" } else { "standby" }, SOON).await;
        doors.push(door);
        operators.push(operator);
    }
    let [mut first, second]: [_; 2] = operators.try_into().unwrap_or_else(|_| panic!("two"));
    for (leads, waits) in [(first.listens.mqtt, second.listens.mqtt), (first.listens.https, second.listens.https)] {
        assert!(listens(leads).await && !listens(waits).await, "only the leader takes agents");
    }
    site.agent("gate").await;
    site.until::<EdgeAgent>("gate", "judged", SOON, |a| a.reason(ConditionType::Ready) == "NotEnrolled").await;
    assert!(!writes(&doors[0]).is_empty());
    assert!(writes(&doors[1]).is_empty(), "a standby writes nothing: {:?}", writes(&doors[1]));

    let term = home.term().await;
    let ended = Instant::now();
    first.stop().await;
    second.is("serving", AT_ONCE).await;
    assert!(ended.elapsed() < AT_ONCE, "after an ordered end nobody waits for the Lease to run out");
    assert!(home.term().await > term);
    site.patch::<EdgeAgent>("gate", json!({"spec": {"suspend": true}})).await;
    site.until::<EdgeAgent>("gate", "judged by the second", SOON, |a| a.reason(ConditionType::Ready) == "Suspended")
        .await;
    let last = writes(&doors[0]).last().unwrap().at;
    assert!(writes(&doors[1])[0].at > last, "never two at once");

    first.start().await;
    first.is("standby", SOON).await;
    let (before, term, quiet) = (writes(&doors[0]).len(), home.term().await, Instant::now());
    second.kill().await;
    first.is("serving", Duration::from_secs(*AFTER_A_CRASH.end())).await;
    let took = quiet.elapsed().as_secs();
    assert!(AFTER_A_CRASH.contains(&took), "the Lease of a dead leader counts until it has run out: {took} s");
    assert_eq!(home.term().await, term + 1);
    let next = &writes(&doors[0])[before];
    assert!(next.at > writes(&doors[1]).last().unwrap().at, "never two at once");
}

async fn same_instance_leads_again_at_once_and_a_lost_lease_ends_the_process() {
    let fixture = fixture().await;
    let home = Home::new(&fixture.cluster, "again", &["again"]).await;
    let mut operator = home.operator("only");
    operator.start().await;
    operator.serves().await;
    let term = home.term().await;
    let double = operator.double().await;
    let exit = double.wait(SOON).await.unwrap();
    assert!(!exit.is_success());

    operator.kill().await;
    operator.start().await;
    operator.is("serving", AT_ONCE).await;
    assert_eq!(home.term().await, term + 1, "a restart is another holder");

    // Somebody edits the Lease by hand: this process must not go on as if it led.
    let leases = home.leases(fixture.cluster.client().unwrap());
    let foreign = json!({"spec": {"holderIdentity": "somebody/else"}});
    leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(&foreign)).await.unwrap();
    let exit = operator.child().wait(NEXT_RENEWAL).await.unwrap();
    assert_eq!(exit, Exit::Code(3));
    let last = operator.child().log_tail(1);
    assert!(last.contains("the Lease is lost") && last.contains("somebody/else"), "{last}");

    // A Lease that is deleted is anybody's.
    operator.start().await;
    operator.is("standby", SOON).await;
    let term = home.term().await;
    leases.delete(LEASE, &DeleteParams::default()).await.unwrap();
    operator.is("serving", AT_ONCE).await;
    assert!(home.term().await > term, "a new Lease begins above every earlier term");
    leases.delete(LEASE, &DeleteParams::default()).await.unwrap();
    assert_eq!(operator.child().wait(NEXT_RENEWAL).await.unwrap(), Exit::Code(3));
    assert!(operator.child().log_tail(1).contains("it was deleted"), "{}", operator.child().log_tail(3));
}

async fn lease_that_was_restored_with_a_low_term_is_raised_above_what_an_agent_verified() {
    let fixture = fixture().await;
    let home = Home::new(&fixture.cluster, "restored", &["restored"]).await;
    let site = home.site("restored");
    let mut operator = home.operator("only");
    operator.start().await;
    operator.serves().await;
    let placed = fixture.device();
    site.working_box("gate").await;
    site.device(placed, "gate").await;
    site.ready::<Device>(&placed.name).await;
    let verified = home.term().await;

    operator.kill().await;
    let leases = home.leases(fixture.cluster.client().unwrap());
    // Not too low: what is more than a year of seconds away is not believed.
    let low = json!({"spec": {"leaseTransitions": verified - 1000}});
    leases.patch(LEASE, &PatchParams::default(), &Patch::Merge(&low)).await.unwrap();
    operator.start().await;
    operator.serves().await;
    until("the term is above what the agent has verified", SOON, async || {
        let term = home.term().await;
        holds(term > verified, format!("term {term}, verified {verified}\n{}", operator.child().log_tail(10)))
    })
    .await;
    let change = site.change(placed).await;
    site.holds(placed, &change).await;
    site.ready::<Device>(&placed.name).await;
}

crate::tests![
    only_the_leader_writes_and_listens_and_a_standby_takes_over_when_it_may,
    same_instance_leads_again_at_once_and_a_lost_lease_ends_the_process,
    lease_that_was_restored_with_a_low_term_is_raised_above_what_an_agent_verified,
];

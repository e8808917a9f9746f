//! Changes flow, something breaks, becomes whole again, and then everything is as it would have been without.

use std::time::{Duration, Instant};

use kalong_e2e::scenario::{ChangeTraffic, FaultActor, LiveSite, Reconnect};
use tokio::time::sleep;

use super::after;
use super::watched::Watched;

const TICK: Duration = Duration::from_millis(50);
/// A Pod that ends is started again after a moment.
const RESTART_PAUSE: Duration = Duration::from_secs(1);
/// What is promised is promised for sites of this size.
const LEAST_ACTORS: usize = 300;

/// A trouble.
pub enum Act {
    /// SIGKILL, and a new process at once.
    KillOperator,
    /// The line of a box.
    Cut(String),
    /// It is back.
    Reconnect(String, Reconnect),
    /// The API server ends.
    StopApiServer,
    /// It is there again, with its data.
    StartApiServer,
}

/// Lets changes flow for so long while these things happen, and proves that nothing came of it.
pub async fn ride(site: &LiveSite, lasting: Duration, script: Vec<(Duration, Act)>) {
    let actors = FaultActor::all(site);
    assert!(actors.len() >= LEAST_ACTORS, "{} devices take part", actors.len());
    everyone_well(site, &actors).await;
    let told_before = after::told_that_everyone_is_well(site).await;
    let counts_before = site.truth().await.unwrap();
    let begun = Instant::now();
    let watched = Watched::start(site.simulated.control(), &actors);
    let traffic = ChangeTraffic::start(site, actors.clone()).unwrap();

    let mut script = script.into_iter().peekable();
    while begun.elapsed() < lasting || script.peek().is_some() {
        if let Some((_, act)) = script.next_if(|(when, _)| begun.elapsed() >= *when) {
            perform(site, act).await;
        }
        keep_running(site).await;
        sleep(TICK).await;
    }
    let flowed = begun.elapsed();
    let done = tokio::select! {
        done = traffic.stop() => done.unwrap(),
        () = kept(site) => unreachable!("for ever"),
    };
    let changes: usize = done.values().map(|done| done.health.len() + done.numbers.len()).sum();
    let rate = f64::from(u32::try_from(changes).unwrap()) / flowed.as_secs_f64();

    let took = tokio::select! {
        took = after::converged(site, &actors, &done) => took,
        () = kept(site) => unreachable!("for ever"),
    };
    after::never_went_back(site, &actors, &done, begun);
    let events = after::told_once_and_in_order(site, &actors, &done, &told_before).await;
    watched.never_fell();
    let truth = site.truth().await.unwrap();
    for actor in &actors {
        let counts = truth[&actor.name].counts.since(&counts_before[&actor.name].counts);
        let wanted = done.get(&actor.name).map_or(0, |done| done.numbers.len());
        assert!(
            usize::try_from(counts.setting_writes).unwrap() <= wanted,
            "{}: {} writes for {wanted} changes",
            actor.name,
            counts.setting_writes
        );
        assert_eq!((counts.reboots, counts.uploads), (0, 0), "{}", actor.name);
    }
    eprintln!(
        "{} devices, {changes} changes at {rate:.1}/s, whole again {:.1} s after the last, {events} events once and in order",
        actors.len(),
        took.as_secs_f64()
    );
}

async fn everyone_well(site: &LiveSite, actors: &[FaultActor]) {
    let well = actors.iter().map(|actor| (actor.name.clone(), vec![])).collect();
    site.simulated.health(&well).await.unwrap();
    after::settled(site).await;
    let shown = site.devices.until("everyone well", Duration::from_secs(60), &site.progress, |seen| {
        let ill = seen.values().filter(|device| {
            device
                .status
                .as_ref()
                .and_then(|status| status.health.as_ref())
                .is_some_and(|health| !health.codes.is_empty())
        });
        let ill = ill.count();
        if ill == 0 { Ok(()) } else { Err(format!("{ill} are ill")) }
    });
    shown.await.unwrap();
}

async fn perform(site: &LiveSite, act: Act) {
    match act {
        Act::KillOperator => {
            site.operator.kill().await.unwrap();
            site.operator.restart(site.cluster.supervisor()).await.unwrap();
        }
        Act::Cut(agent) => site.uplink.cut(&agent),
        Act::Reconnect(agent, how) => site.uplink.reconnect(&agent, how),
        Act::StopApiServer => site.cluster.plane().unwrap().stop_api_server().await.unwrap(),
        Act::StartApiServer => site.cluster.plane().unwrap().start_api_server().await.unwrap(),
    }
}

/// An operator that ended, because its lease could not be renewed, is started again as a kubelet does it.
async fn keep_running(site: &LiveSite) {
    if site.operator.child().exited().is_some() {
        sleep(RESTART_PAUSE).await;
        site.operator.restart(site.cluster.supervisor()).await.unwrap();
    }
}

async fn kept(site: &LiveSite) {
    loop {
        keep_running(site).await;
        sleep(TICK).await;
    }
}

//! What known systems lose under faults must not be lost here: a whole site of 311 devices, twenty changes a second each way, and
//! the operator killed, a box cut off, the API server away, or all of it. Each promise is a test of its own; they share one site, in
//! this order, since bringing one up takes most of a minute.

mod absent;
mod after;
pub mod bench;
mod equal;
mod first;
mod storm;
mod watched;

use std::sync::Arc;
use std::time::Duration;

use crate::schedule::Test;
use bench::Bench;
use kalong_e2e::scenario::{GRACE, LiveSite, Reconnect};
use storm::Act;

/// Changes flow for this long before something breaks, and for as long after it is whole again.
const CALM: Duration = Duration::from_secs(4);
/// Longer than grace by what makes the difference visible.
const CUT: Duration = Duration::from_secs(16);
const API_AWAY: Duration = Duration::from_secs(30);

/// One trouble at a time, in this order.
pub fn tests(bench: &Arc<Bench>) -> Vec<Test> {
    vec![
        test(bench, "first_report_of_every_device_counts", async |site| first::counts(site).await),
        test(bench, "equal_report_writes_nothing", async |site| equal::writes_nothing(site).await),
        test(bench, "operator_killed_and_restarted_loses_no_change", async |site| {
            storm::ride(site, 2 * CALM + Duration::from_secs(10), vec![(CALM, Act::KillOperator)]).await;
        }),
        test(bench, "uplink_cut_for_longer_than_grace_loses_no_change", async |site| {
            assert!(CUT > GRACE);
            let agent = largest(site);
            let script = vec![(CALM, Act::Cut(agent.clone())), (CALM + CUT, Act::Reconnect(agent, Reconnect::Resume))];
            storm::ride(site, 2 * CALM + CUT, script).await;
        }),
        test(bench, "api_server_away_for_30_s_loses_no_change", async |site| {
            let script = vec![(CALM, Act::StopApiServer), (CALM + API_AWAY, Act::StartApiServer)];
            storm::ride(site, 2 * CALM + API_AWAY, script).await;
        }),
        test(bench, "all_three_at_once_lose_no_change", async |site| {
            let agent = largest(site);
            let script = vec![
                (CALM, Act::Cut(agent.clone())),
                (CALM + Duration::from_secs(2), Act::StopApiServer),
                (CALM + Duration::from_secs(6), Act::KillOperator),
                (CALM + Duration::from_secs(2) + API_AWAY, Act::StartApiServer),
                (CALM + Duration::from_secs(4) + API_AWAY, Act::Reconnect(agent, Reconnect::Reset)),
            ];
            storm::ride(site, 3 * CALM + API_AWAY, script).await;
        }),
        test(
            bench,
            "devices_declared_changed_and_deleted_while_their_agent_is_off_are_right_on_its_return",
            async |site| {
                absent::right_on_return(site).await;
            },
        ),
    ]
}

fn test(bench: &Arc<Bench>, name: &str, test: impl AsyncFnOnce(&mut LiveSite) + Send + 'static) -> Test {
    let bench = Arc::clone(bench);
    Test::new(module_path!(), name, move || bench.run(test))
}

/// The box with the most devices.
fn largest(site: &LiveSite) -> String {
    let count = |agent: &String| site.layout.live().filter(|device| device.agent == *agent).count();
    site.live_boxes().into_iter().max_by_key(count).unwrap()
}

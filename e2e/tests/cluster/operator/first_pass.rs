//! The first pass of a new leader ends when what still exists was visited.

use kalong_crds::Lane;
use kube::ResourceExt;
use kube::api::{DeleteParams, ListParams};

use super::fixture::fixture;
use super::home::Home;
use crate::kit::{SOON, holds, until};
use kalong_e2e::scenario::plain_http::get;

/// So many that at [`BUDGET`] their first pass takes most of a minute.
const LANES: usize = 100;
/// Requests to the API server a second.
const BUDGET: &str = "3";

async fn object_that_goes_before_its_first_visit_holds_back_no_orders() {
    let home = Home::new(&fixture().await.cluster, "pruned", &["pruned"]).await;
    let site = home.site("pruned");
    for number in 0..LANES {
        site.lane(&format!("lane-{number}"), "nowhere", &[("Controller", "nothing")]).await;
    }
    let mut operator = home.operator("slow");
    operator.flags = vec!["--api-budget", BUDGET];
    operator.start().await;
    operator.serves().await;
    let lanes = site.api::<Lane>();
    let mut waiting = Vec::new();
    until("the first lanes were visited", SOON, async || {
        let all = lanes.list(&ListParams::default()).await.unwrap().items;
        let visited = |lane: &&Lane| lane.status.as_ref().is_some_and(|status| status.observed_generation > 0);
        waiting = all.iter().filter(|lane| !visited(lane)).map(ResourceExt::name_any).collect();
        holds(waiting.len() < LANES, format!("{} wait", waiting.len()))
    })
    .await;
    assert!(!waiting.is_empty(), "every lane was visited before one could be deleted");
    for name in &waiting {
        lanes.delete(name, &DeleteParams::default()).await.unwrap();
    }
    until("nothing waits for its first visit", SOON, async || {
        let (_, text) = get(operator.listens.http, "/metrics").await.unwrap_or_default();
        let gauge = text.lines().find(|line| line.starts_with("kalong_not_visited_objects{kind=\"Lane\"}"));
        holds(gauge.is_some_and(|line| line.ends_with(" 0")), format!("{gauge:?}"))
    })
    .await;
}

crate::tests![object_that_goes_before_its_first_visit_holds_back_no_orders];

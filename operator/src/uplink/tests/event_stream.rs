//! Events of agents, from frames to the sink and back as acknowledgements.

use std::time::Duration;

use kalong_controllers::kit::link::AgentLink;

use super::harness::UplinkHarness;
use super::model::device;

#[tokio::test(start_paused = true)]
async fn events_arrive_once_in_order_and_are_acknowledged_after_that() {
    let harness = UplinkHarness::with_failing_sink(4);
    let mut agent = harness.enter("a1");
    harness.uplink.want(&agent.model.id, device("cam", "u1", 1, "x"));
    harness.send_events(&mut agent, 3..=4);
    harness.send_events(&mut agent, 3..=6);
    harness.send_events(&mut agent, 8..=9);
    tokio::time::sleep(Duration::from_secs(5)).await;
    assert!(harness.sink.taken().is_empty(), "nobody knows yet whose objects these are");
    harness.uplink.open();
    agent.acknowledged(1, 6).await;
    assert_eq!(harness.sink.taken(), [3, 4, 5, 6]);
    harness.send_events(&mut agent, 7..=9);
    agent.acknowledged(1, 9).await;
    assert_eq!(harness.sink.taken(), [3, 4, 5, 6, 7, 8, 9]);
}

#[tokio::test(start_paused = true)]
async fn event_of_a_foreign_object_is_only_logged() {
    let harness = UplinkHarness::new();
    let mut agent = harness.enter("a1");
    harness.uplink.open();
    harness.send_events(&mut agent, 1..=2);
    agent.acknowledged(1, 2).await;
    assert!(harness.sink.taken().is_empty());
}

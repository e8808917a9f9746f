//! Orders that must not wait, and which agents hold an item.

use std::time::Duration;

use kalong_controllers::kit::link::{AgentLink, Holding};

use super::harness::{UplinkHarness, link};
use super::model::device;

#[tokio::test(start_paused = true)]
async fn cut_link_overtakes_an_order_that_is_not_confirmed() {
    let harness = UplinkHarness::new();
    let mut here = harness.enter("a1");
    harness.uplink.want(&here.model.id, link("Watch"));
    harness.uplink.open();
    here.told().await;
    harness.report(&mut here);
    // The box takes this one in and does not confirm it: nothing more would be sent for ten seconds.
    harness.uplink.want(&here.model.id, device("cam", "d1", 1, "x"));
    here.told().await;
    let start = tokio::time::Instant::now();
    harness.uplink.want(&here.model.id, link("Cut"));
    let cut = async {
        while here.model.items.get("l").is_none_or(|item| item.spec["mode"] != "Cut") {
            here.told().await;
            harness.report(&mut here);
        }
    };
    tokio::time::timeout(Duration::from_secs(120), cut).await.unwrap();
    assert!(start.elapsed() < Duration::from_secs(1), "{:?}", start.elapsed());
}

#[tokio::test(start_paused = true)]
async fn holders_are_known_without_asking_every_agent() {
    let harness = UplinkHarness::new();
    let (mut here, mut there) = (harness.enter("a1"), harness.enter("a2"));
    let (old, new) = (here.model.id.clone(), there.model.id.clone());
    harness.uplink.want(&old, device("cam", "d1", 1, "x"));
    harness.uplink.open();
    here.told().await;
    assert!(harness.uplink.holders("d1").is_empty(), "it did not say so yet");
    harness.report(&mut here);
    assert_eq!(harness.uplink.holders("d1"), std::slice::from_ref(&old));
    harness.uplink.want(&new, device("cam", "d1", 1, "x"));
    there.told().await;
    harness.report(&mut there);
    assert_eq!(harness.uplink.holders("d1"), [old.clone(), new.clone()]);
    harness.uplink.remove(&old, "d1", 1);
    here.told().await;
    harness.report(&mut here);
    assert_eq!(harness.uplink.holders("d1"), std::slice::from_ref(&new));
    assert_eq!(harness.uplink.holding(&old, "d1"), Holding::NotHeld);
    harness.uplink.forget(&new);
    assert!(harness.uplink.holders("d1").is_empty());
}

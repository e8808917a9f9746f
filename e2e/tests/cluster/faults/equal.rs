//! A report that says what is known writes nothing: every box loses its line for a moment, comes back and reports its whole again.

use std::time::Duration;

use kalong_e2e::scenario::{LiveSite, Reconnect};
use tokio::time::sleep;

use super::after::{CONVERGE, settled};
use crate::kit::until;

/// What would be written comes in this time: within a poll of 5 s, and within the patience of the operator.
const FOLLOW: Duration = Duration::from_secs(8);

pub async fn writes_nothing(site: &mut LiveSite) {
    settled(site).await;
    sleep(FOLLOW).await;
    let plane = site.cluster.plane().unwrap();
    let mark = plane.audit_fence().await.unwrap();
    let before = site.uplink.meters();
    for agent in before.keys() {
        site.uplink.cut(agent);
        site.uplink.reconnect(agent, Reconnect::Reset);
    }
    until("every box has a new session and has reported", CONVERGE, async || {
        let now = site.uplink.meters();
        // A whole report is thousands of bytes; a session that only beats sends hundreds.
        let back = now.iter().filter(|(name, meter)| {
            meter.sessions > before[*name].sessions && meter.bytes_up > before[*name].bytes_up + 4_000
        });
        let back = back.count();
        if back == before.len() { Ok(()) } else { Err(format!("{back} of {}", before.len())) }
    })
    .await;
    sleep(FOLLOW).await;
    plane.audit_fence().await.unwrap();
    let writes = plane.audit().writes_by(&site.operator_user(), mark).unwrap();
    let words: Vec<_> =
        writes.iter().map(|w| format!("{} {}/{} {}", w.verb, w.resource, w.subresource, w.name)).collect();
    assert!(writes.is_empty(), "{} writes: {}", words.len(), words[..words.len().min(10)].join(", "));
}

//! A Phase: the state asked for comes into force when its gates are met, and a stage that opened never closes by itself.
//!
//! Only [`life`](crate::kit::life) reads the state in force; every other kind obeys that. Going back is done in two steps, so that lanes
//! are emptied under the floors while their devices are still in contact.

mod gates;
mod inventory;
mod judge;
mod members;
mod observe;
mod plan;
mod progress;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::Phase;
use kalong_crds::condition::Reason;
use kalong_crds::phase::PhaseStatus;
use kube::{Resource, ResourceExt};
use kube_runtime::events::{Event, EventType};

use crate::kit::API_DEADLINE;
use crate::kit::driver::{Controlled, Report};
use crate::kit::world::World;

/// Moments farther away than this are found by the ordinary resync.
const SOON: Duration = Duration::from_secs(600);

impl Controlled for Phase {
    async fn pass(world: &World, phase: Arc<Self>) -> Report<PhaseStatus> {
        let seen = observe::observe(world, phase);
        let plan::Plan { status, news, again } = plan::plan(&seen);
        let again = again.filter(|again| *again < SOON);
        let uid = seen.phase.uid().unwrap_or_default();
        let old = seen.phase.status.as_ref();
        if old == Some(&status) {
            return Report { again, ..Report::unchanged() };
        }
        let slow = old.is_some_and(|old| plan::is_only_progress(old, &status));
        if let Some(left) = world.pace.left(&uid).filter(|_| slow) {
            return Report { again: Some(again.map_or(left, |again| again.min(left))), ..Report::unchanged() };
        }
        world.pace.told(&uid);
        for decision in news {
            announce(world, &seen.phase, decision).await;
        }
        Report { status: Some(status), again, ..Report::unchanged() }
    }
}

/// A decision that people hear of, beside the refusals that every Stalled object tells by itself.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Decision {
    reason: Reason,
    warning: bool,
    note: String,
}

async fn announce(world: &World, phase: &Phase, decision: Decision) {
    let Decision { reason, warning, note } = decision;
    let event = Event {
        type_: if warning { EventType::Warning } else { EventType::Normal },
        reason: reason.to_string(),
        note: Some(note).filter(|note| !note.is_empty()),
        action: "Judge".to_owned(),
        secondary: None,
    };
    let about = phase.object_ref(&());
    let publish = world.recorder.publish(&event, &about);
    if let Ok(Err(error)) = tokio::time::timeout(API_DEADLINE, publish).await {
        tracing::warn!(%error, %reason, "The Event could not be written; the condition says the same.");
    }
}

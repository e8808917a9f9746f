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
use kalong_crds::phase::PhaseStatus;
use kube::ResourceExt;

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
        Report { again, news, ..Report::of(status) }
    }
}

//! The stage of an object by its phase, looked up.

use kalong_crds::units::Name;

use super::context::Context;
use super::sites::SiteGuard;

pub use kalong_rules::lifecycle::{LifecycleStage, in_force, unknown_phase};

impl Context {
    /// The site of this namespace. It does not change while the guard is held, which holds up the watches: drop it soon.
    pub fn site(&self, namespace: &str) -> SiteGuard<'_> {
        self.caches.site(namespace)
    }

    /// The stage of an object that belongs to this phase, or to none.
    pub fn life(&self, namespace: &str, phase: Option<&Name>) -> LifecycleStage {
        self.site(namespace).life(phase)
    }
}

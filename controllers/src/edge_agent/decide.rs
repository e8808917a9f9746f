//! Whether a box may talk, which settings it gets, and whether its EdgeAgent may go. Pure.

use kalong_crds::AGENT_FINALIZER;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::digest::digest_of;
use kalong_crds::wire::order::AgentOrder;
use kube::ResourceExt;

use super::observe::Observed;
use crate::kit::link::Admittance;
use crate::kit::placement::Assignment;

pub(super) struct Decision {
    pub(super) admittance: Admittance,
    /// What the box does with its own settings; it needs no finalizer for them.
    pub(super) assignment: Assignment,
    /// The finalizers as they shall be, if they have to change.
    pub(super) finalizers: Option<Vec<String>>,
}

pub(super) fn decide(observed: &Observed) -> Decision {
    let shut_out = observed.agent.spec.suspend || observed.is_abandoned();
    Decision {
        admittance: if shut_out { Admittance::Refused } else { Admittance::Admitted },
        assignment: assignment(observed),
        finalizers: finalizers(observed),
    }
}

fn assignment(observed: &Observed) -> Assignment {
    if observed.deleting() {
        return Assignment::Keep;
    }
    let offline = &observed.agent.spec.offline;
    let release_keys = match digest_of(&observed.release_keys) {
        Ok(digest) => digest,
        Err(error) => return Assignment::Failed(error),
    };
    let order = AgentOrder {
        offline_policy: offline.policy,
        offline_after_seconds: offline.after_seconds,
        heartbeat_millis: i64::try_from(observed.heartbeat.as_millis()).unwrap_or(i64::MAX),
        release_keys: Some(release_keys),
    };
    Assignment::realise(observed.agent.as_ref(), ItemKind::Agent, &order)
}

/// The object stays while anything names it, unless a person gave the box up.
fn finalizers(observed: &Observed) -> Option<Vec<String>> {
    let present = observed.agent.finalizers();
    let kept = present.iter().any(|f| f == AGENT_FINALIZER);
    match (observed.deleting(), kept) {
        (false, false) => Some(present.iter().cloned().chain([AGENT_FINALIZER.to_owned()]).collect()),
        (true, true) if observed.references == 0 || observed.is_abandoned() => {
            Some(present.iter().filter(|f| *f != AGENT_FINALIZER).cloned().collect())
        }
        _ => None,
    }
}

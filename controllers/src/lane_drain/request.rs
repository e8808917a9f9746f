//! What is weighed when a claim wants to be accepted: the claim itself and the capacity that its decision rests on.

use std::collections::BTreeSet;
use std::time::Duration;

use jiff::Timestamp;
use kalong_crds::{Lane, LaneDrain};
use kalong_rules::SiteSnapshot;
use kalong_rules::capacity::{CapacitySnapshot, Claim, Contention, LaneEvidence, LaneReading, count, groups_of};
use kalong_rules::claim::{accepted_lanes, may_be_accepted};
use kube::ResourceExt;

use super::lane::LaneObservation;
use super::terms::stored_acceptance;
use crate::kit::drains::Ledger;

/// A claim that wants to be accepted, and everything that is weighed.
pub(super) struct DrainRequest {
    pub(super) claim: Claim,
    pub(super) snapshot: CapacitySnapshot,
    /// When a lane that may count will have been heard: until then the status stays as it is.
    pub(super) unheard: Option<Duration>,
}

impl DrainRequest {
    /// Counts the groups of the claim, and those that claims which wait tie to them.
    pub(super) fn new<L: Fn(&Lane) -> LaneObservation>(
        drain: &LaneDrain,
        names: BTreeSet<String>,
        site: &SiteSnapshot,
        evidence: &OrderEvidence<'_, L>,
    ) -> Self {
        let own = groups_of(site, &drain.spec.target);
        let lanes = own.iter().flat_map(|group| group.lanes(site));
        let unheard = lanes.filter_map(|lane| (evidence.look)(lane).unheard()).min();
        let waits = |claim: &LaneDrain| {
            let lanes = site.lanes_under(&claim.spec.target).into_iter().map(|lane| lane.name_any()).collect();
            evidence.waits(claim, &lanes)
        };
        let contention = Contention::around(site, own.iter().cloned(), waits);
        let snapshot = count(site, &contention.groups, evidence);
        Self { claim: Claim::new(drain, names), snapshot, unheard }
    }
}

/// What claims are judged by: what agents report and have confirmed, and acceptances that no status shows yet.
pub(super) struct OrderEvidence<'a, L> {
    pub(super) now: Timestamp,
    pub(super) ledger: &'a Ledger,
    /// Observes a lane as the claim that is decided on sees it.
    pub(super) look: L,
}

impl<L: Fn(&Lane) -> LaneObservation> LaneEvidence for OrderEvidence<'_, L> {
    fn lane(&self, lane: &Lane) -> LaneReading {
        (self.look)(lane).reading()
    }

    /// What is released counts as held until that is stored too: a restart would bring it back.
    fn held(&self, _: &SiteSnapshot, claim: &LaneDrain) -> BTreeSet<String> {
        let decided = self.ledger.get(&claim.uid().unwrap_or_default()).map(|acceptance| acceptance.lanes.clone());
        decided.into_iter().flatten().chain(accepted_lanes(claim)).collect()
    }

    fn waits(&self, claim: &LaneDrain, lanes: &BTreeSet<String>) -> bool {
        let decided = self.ledger.get(&claim.uid().unwrap_or_default()).cloned().or_else(|| stored_acceptance(claim));
        decided.is_none_or(|acceptance| !acceptance.lanes.is_superset(lanes)) && may_be_accepted(claim, self.now)
    }

    fn unstored(&self) -> impl Iterator<Item = &str> {
        self.ledger.uids()
    }
}

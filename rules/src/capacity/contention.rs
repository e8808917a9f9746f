//! Which claims decide about one another.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use kalong_crds::LaneDrain;
use kalong_crds::lane_drain::DrainTarget;

use super::Group;
use crate::claim::accepted_lanes;
use crate::snapshot::{SiteObject, SiteSnapshot};

/// Groups of lanes and the claims that wait for them. A waiting claim may concern several groups, and ties them together: whether it goes
/// first decides about the claims that wait in any of them. Claims outside decide nothing here.
#[derive(Debug, Default)]
pub struct Contention<'a> {
    /// The groups that are tied together.
    pub groups: BTreeSet<Group>,
    /// The claims that wait for one of them, by name.
    pub waiting: BTreeMap<&'a str, &'a Arc<LaneDrain>>,
}

impl<'a> Contention<'a> {
    /// Everything that is tied to these groups by claims that wait.
    pub fn around(
        site: &'a SiteSnapshot,
        groups: impl IntoIterator<Item = Group>,
        waits: impl Fn(&LaneDrain) -> bool,
    ) -> Self {
        let mut tied = Self::default();
        let mut next: Vec<Group> = groups.into_iter().collect();
        while let Some(group) = next.pop() {
            if tied.groups.contains(&group) {
                continue;
            }
            for claim in group.lanes(site).flat_map(|lane| site.claims_on(lane)).filter(|claim| waits(claim)) {
                if tied.waiting.insert(claim.name(), claim).is_none() {
                    next.extend(groups_of(site, &claim.spec.target));
                }
            }
            tied.groups.insert(group);
        }
        tied
    }
}

/// The groups of the lanes that this target stands for.
pub fn groups_of(site: &SiteSnapshot, target: &DrainTarget) -> BTreeSet<Group> {
    site.lanes_under(target).into_iter().map(|lane| Group::of(lane)).collect()
}

/// Whether the claim still waits for a lane that its target stands for, as its status says.
pub fn is_waiting(site: &SiteSnapshot, claim: &LaneDrain) -> bool {
    let accepted = accepted_lanes(claim);
    accepted.is_empty() || site.lanes_under(&claim.spec.target).iter().any(|lane| !accepted.contains(lane.name()))
}

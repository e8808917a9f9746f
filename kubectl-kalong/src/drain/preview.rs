//! What a claim takes from the floors, by the count of lanes in the status of their crossing. A preview for a person who decides: the
//! operator judges again, by what is true then.

use std::collections::BTreeSet;

use kalong_crds::Reference;
use kalong_rules::SiteObject;
use kalong_rules::capacity::{Group, StatusEvidence, count, loss};

use crate::site::Site;

/// What stays of one floor.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct FloorPreview {
    crossing: String,
    class: String,
    open_before: i64,
    open_after: i64,
    open_needed: i64,
    hourly_after: i64,
    hourly_needed: i64,
}

impl FloorPreview {
    /// Whether less stays than must.
    pub(super) fn is_broken(&self) -> bool {
        self.open_after < self.open_needed || self.hourly_after < self.hourly_needed
    }

    /// The floor as a sentence.
    pub(super) fn sentence(&self) -> String {
        format!(
            "{} {}: {} of {} open lanes stay, {} needed; {} passages an hour stay, {} needed",
            self.crossing,
            self.class,
            self.open_after,
            self.open_before,
            self.open_needed,
            self.hourly_after,
            self.hourly_needed
        )
    }
}

/// The floors that a claim on this target takes from.
pub(super) fn floors(site: &Site, target: &Reference) -> Vec<FloorPreview> {
    let lanes = site.concerned(target);
    let groups: BTreeSet<Group> = lanes.iter().map(|lane| Group::of(lane)).collect();
    let snapshot = count(&site.snapshot, &groups, &StatusEvidence);
    let concerned: BTreeSet<&str> = lanes.iter().map(|lane| lane.name()).collect();
    let previews = snapshot.floors.iter().filter_map(|floor| {
        let group = &floor.group;
        let open = || {
            let lanes = snapshot.lanes.iter().filter(|(_, lane)| lane.group == *group);
            lanes.filter(|(name, lane)| loss(&snapshot, name, lane).is_none())
        };
        let stays = || open().filter(|(name, _)| !concerned.contains(name.as_str()));
        let (before, after) = (open().count(), stays().count());
        (after < before).then(|| FloorPreview {
            crossing: format!("Crossing/{}", group.crossing),
            class: format!("{:?} {:?}", group.service, group.direction),
            open_before: i64::try_from(before).unwrap_or(i64::MAX),
            open_after: i64::try_from(after).unwrap_or(i64::MAX),
            open_needed: floor.min_lanes,
            hourly_after: stays().map(|(_, lane)| lane.passages_per_hour).sum(),
            hourly_needed: floor.min_passages_per_hour,
        })
    });
    previews.collect()
}

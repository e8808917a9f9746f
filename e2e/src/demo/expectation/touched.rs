//! What was done to devices between two moments, by their own count.

use std::collections::{BTreeMap, BTreeSet};

use crate::demo::finding::Finding;
use crate::site::report::{Counts, DeviceSnapshot};

/// What was done to the devices must be one setting of those that were `changed`, and nothing else.
pub(super) fn done_to_devices(
    before: &BTreeMap<String, DeviceSnapshot>,
    after: &BTreeMap<String, DeviceSnapshot>,
    changed: &BTreeSet<String>,
    finding: &mut Finding,
) -> Counts {
    let mut total = Counts::default();
    for (name, held) in after {
        let counts = held.counts.since(&before.get(name).map(|report| report.counts).unwrap_or_default());
        total = total.plus(&counts);
        let expected = u64::from(changed.contains(name));
        finding.require((counts.writes, counts.reboots, counts.uploads) == (expected, 0, 0), || {
            format!("{name}: {} writes, {} restarts, {} uploads", counts.writes, counts.reboots, counts.uploads)
        });
    }
    total
}

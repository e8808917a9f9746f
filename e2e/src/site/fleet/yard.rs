//! The yard of the unmanned vehicles: nodes, the line, and the loop from home over the line to the other side and back.
//!
//! The map's first axis runs over the border, zero is where the bridge begins. Lengths follow docs/site-assumptions.md.

use kalong_crds::igv::ZoneSide;

/// Where a vehicle is at home, and how far it is from there to the stand on the other side, in centimetres.
pub(super) const HOME: i64 = -50_000;
pub(super) const LEG: i64 = 140_000;
/// Vehicles keep to the right of the middle by so much, in centimetres.
pub(super) const LANE_OFFSET: i64 = 300;
/// Nodes of the loop with their places, in the order in which they are passed on the way out; back it is the other way round.
pub(super) const NODES: [(&str, i64); 4] =
    [("yard-exit", -10_000), ("bridge-begin", 0), ("bridge-end", 40_000), ("other-stand", HOME + LEG)];
/// Where the bridge begins and ends, in centimetres.
const HOME_ENDS: i64 = 0;
const BRIDGE_ENDS: i64 = 40_000;

/// The side at this place, as the zones say.
pub(super) fn side(x: i64) -> ZoneSide {
    match x {
        HOME_ENDS..=BRIDGE_ENDS => ZoneSide::OnLine,
        _ if x < HOME_ENDS => ZoneSide::Domestic,
        _ => ZoneSide::Foreign,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::{Layout, Preset};

    #[test]
    fn zones_in_git_are_where_the_vehicles_really_cross_the_line() {
        for preset in [Preset::L0, Preset::L1] {
            for vehicle in Layout::read(&preset.source()).unwrap().objects.vehicles {
                for zone in vehicle.spec.zone_set.unwrap().zones {
                    let along = zone.corners.iter().map(|corner| corner.x_centimetres);
                    let (from, to) = (along.clone().min().unwrap(), along.max().unwrap());
                    assert!(from <= to && (HOME..HOME + LEG).contains(&((from + to) / 2)), "{}", zone.name);
                    assert_eq!([from + 1, to - 1].map(side), [zone.side; 2], "{}", zone.name);
                }
            }
        }
    }
}

//! The yard of the unmanned vehicles on its map: zones, nodes, and the loop from home over the line to the other side and back.
//!
//! The map's first axis runs over the border, zero is where the bridge begins. Lengths follow docs/site-assumptions.md.

use kalong_crds::igv::{Corner, Zone, ZoneSide};

/// Identity of the one map.
pub const MAP: &str = "bridge-and-yards";
/// Its version.
pub const MAP_VERSION: &str = "2026.2";
/// Where a vehicle may be changed.
pub const SERVICE_NODES: [&str; 2] = ["service-1", "service-2"];
/// Where a vehicle is at home, and how far it is from there to the stand on the other side, in centimetres.
pub(super) const HOME: i64 = -50_000;
pub(super) const LEG: i64 = 140_000;
/// Vehicles keep to the right of the middle by so much, in centimetres.
pub(super) const LANE_OFFSET: i64 = 300;
/// Nodes of the loop with their places, in the order in which they are passed on the way out; back it is the other way round.
pub(super) const NODES: [(&str, i64); 4] =
    [("yard-exit", -10_000), ("bridge-begin", 0), ("bridge-end", 40_000), ("other-stand", HOME + LEG)];
/// Half of the width of every zone, in centimetres.
const HALF_WIDTH: i64 = 20_000;
/// Where the zones end, in centimetres: yard at home, bridge, yard on the other side.
const HOME_ENDS: i64 = 0;
const BRIDGE_ENDS: i64 = 40_000;
const OUTER: i64 = 100_000;
const INNER: i64 = -60_000;

/// The zones, in the order in which they are tried: on the line wins where two meet.
pub fn zones() -> Vec<Zone> {
    vec![
        zone("bridge", ZoneSide::OnLine, HOME_ENDS, BRIDGE_ENDS),
        zone("home-yard", ZoneSide::Domestic, INNER, HOME_ENDS),
        zone("other-yard", ZoneSide::Foreign, BRIDGE_ENDS, OUTER),
    ]
}

/// The side at this place, as the zones say.
pub(super) fn side(x: i64) -> ZoneSide {
    match x {
        HOME_ENDS..=BRIDGE_ENDS => ZoneSide::OnLine,
        _ if x < HOME_ENDS => ZoneSide::Domestic,
        _ => ZoneSide::Foreign,
    }
}

fn zone(name: &str, side: ZoneSide, from: i64, to: i64) -> Zone {
    let corners = [(from, -HALF_WIDTH), (to, -HALF_WIDTH), (to, HALF_WIDTH), (from, HALF_WIDTH)];
    let corner = |(x, y)| Corner { x_centimetres: x, y_centimetres: y };
    Zone { name: name.into(), side, map: MAP.to_owned(), corners: corners.map(corner).to_vec() }
}

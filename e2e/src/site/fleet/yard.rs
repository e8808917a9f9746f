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

fn zone(name: &str, side: ZoneSide, from: i64, to: i64) -> Zone {
    let corners = [(from, -HALF_WIDTH), (to, -HALF_WIDTH), (to, HALF_WIDTH), (from, HALF_WIDTH)];
    let corner = |(x, y)| Corner { x_centimetres: x, y_centimetres: y };
    Zone { name: name.into(), side, map: MAP.to_owned(), corners: corners.map(corner).to_vec() }
}

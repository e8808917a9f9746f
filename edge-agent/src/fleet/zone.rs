//! On which side of the line a point lies, by polygons whose corners are whole centimetres: exact, and the same on every box.

use kalong_crds::igv::{Corner, Side, ZoneSet, ZoneSide};

/// Position that a vehicle reports.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct VehiclePosition {
    /// Identity of the map on which it counts.
    pub(super) map: String,
    /// Centimetres along the first axis.
    pub(super) x: i64,
    /// Centimetres along the second axis.
    pub(super) y: i64,
}

/// The side of the first zone on the vehicle's map that holds the position; a corner or an edge belongs to its zone.
pub(super) fn side_of(zones: &ZoneSet, position: &VehiclePosition) -> Side {
    let holding = zones.zones.iter().find(|z| z.map == position.map && holds(&z.corners, position.x, position.y));
    match holding.map(|z| z.side) {
        Some(ZoneSide::Domestic) => Side::Domestic,
        Some(ZoneSide::OnLine) => Side::OnLine,
        Some(ZoneSide::Foreign) => Side::Foreign,
        None => Side::Unknown,
    }
}

/// Counts how many edges a ray from the point crosses: an odd number of them is inside.
fn holds(corners: &[Corner], x: i64, y: i64) -> bool {
    let mut inside = false;
    for (from, to) in corners.iter().zip(corners.iter().cycle().skip(1)) {
        let turn = turn(from, to, x, y);
        if turn == 0
            && between(from.x_centimetres, to.x_centimetres, x)
            && between(from.y_centimetres, to.y_centimetres, y)
        {
            return true;
        }
        let crosses = (from.y_centimetres > y) != (to.y_centimetres > y);
        if crosses && (turn > 0) == (to.y_centimetres > from.y_centimetres) {
            inside = !inside;
        }
    }
    inside
}

/// Positive where the point lies to the left of the way from one corner to the other. Wide, so that no distance overflows.
fn turn(from: &Corner, to: &Corner, x: i64, y: i64) -> i128 {
    let [ax, ay, bx, by] = [from.x_centimetres, from.y_centimetres, to.x_centimetres, to.y_centimetres].map(i128::from);
    (bx - ax) * (i128::from(y) - ay) - (i128::from(x) - ax) * (by - ay)
}

fn between(one: i64, other: i64, value: i64) -> bool {
    one.min(other) <= value && value <= one.max(other)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use kalong_crds::igv::Zone;

    fn zone(name: &str, side: ZoneSide, corners: &[(i64, i64)]) -> Zone {
        let corner = |(x, y): &(i64, i64)| Corner { x_centimetres: *x, y_centimetres: *y };
        Zone { name: name.into(), side, map: "yard".into(), corners: corners.iter().map(corner).collect() }
    }

    fn position(x: i64, y: i64) -> VehiclePosition {
        VehiclePosition { map: "yard".into(), x, y }
    }

    /// Home below y = 0, the bridge up to 1000, the other side above; the bridge overlaps home by a metre.
    fn zones() -> ZoneSet {
        ZoneSet {
            id: "z1".into(),
            zones: vec![
                zone("bridge", ZoneSide::OnLine, &[(-500, -100), (500, -100), (500, 1000), (-500, 1000)]),
                zone("home", ZoneSide::Domestic, &[(-5000, -5000), (5000, -5000), (5000, 0), (-5000, 0)]),
                zone("abroad", ZoneSide::Foreign, &[(-5000, 1000), (0, 9000), (5000, 1000)]),
            ],
        }
    }

    #[test]
    fn first_zone_that_holds_the_place_tells_the_side() {
        let zones = zones();
        assert_eq!(side_of(&zones, &position(0, -50)), Side::OnLine);
        assert_eq!(side_of(&zones, &position(0, -101)), Side::Domestic);
        assert_eq!(side_of(&zones, &position(900, -50)), Side::Domestic);
        assert_eq!(side_of(&zones, &position(0, 1001)), Side::Foreign);
        assert_eq!(side_of(&zones, &position(0, 9001)), Side::Unknown);
        assert_eq!(side_of(&zones, &position(4000, 5000)), Side::Unknown);
    }

    #[test]
    fn edges_and_corners_belong_to_their_zone() {
        let zones = zones();
        assert_eq!(side_of(&zones, &position(500, 1000)), Side::OnLine);
        assert_eq!(side_of(&zones, &position(-5000, -5000)), Side::Domestic);
        assert_eq!(side_of(&zones, &position(0, 9000)), Side::Foreign);
    }

    #[test]
    fn place_on_another_map_has_no_side() {
        assert_eq!(side_of(&zones(), &VehiclePosition { map: "other".into(), x: 0, y: -50 }), Side::Unknown);
    }

    #[test]
    fn hollow_of_a_bent_zone_is_outside() {
        let bent = [(0, 0), (30, 0), (30, 30), (20, 30), (20, 10), (10, 10), (10, 30), (0, 30)];
        let zones = ZoneSet { id: "z".into(), zones: vec![zone("u", ZoneSide::Domestic, &bent)] };
        assert_eq!(side_of(&zones, &position(15, 20)), Side::Unknown);
        assert_eq!(side_of(&zones, &position(5, 20)), Side::Domestic);
        assert_eq!(side_of(&zones, &position(25, 30)), Side::Domestic);
        assert_eq!(side_of(&zones, &position(15, 5)), Side::Domestic);
    }

    proptest! {
        #[test]
        fn rectangle_holds_what_its_bounds_hold_whichever_way_it_is_drawn(
            (x0, y0, w, h) in (-1_000_000_i64..1_000_000, -1_000_000_i64..1_000_000, 1_i64..1000, 1_i64..1000),
            (dx, dy) in (-1500_i64..1500, -1500_i64..1500),
            backwards in any::<bool>(), first in 0_usize..4,
        ) {
            let mut corners = vec![(x0, y0), (x0 + w, y0), (x0 + w, y0 + h), (x0, y0 + h)];
            corners.rotate_left(first);
            if backwards {
                corners.reverse();
            }
            let corners = zone("r", ZoneSide::Domestic, &corners).corners;
            prop_assert_eq!(holds(&corners, x0 + dx, y0 + dy), between(0, w, dx) && between(0, h, dy));
        }
    }
}

//! Lanes of the presets: which way, whether open, and how much of them must stay so.

use kalong_crds::crossing::CapacityFloor;
use kalong_crds::lane::{Admission, CargoClass, Direction, Service};

use super::{Counts, IGV_PER_HOUR, TRADITIONAL_PER_HOUR};
use crate::site::plan::{DeviceSet, LanePlan};

impl Counts {
    pub(super) fn cargo_lanes(&self) -> Vec<LanePlan> {
        let traditional = (1..=self.traditional_lanes).map(|n| self.traditional_lane(n));
        traditional.chain((1..=self.igv_lanes).map(|n| self.igv_lane(n))).collect()
    }

    pub(super) fn traditional_lane(&self, n: usize) -> LanePlan {
        let (direction, rank, of) = directed(n, self.traditional_lanes);
        LanePlan {
            name: format!("{}-trad-{n}", self.cargo_stem),
            crossing: self.cargo_crossing.clone(),
            service: Service::Traditional,
            direction,
            admission: admission(direction, rank, of, self.reserve_traditional_lanes),
            fallback: vec![],
            passages_per_hour: TRADITIONAL_PER_HOUR,
            cargo: vec![],
            set: DeviceSet::Cargo,
        }
    }

    fn igv_lane(&self, n: usize) -> LanePlan {
        let (direction, ..) = directed(n, self.igv_lanes);
        // A smart lane falls back to the traditional flow, never to nothing: first the lanes of its own direction.
        let mut all: Vec<LanePlan> = (1..=self.traditional_lanes).map(|n| self.traditional_lane(n)).collect();
        all.sort_by_key(|l| l.direction != direction);
        let fallback = all.into_iter().filter(|l| l.direction == direction || l.direction == Direction::Tidal);
        LanePlan {
            name: format!("{}-igv-{n}", self.cargo_stem),
            crossing: self.cargo_crossing.clone(),
            service: Service::Igv,
            direction,
            admission: Admission::Open,
            fallback: fallback.map(|l| l.name).collect(),
            passages_per_hour: IGV_PER_HOUR,
            cargo: vec![CargoClass::Electronics, CargoClass::General],
            set: DeviceSet::Cargo,
        }
    }
}

/// The direction of lane `n` of `count`, and its rank among how many of that direction: first half in, second half out.
pub(super) fn directed(n: usize, count: usize) -> (Direction, usize, usize) {
    let inbound = count.div_ceil(2);
    if count == 1 {
        (Direction::Tidal, 1, 1)
    } else if n <= inbound {
        (Direction::Inbound, n, inbound)
    } else {
        (Direction::Outbound, n - inbound, count - inbound)
    }
}

/// The last lanes of each direction are the reserve; an odd one is outbound.
pub(super) fn admission(direction: Direction, rank: usize, of: usize, reserve: usize) -> Admission {
    let here = match direction {
        Direction::Inbound => reserve / 2,
        Direction::Outbound => reserve.div_ceil(2),
        Direction::Tidal => reserve,
    };
    if rank + here > of { Admission::Closed } else { Admission::Open }
}

/// Half of the open lanes of each service and direction stay open, rounded up. The only lane of its kind has no floor: it could
/// never be changed, as there is no reserve to be opened. Unmanned vehicles have none either: they fall back to the traditional lanes.
pub(super) fn floors(lanes: &[LanePlan]) -> Vec<CapacityFloor> {
    [Direction::Inbound, Direction::Outbound, Direction::Tidal]
        .into_iter()
        .filter_map(|direction| {
            let open = || lanes.iter().filter(|l| l.direction == direction && l.admission == Admission::Open);
            let (lane, kept) = (open().next()?, i64::try_from(open().count().div_ceil(2)).ok()?);
            let all = lanes.iter().filter(|l| l.direction == direction).count();
            (all > 1).then(|| CapacityFloor {
                service: lane.service,
                direction,
                min_open_lanes: kept,
                min_passages_per_hour: kept * lane.passages_per_hour,
            })
        })
        .collect()
}

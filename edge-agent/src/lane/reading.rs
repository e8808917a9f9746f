//! What a controller shows of its lane.

use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::units::Value;
use kalong_crds::well_known;

use crate::driver::Reading;

/// What a controller shows of its lane.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LaneReading {
    /// Whether the lane admits, as the controller reports it.
    pub admission: LaneAdmission,
    /// How many vehicles or persons are inside; `None` where the controller does not count.
    pub occupancy: Option<i64>,
}

impl LaneReading {
    /// The lane's part of a device's reading; `None` where the device controls no lane.
    pub fn of(reading: &Reading) -> Option<Self> {
        let word = match reading.properties.get(well_known::ADMISSION_STATE)? {
            Value::Text(word) => word.as_str(),
            Value::Integer(n) => well_known::ADMISSION_STATES.get(usize::try_from(*n).ok()?).copied()?,
        };
        let admission = match word {
            "Open" => LaneAdmission::Open,
            "Closed" => LaneAdmission::Closed,
            "Draining" => LaneAdmission::Draining,
            _ => LaneAdmission::Unknown,
        };
        let occupancy = match reading.properties.get(well_known::OCCUPANCY) {
            Some(Value::Integer(n)) => Some(*n),
            _ => None,
        };
        Some(Self { admission, occupancy })
    }

    pub(super) fn is_closed_and_empty(self) -> bool {
        self.admission == LaneAdmission::Closed && self.occupancy == Some(0)
    }

    /// The order that this reading fulfils; `None` while the lane is between two.
    pub(super) fn fulfils(self) -> Option<Admission> {
        match self.admission {
            LaneAdmission::Open => Some(Admission::Open),
            LaneAdmission::Closed | LaneAdmission::Drained => Some(Admission::Closed),
            LaneAdmission::Draining | LaneAdmission::Unknown => None,
        }
    }
}

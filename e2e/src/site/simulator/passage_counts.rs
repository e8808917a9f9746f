//! What a lane's controller counts.

use std::collections::BTreeMap;

use kalong_crds::lane::CargoClass;
use kalong_crds::units::Value;
use kalong_crds::well_known;

/// What passed since the instrument was made: it survives its restarts.
#[derive(Clone, Debug, Default)]
pub(super) struct PassageCounts {
    pub passages: i64,
    pub by_class: BTreeMap<CargoClass, i64>,
    pub gate_tenths: i64,
    pub clearance_seconds: i64,
}

impl PassageCounts {
    pub fn property(&self, name: &str) -> Option<Value> {
        let of_class = |class| self.by_class.get(class).copied().unwrap_or_default();
        let number = match name {
            well_known::PASSAGES => self.passages,
            well_known::GATE_TENTHS => self.gate_tenths,
            well_known::CLEARANCE_SECONDS => self.clearance_seconds,
            _ => well_known::PASSAGES_BY_CLASS.iter().find(|(n, _)| *n == name).map(|(_, class)| of_class(class))?,
        };
        Some(Value::Integer(number))
    }
}

//! What a vehicle says of its kind: the factsheet of VDA 5050, version 2.1.

use serde_json::{Value, json};

/// Version of the vehicle's software.
pub const SOFTWARE: &str = "5.2.0";
/// Version of its safety controller.
pub const SAFETY: &str = "1.9.3";

/// The factsheet without its header.
pub(super) fn content() -> Value {
    json!({
        "typeSpecification": {
            "seriesName": "SIM-IGV-70", "agvKinematic": "DIFF", "agvClass": "CARRIER", "maxLoadMass": 70_000.0,
            "localizationTypes": ["GNSS", "NATURAL"], "navigationTypes": ["VIRTUAL_LINE_GUIDED"],
        },
        "physicalParameters": {
            "speedMin": 0.1, "speedMax": 6.9, "accelerationMax": 0.5, "decelerationMax": 1.0,
            "heightMin": 1.6, "heightMax": 4.5, "width": 3.0, "length": 15.0,
        },
        "protocolLimits": {
            "maxStringLens": { "msgLen": 65_536, "topicSerialLen": 32, "topicElemLen": 32, "idLen": 63 },
            "maxArrayLens": { "state.nodeStates": 32, "state.edgeStates": 32, "state.errors": 16 },
            "timing": { "minOrderInterval": 1.0, "minStateInterval": 1.0, "defaultStateInterval": 10.0 },
        },
        "protocolFeatures": { "optionalParameters": [], "agvActions": [] },
        "agvGeometry": {},
        "loadSpecification": { "loadPositions": ["deck"], "loadSets": [] },
        "vehicleConfig": {
            "versions": [
                { "key": "softwareVersion", "value": SOFTWARE },
                { "key": "safetyController", "value": SAFETY },
            ],
        },
    })
}

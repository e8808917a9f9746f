//! Orders for driver tests, from a model as a person would write it.

use std::collections::BTreeMap;

use kalong_crds::device::Admin;
use kalong_crds::device_model::DeviceModelSpec;
use kalong_crds::units::Value;
use kalong_crds::wire::order::DeviceOrder;

/// The spec of a model in YAML.
pub fn model(yaml: &str) -> DeviceModelSpec {
    serde_saphyr::from_str(yaml).expect("the test's model is valid")
}

/// The order for a device of this model at this address.
#[allow(dead_code, reason = "not every test file needs an order")]
pub fn order(yaml: &str, endpoint: impl ToString, parameters: &[(&str, Value)]) -> DeviceOrder {
    order_of(model(yaml), endpoint, parameters)
}

/// The same from a model that was read already.
#[allow(dead_code, reason = "not every test file needs it")]
pub fn order_of(model: DeviceModelSpec, endpoint: impl ToString, parameters: &[(&str, Value)]) -> DeviceOrder {
    DeviceOrder {
        class: model.class,
        model: "test".into(),
        hardware_revisions: model.hardware_revisions,
        protocol: model.protocol,
        properties: model.properties,
        health_codes: model.health_codes,
        update: model.update,
        regulatory: model.regulatory,
        endpoint: endpoint.to_string(),
        parameters: parameters.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        credential: None,
        config: BTreeMap::new(),
        admin: Admin::Enabled,
        firmware: None,
    }
}

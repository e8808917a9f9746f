//! A DeviceModel: whether its properties, registers and codes fit together, and how many devices use it.

use std::collections::BTreeSet;
use std::sync::Arc;

use kalong_crds::DeviceModel;
use kalong_crds::condition::{Reason, settle};
use kalong_crds::device_model::{DeviceModelSpec, DeviceModelStatus, ProtocolName};
use kalong_crds::well_known;
use kube::ResourceExt;

use crate::kit::caches;
use crate::kit::context::Context;
use crate::kit::readiness::{Readiness, ready};
use crate::kit::reconciler::{Reconcile, ReconcileResult};

/// Names that may have a register without being listed as a property.
const IMPLIED: [&str; 4] =
    [well_known::HEALTH_BITS, well_known::IMAGE_DIGEST, well_known::FIRMWARE_VERSION, well_known::BOOT_COUNT];

impl Reconcile for DeviceModel {
    async fn reconcile(ctx: &Context, model: Arc<Self>) -> ReconcileResult<DeviceModelStatus> {
        let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
        let devices = caches::select(&ctx.caches.devices, &namespace, |d| d.spec.model_ref.as_str() == name).len();
        let generation = model.metadata.generation.unwrap_or_default();
        let old = model.status.clone().unwrap_or_default();
        let verdict = objection(&model.spec).map(|say| Readiness::Stuck(Reason::InvalidSpec, say));
        let conditions = settle(&old.conditions, &ready(verdict.as_ref()), generation, ctx.clock.now());
        let status = DeviceModelStatus {
            observed_generation: generation,
            conditions,
            devices: i64::try_from(devices).unwrap_or(i64::MAX),
        };
        ReconcileResult::of(status)
    }
}

/// The first contradiction within the model, and how to end it.
pub fn objection(spec: &DeviceModelSpec) -> Option<String> {
    if spec.protocol.name != ProtocolName::ModbusTcp {
        return None;
    }
    let mut bits = BTreeSet::new();
    if let Some(code) = spec.health_codes.iter().find(|code| !bits.insert(code.bit)) {
        return Some(format!(
            "`healthCodes` {} shares bit {} with another code: give each its own bit.",
            code.name, code.bit
        ));
    }
    let registers: BTreeSet<&str> = spec.protocol.registers.iter().map(|r| r.name.as_str()).collect();
    let properties: BTreeSet<&str> = spec.properties.iter().map(|p| p.name.as_str()).collect();
    if let Some(bare) = properties.iter().find(|p| !registers.contains(**p)) {
        return Some(format!("Property {bare} has no entry in `protocol.registers`: say where it stands."));
    }
    let stray = registers.iter().find(|r| !properties.contains(**r) && !IMPLIED.contains(*r));
    if let Some(stray) = stray {
        return Some(format!("Register {stray} belongs to no property: list it under `properties`, or remove it."));
    }
    if !spec.health_codes.is_empty() && !registers.contains(well_known::HEALTH_BITS) {
        return Some(
            "`healthCodes` are declared and `protocol.registers` has no `healthBits`: say where they stand.".to_owned(),
        );
    }
    None
}

//! The order that an agent gets for one device: everything that it needs, so that it needs nobody afterwards.

use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::device::Admin;
use kalong_crds::wire::desired::{Item, ItemKind};
use kalong_crds::wire::digest::CanonicalError;
use kalong_crds::wire::order::{DeviceOrder, FirmwareOrder};
use kalong_crds::{Device, RELEASE_QUARANTINE, RETRY};
use kube::ResourceExt;

use super::observed::{Credential, Leave, Observed};
use super::{config, disabling};

/// The order as it should be now, or none while something that it needs is missing or invalid: then the agent keeps its old one.
pub(super) fn compose(observed: &Observed) -> Option<Result<Item, CanonicalError>> {
    if disabling::held_back(observed).is_none() {
        return with(observed, observed.device.spec.admin);
    }
    // Whatever the device was before it is to be switched off, it stays until its lane is empty.
    let watched = with(observed, Admin::Quarantined);
    let holds = |item: &Item| observed.report.as_ref().is_some_and(|report| report.hash == item.hash);
    if matches!(&watched, Some(Ok(item)) if holds(item)) { watched } else { with(observed, Admin::Enabled) }
}

fn with(observed: &Observed, admin: Admin) -> Option<Result<Item, CanonicalError>> {
    let device = &observed.device;
    let model = &observed.model.as_ref()?.spec;
    let sound = observed.life.is_live()
        && !observed.leaves()
        && observed.agent.is_some()
        && observed.agent_id.is_ok()
        && observed.lanes.len() <= 1
        && config::objection(&device.spec.config, &model.properties).is_none();
    if !sound {
        return None;
    }
    let credential = match &observed.credential {
        Credential::NotNamed => None,
        Credential::Sealed(sealed) => Some(sealed.clone()),
        Credential::Unusable(_) | Credential::NoKeyYet | Credential::Failed(_) => return None,
    };
    let order = DeviceOrder {
        class: model.class,
        model: device.spec.model_ref.0.clone(),
        hardware_revisions: model.hardware_revisions.clone(),
        protocol: model.protocol.clone(),
        properties: model.properties.clone(),
        health_codes: model.health_codes.clone(),
        update: model.update.clone(),
        regulatory: model.regulatory.clone(),
        endpoint: device.spec.connection.endpoint.clone(),
        parameters: device.spec.connection.parameters.clone(),
        credential,
        config: device.spec.config.clone(),
        admin,
        firmware: match firmware(observed) {
            Ok(firmware) => firmware,
            Err(error) => return Some(Err(error)),
        },
    };
    let namespace = device.namespace().unwrap_or_default();
    let (name, uid) = (device.name_any(), device.uid().unwrap_or_default());
    Some(Item::new(ItemKind::Device, &namespace, &name, &uid, device.metadata.generation.unwrap_or_default(), &order))
}

/// What it shall run: nothing while the release is missing or not believed. What runs is then left as it is.
fn firmware(observed: &Observed) -> Result<Option<FirmwareOrder>, CanonicalError> {
    let Some(release) =
        observed.release.as_ref().filter(|r| r.is(ConditionType::Ready) && !r.is(ConditionType::Revoked))
    else {
        return Ok(None);
    };
    let counter_floor =
        observed.device.status.as_ref().and_then(|s| s.firmware.as_ref()).map_or(0, |f| f.security_counter);
    Ok(Some(FirmwareOrder {
        release: release.spec.signed(&release.name_any())?,
        // Only the floor that the release would violate is worth saying: a floor that rises with each proof would alter the order.
        counter_floor: if counter_floor > release.spec.security_counter { counter_floor } else { 0 },
        retry: attempt_in(&observed.device, RETRY),
        release_quarantine: attempt_in(&observed.device, RELEASE_QUARANTINE),
        permit: match &observed.permit {
            Leave::Given(permit) => Some(permit.clone()),
            Leave::NotAsked | Leave::Waits(_) => None,
        },
    }))
}

/// The attempt that an annotation names: its first word.
fn attempt_in(device: &Device, annotation: &str) -> Option<i64> {
    let text = device.annotations().get(annotation)?;
    text.split([',', ' ']).next()?.trim().parse().ok()
}

//! The order that an agent gets for one device: everything that it needs to work without the operator afterwards.

use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::device::Admin;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::digest::CanonicalError;
use kalong_crds::wire::order::{DeviceOrder, FirmwareOrder};
use kalong_crds::{Device, RELEASE_QUARANTINE, RETRY};
use kube::ResourceExt;

use super::credential::Credential;
use super::observe::Observed;
use super::permit::PermitState;
use super::{config, disabling};
use crate::kit::placement::Assignment;

/// What the agent is to do with the device: it keeps the order that it has while something that a new one needs is missing or invalid.
pub(super) fn compose(observed: &Observed, permit: &PermitState) -> Assignment {
    if disabling::is_released(observed) {
        return Assignment::Release;
    }
    if disabling::blocked_by(observed).is_none() {
        return with(observed, permit, observed.device.spec.admin);
    }
    // What the device was before it is to be switched off, it stays until its lane is empty.
    let watched = with(observed, permit, Admin::Quarantined);
    if observed.agent.has_confirmed(watched.order()) { watched } else { with(observed, permit, Admin::Enabled) }
}

fn with(observed: &Observed, permit: &PermitState, admin: Admin) -> Assignment {
    let device = observed.device.as_ref();
    let Some(model) = observed.model.as_ref().map(|model| &model.spec) else { return Assignment::Keep };
    let sound = observed.life.is_live()
        && observed.agent.is_addressable()
        && observed.lanes.len() <= 1
        && config::objection(&device.spec.config, &model.properties).is_none();
    if !sound {
        return Assignment::Keep;
    }
    let credential = match &observed.credential {
        Credential::NotNamed => None,
        Credential::Sealed(sealed) => Some(sealed.clone()),
        Credential::Unusable(_) | Credential::NoKeyYet | Credential::Failed(_) => return Assignment::Keep,
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
        firmware: match firmware(observed, permit) {
            Ok(firmware) => firmware,
            Err(error) => return Assignment::Failed(error),
        },
    };
    Assignment::realise(device, ItemKind::Device, &order)
}

/// None while the release is missing or not trusted: what runs is then left as it is.
fn firmware(observed: &Observed, permit: &PermitState) -> Result<Option<FirmwareOrder>, CanonicalError> {
    let Some(release) =
        observed.release.as_ref().filter(|r| r.is(ConditionType::Ready) && !r.is(ConditionType::Revoked))
    else {
        return Ok(None);
    };
    let counter_floor =
        observed.device.status.as_ref().and_then(|s| s.firmware.as_ref()).map_or(0, |f| f.security_counter);
    Ok(Some(FirmwareOrder {
        release: release.spec.signed(&release.name_any())?,
        // Only a floor that the release would violate: one that rises with each proof would change the order.
        counter_floor: if counter_floor > release.spec.security_counter { counter_floor } else { 0 },
        retry: attempt_in(&observed.device, RETRY),
        release_quarantine: attempt_in(&observed.device, RELEASE_QUARANTINE),
        permit: match permit {
            PermitState::Granted { permit, .. } => Some(permit.clone()),
            PermitState::NotAsked | PermitState::Waits(_) => None,
        },
    }))
}

/// The attempt that an annotation names: its first word.
fn attempt_in(device: &Device, annotation: &str) -> Option<i64> {
    let text = device.annotations().get(annotation)?;
    text.split([',', ' ']).next()?.trim().parse().ok()
}

//! Everything that a decision about a DeviceModel rests on, in one struct.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::DeviceModel;
use kube::ResourceExt;

use crate::kit::caches;
use crate::kit::context::Context;

pub(super) struct Observed {
    pub(super) model: Arc<DeviceModel>,
    pub(super) now: Timestamp,
    /// Devices of this model, as a count.
    pub(super) devices: usize,
}

pub(super) fn observe(ctx: &Context, model: Arc<DeviceModel>) -> Observed {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let devices = caches::select(&ctx.caches.devices, &namespace, |d| d.spec.model_ref.as_str() == name).len();
    Observed { now: ctx.clock.now(), devices, model }
}

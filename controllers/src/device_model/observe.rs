//! Everything that a decision about a DeviceModel rests on, in one struct.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::DeviceModel;
use kalong_rules::Relation;
use kube::ResourceExt;

use crate::kit::context::Context;

pub(super) struct Observed {
    pub(super) model: Arc<DeviceModel>,
    pub(super) now: Timestamp,
    /// Devices of this model, as a count.
    pub(super) devices: usize,
}

pub(super) fn observe(ctx: &Context, model: Arc<DeviceModel>) -> Observed {
    let (namespace, name) = (model.namespace().unwrap_or_default(), model.name_any());
    let devices = ctx.site(&namespace).devices.by(Relation::DeviceModel, &name).count();
    Observed { now: ctx.clock.now(), devices, model }
}

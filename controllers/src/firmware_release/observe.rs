//! Everything that a decision about a FirmwareRelease rests on, in one struct.

use std::sync::Arc;

use jiff::Timestamp;
use kalong_crds::FirmwareRelease;
use kalong_crds::wire::release::{ReleaseError, signatures_needed};
use kube::ResourceExt;

use crate::kit::caches;
use crate::kit::context::Context;
use crate::kit::mirror::MirrorState;

pub(super) struct Observed {
    pub(super) release: Arc<FirmwareRelease>,
    pub(super) now: Timestamp,
    /// Whether as many known authors signed it as the strictest of its models needs.
    pub(super) signed: Result<(), ReleaseError>,
    /// How far the operator's copy of the bytes is.
    pub(super) copy: MirrorState,
}

pub(super) fn observe(ctx: &Context, release: Arc<FirmwareRelease>) -> Observed {
    let namespace = release.namespace().unwrap_or_default();
    let models = release.spec.models.iter().filter_map(|m| caches::get(&ctx.caches.models, &namespace, m.as_str()));
    let needed = models.map(|m| signatures_needed(m.spec.class)).max().unwrap_or(1);
    let document = release.spec.signed(&release.name_any()).map_err(ReleaseError::Canonical);
    Observed {
        now: ctx.clock.now(),
        signed: document.and_then(|signed| signed.verify(&ctx.settings.release_keys, needed).map(drop)),
        copy: ctx.mirror.state(&release.spec.artifact),
        release,
    }
}

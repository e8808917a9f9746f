//! What is said of a FirmwareRelease whose copy is not there.

use std::sync::Arc;

use kalong_crds::condition::Reason;
use serde_json::json;

use super::observe::Observed;
use super::status::objection;
use crate::kit::mirror::MirrorState;
use crate::kit::readiness::Readiness;

fn failed(reason: Reason) -> MirrorState {
    MirrorState::Failed { reason, message: "look".into() }
}

/// A signed release that was Ready at this generation; the spec is of generation 2.
fn observed(ready_at: i64, copy: MirrorState) -> Observed {
    let release = json!({
        "apiVersion": "kalong.dev/v1alpha1", "kind": "FirmwareRelease", "metadata": {"name": "camera-2", "generation": 2},
        "spec": {"models": ["camera"], "version": "2.0.0", "securityCounter": 1, "signatures": [],
                 "artifact": {"url": "https://example.org/x", "digest": format!("sha256:{}", "0".repeat(64)), "size": 1}},
        "status": {"observedGeneration": ready_at, "conditions": [
            {"type": "Ready", "status": "True", "reason": "InForce", "message": "", "lastTransitionTime": "2026-11-01T00:00:00Z"}]},
    });
    Observed {
        release: Arc::new(serde_json::from_value(release).unwrap()),
        now: "2026-11-22T07:00:00Z".parse().unwrap(),
        signed: Ok(()),
        copy,
    }
}

#[test]
fn cache_that_is_filled_again_takes_nothing_back() {
    for state in [MirrorState::Fetching, failed(Reason::FetchFailed)] {
        assert!(objection(&observed(2, state.clone())).is_none(), "{state:?}");
        assert!(matches!(objection(&observed(1, state.clone())), Some(Readiness::Converging(..))), "{state:?}");
    }
}

#[test]
fn bytes_that_are_not_the_signed_ones_stop_even_a_release_that_was_used() {
    let objection = objection(&observed(2, failed(Reason::DigestMismatch)));
    assert!(matches!(objection, Some(Readiness::Stuck(Reason::DigestMismatch, _))));
}

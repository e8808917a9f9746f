//! The LaneDrains that the operator makes for itself: to change a device, to switch one off, to close a lane.
//!
//! Each has a name that follows from what it is for, so that the same wish finds its claim again after a restart, and making
//! it twice changes nothing.

use std::sync::Arc;

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kalong_crds::blocked::{BlockCode, BlockedBy};
use kalong_crds::condition::Reason;
use kalong_crds::lane_drain::{DrainClass, DrainTarget, LaneDrainSpec, TargetKind};
use kalong_crds::units::Digest;
use kalong_crds::{LaneDrain, field_manager};
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};

use crate::kit::caches::{Caches, select};
use crate::kit::context::Context;
use crate::kit::{Error, within};
use crate::lane_drain::{MADE_BY, OPERATOR, State, state};

/// The longest name that a lane's status can hold.
const NAME_MAX: usize = 63;
/// Digits of the digest that ends a name which had to be cut.
const DIGEST_DIGITS: usize = 8;
/// Which of several waiting claims goes first: none of the operator's own is more pressing than another.
const PRIORITY: i64 = 100;

/// A claim that the operator wants to stand.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Claim {
    pub(crate) name: String,
    /// The lane that is to be empty.
    pub(crate) lane: String,
    namespace: String,
    requester: String,
    reason: String,
    owner: OwnerReference,
}

/// What a claim is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    /// This attempt at the firmware of a device.
    Change(i64),
    /// Switching a device off.
    Disabling,
    /// Closing a lane.
    Closing,
}

impl Purpose {
    /// How the names of claims for a change begin.
    const CHANGE: &str = "device-";

    /// Whether this claim of the operator is for a change of firmware.
    pub(crate) fn is_change(drain: &LaneDrain) -> bool {
        drain.name_any().starts_with(Self::CHANGE)
    }
}

impl Claim {
    /// What this object claims of this lane.
    pub(crate) fn new<K: Resource<DynamicType = ()>>(object: &K, purpose: Purpose, lane: &str) -> Self {
        let name = object.name_any();
        let (full, reason) = match purpose {
            Purpose::Change(attempt) => (
                format!("{}{name}-{attempt}", Purpose::CHANGE),
                format!("Attempt {attempt} at the firmware of {name}."),
            ),
            Purpose::Disabling => (format!("disabling-{name}"), format!("Device {name} is being switched off.")),
            Purpose::Closing => (format!("closing-{name}"), format!("Lane {name} is being closed as declared.")),
        };
        Self {
            name: fitting(&full),
            lane: lane.to_owned(),
            namespace: object.namespace().unwrap_or_default(),
            requester: requester(object),
            reason: reason.chars().take(256).collect(),
            owner: OwnerReference {
                api_version: K::api_version(&()).into_owned(),
                kind: K::kind(&()).into_owned(),
                name,
                uid: object.uid().unwrap_or_default(),
                controller: None,
                block_owner_deletion: None,
            },
        }
    }

    /// Whether this object is the claim.
    pub(crate) fn is(&self, drain: &LaneDrain) -> bool {
        let target = &drain.spec.target;
        drain.name_any() == self.name && target.kind == TargetKind::Lane && target.name.as_str() == self.lane
    }

    fn object(&self) -> LaneDrain {
        let mut drain = LaneDrain::new(
            &self.name,
            LaneDrainSpec {
                target: DrainTarget { kind: TargetKind::Lane, name: self.lane.as_str().into() },
                class: DrainClass::Change,
                requester: self.requester.clone(),
                reason: self.reason.clone(),
                priority: PRIORITY,
                timeout_seconds: None,
                deadline: None,
            },
        );
        drain.metadata = ObjectMeta {
            namespace: Some(self.namespace.clone()),
            labels: Some([(MADE_BY.to_owned(), OPERATOR.to_owned())].into()),
            owner_references: Some(vec![self.owner.clone()]),
            ..drain.metadata
        };
        drain
    }

    /// Makes it. That it exists already is as good.
    pub(crate) async fn make(&self, ctx: &Context) -> Result<(), Error> {
        let api: Api<LaneDrain> = Api::namespaced(ctx.client.clone(), &self.namespace);
        let params = PostParams { field_manager: Some(field_manager::OPERATOR.to_owned()), ..PostParams::default() };
        match within("ask for an empty lane", api.create(&params, &self.object())).await {
            Ok(_) => {
                tracing::info!(
                    namespace = self.namespace,
                    drain = self.name,
                    lane = self.lane,
                    "A lane is asked to be empty."
                );
                Ok(())
            }
            Err(Error::Api { source, .. }) if refusal(&source).is_some_and(|s| s.is_already_exists()) => Ok(()),
            Err(error) => Err(error),
        }
    }
}

/// `Kind/name` of whoever asks.
pub(crate) fn requester<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}/{}", K::kind(&()), object.name_any())
}

/// The name, or as much of it as fits with a digest of the whole.
fn fitting(full: &str) -> String {
    if full.len() <= NAME_MAX {
        return full.to_owned();
    }
    let digest: String = Digest::of(full.as_bytes()).hex().chars().take(DIGEST_DIGITS).collect();
    let head: String = full.chars().take(NAME_MAX - DIGEST_DIGITS - 1).collect();
    format!("{}-{digest}", head.trim_end_matches(['-', '.']))
}

/// The claims that the operator made for this requester and that are not on their way out.
pub(crate) fn made_for(caches: &Caches, namespace: &str, requester: &str) -> Vec<Arc<LaneDrain>> {
    let mut found = select(&caches.drains, namespace, |drain| {
        drain.spec.requester == requester && drain.metadata.deletion_timestamp.is_none() && is_ours(drain)
    });
    found.sort_by_key(|drain| drain.name_any());
    found
}

/// Ends a claim that the operator made. Another object of the same name is not touched.
pub(crate) async fn release(ctx: &Context, drain: &LaneDrain) -> Result<(), Error> {
    let (namespace, name) = (drain.namespace().unwrap_or_default(), drain.name_any());
    let api: Api<LaneDrain> = Api::namespaced(ctx.client.clone(), &namespace);
    let same = Preconditions { uid: drain.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
    match within("give a lane back", api.delete(&name, &params)).await {
        Ok(_) => {
            tracing::info!(namespace, drain = name, "A lane is given back.");
            Ok(())
        }
        // It is gone already, or another one has its name by now.
        Err(Error::Api { source, .. }) if refusal(&source).is_some_and(|s| s.is_not_found() || s.is_conflict()) => {
            Ok(())
        }
        Err(error) => Err(error),
    }
}

/// What the API server answered, if it did.
fn refusal(error: &kube::Error) -> Option<&kube::core::Status> {
    match error {
        kube::Error::Api(status) => Some(status),
        _ => None,
    }
}

/// Whether the operator made this claim, and may end it.
fn is_ours(drain: &LaneDrain) -> bool {
    drain.labels().get(MADE_BY).is_some_and(|by| by == OPERATOR)
}

/// How far a claim is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ClaimProgress {
    /// It waits, and on whom.
    Waits(BlockedBy),
    /// The lane is empty and held.
    Held,
}

impl ClaimProgress {
    /// How far this claim is, by the object that stands for it.
    pub(crate) fn of(claim: &Claim, drain: Option<&LaneDrain>, now: Timestamp) -> Self {
        let subject = format!("LaneDrain/{}", claim.name);
        let own = |message: String| BlockedBy::new(BlockCode::LaneDrain, subject, message, now);
        match drain.map(state) {
            None | Some(State::Ended) => {
                Self::Waits(own(format!("Lane {} is asked to be empty; wait for the claim.", claim.lane)))
            }
            Some(State::Waits(block) | State::Empties(block)) => Self::Waits(as_told(claim, block)),
            Some(State::Drained) => Self::Held,
        }
    }
}

/// The wait of a claim as that of whoever asked: what the lane waits for stays, the rest is a wait for the claim itself.
fn as_told(claim: &Claim, block: BlockedBy) -> BlockedBy {
    match block.code {
        BlockCode::CapacityFloor | BlockCode::DrainInProgress | BlockCode::LaneNotEmpty => block,
        _ => BlockedBy { code: BlockCode::LaneDrain, subject: format!("LaneDrain/{}", claim.name), ..block },
    }
}

/// The word for a wait.
pub(crate) fn reason(block: &BlockedBy, otherwise: Reason) -> Reason {
    match block.code {
        BlockCode::CapacityFloor => Reason::CapacityFloor,
        BlockCode::DrainInProgress => Reason::DrainInProgress,
        _ => otherwise,
    }
}

/// At most one entry for a code and a subject, which are its key in the list, and no more than the list holds.
pub(crate) fn distinct(blocked: Vec<BlockedBy>) -> Vec<BlockedBy> {
    let mut kept: Vec<BlockedBy> = Vec::new();
    for block in blocked {
        if !kept.iter().any(|other| other.code == block.code && other.subject == block.subject) {
            kept.push(block);
        }
    }
    kept.truncate(16);
    kept
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> kalong_crds::Device {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "kalong.dev/v1alpha1", "kind": "Device",
            "metadata": {"name": name, "namespace": "mong-cai", "uid": "u"},
            "spec": {"modelRef": "m", "agentRef": "a", "connection": {"endpoint": "127.0.0.1:1"}},
        }))
        .unwrap()
    }

    #[test]
    fn claim_is_found_again_by_a_name_that_follows_from_what_it_is_for() {
        let claim = Claim::new(&device("cam-1"), Purpose::Change(3), "l1");
        assert_eq!(claim.name, "device-cam-1-3");
        assert_eq!(Claim::new(&device("cam-1"), Purpose::Disabling, "l1").name, "disabling-cam-1");
        let object = claim.object();
        assert!(claim.is(&object));
        assert!(!Claim::new(&device("cam-1"), Purpose::Change(3), "l2").is(&object), "it targets the lane of before");
        assert!(is_ours(&object));
        assert_eq!(object.spec.requester, "Device/cam-1");
        assert_eq!(object.owner_references().first().map(|o| (o.kind.as_str(), o.uid.as_str())), Some(("Device", "u")));
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let long = "plate-camera-of-the-first-smart-lane-inbound-at-bac-luan-2-left";
        let (a, b) =
            (Claim::new(&device(long), Purpose::Change(1), "l"), Claim::new(&device(long), Purpose::Change(2), "l"));
        assert!(a.name.len() <= NAME_MAX && b.name.len() <= NAME_MAX);
        assert_ne!(a.name, b.name);
        assert!(a.name.starts_with("device-plate-camera-of-the-first"));
    }
}

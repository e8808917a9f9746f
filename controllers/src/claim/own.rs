//! The LaneDrains that the operator makes for itself: to change a device, to switch one off, to close a lane.
//!
//! Each has a name that follows from requester, purpose and attempt, so that a restart finds it again and creating it twice changes
//! nothing. Nothing is read from the name: the purpose is a label, the requester a field.

use std::sync::Arc;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};
use kalong_crds::lane_drain::{DrainClass, DrainTarget, LaneDrainSpec, TargetKind};
use kalong_crds::units::Digest;
use kalong_crds::{Device, Lane, LaneDrain, MADE_BY_LABEL, OPERATOR, PURPOSE_LABEL, Purpose, field_manager};
use kalong_rules::Relation;
use kube::api::{DeleteParams, PostParams, Preconditions};
use kube::{Api, Resource, ResourceExt};

use crate::kit::caches::Caches;
use crate::kit::context::Context;
use crate::kit::{Error, within};

/// The longest name that fits `status.heldBy` of a lane.
const NAME_MAX: usize = 63;
/// Digits of the digest that ends a shortened name.
const DIGEST_DIGITS: usize = 8;
/// `spec.priority` of all of the operator's own claims: none is more pressing than another.
const PRIORITY: i64 = 100;
/// As many characters of `spec.reason` as the schema allows.
const REASON_MAX: usize = 256;

/// A claim of the operator, as it would create it.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct OwnClaim {
    pub(crate) name: String,
    /// Name of the lane that is to be empty.
    pub(crate) lane: String,
    namespace: String,
    requester: String,
    purpose: Purpose,
    reason: String,
    owner: OwnerReference,
}

impl OwnClaim {
    /// Of a device, for this attempt at its firmware.
    pub(crate) fn firmware(device: &Device, attempt: i64, lane: &str) -> Self {
        let name = device.name_any();
        let reason = format!("Attempt {attempt} at the firmware of {name}.");
        Self::new(device, Purpose::Firmware, format!("device-{name}-{attempt}"), reason, lane)
    }

    /// Of a device that is to be switched off.
    pub(crate) fn disabling(device: &Device, lane: &str) -> Self {
        let name = device.name_any();
        let reason = format!("Device {name} is being switched off.");
        Self::new(device, Purpose::Disabling, format!("disabling-{name}"), reason, lane)
    }

    /// Of a lane that is to be closed.
    pub(crate) fn closing(lane: &Lane) -> Self {
        let name = lane.name_any();
        let reason = format!("Lane {name} is being closed as declared.");
        Self::new(lane, Purpose::Closing, format!("closing-{name}"), reason, &name)
    }

    fn new<K>(object: &K, purpose: Purpose, name: String, reason: String, lane: &str) -> Self
    where
        K: Resource<DynamicType = ()>,
    {
        Self {
            name: shortened(name),
            lane: lane.to_owned(),
            namespace: object.namespace().unwrap_or_default(),
            requester: requester(object),
            purpose,
            reason: reason.chars().take(REASON_MAX).collect(),
            owner: OwnerReference {
                api_version: K::api_version(&()).into_owned(),
                kind: K::kind(&()).into_owned(),
                name: object.name_any(),
                uid: object.uid().unwrap_or_default(),
                controller: None,
                block_owner_deletion: None,
            },
        }
    }

    /// Whether this object stands for the claim. One on the lane where the requester stood before does not.
    pub(crate) fn is(&self, drain: &LaneDrain) -> bool {
        let target = &drain.spec.target;
        drain.name_any() == self.name && target.kind == TargetKind::Lane && target.name.as_str() == self.lane
    }

    fn object(&self) -> LaneDrain {
        let spec = LaneDrainSpec {
            target: DrainTarget { kind: TargetKind::Lane, name: self.lane.as_str().into() },
            class: DrainClass::Change,
            requester: self.requester.clone(),
            reason: self.reason.clone(),
            priority: PRIORITY,
            timeout_seconds: None,
            deadline: None,
        };
        let labels = [(MADE_BY_LABEL, OPERATOR), (PURPOSE_LABEL, self.purpose.as_str())];
        let metadata = ObjectMeta {
            name: Some(self.name.clone()),
            namespace: Some(self.namespace.clone()),
            labels: Some(labels.map(|(key, value)| (key.to_owned(), value.to_owned())).into()),
            owner_references: Some(vec![self.owner.clone()]),
            ..ObjectMeta::default()
        };
        LaneDrain { metadata, spec, status: None }
    }

    /// Succeeds also when the object exists already.
    pub(super) async fn create(&self, ctx: &Context) -> Result<(), Error> {
        let api: Api<LaneDrain> = Api::namespaced(ctx.client.clone(), &self.namespace);
        let params = PostParams { field_manager: Some(field_manager::OPERATOR.to_owned()), ..PostParams::default() };
        match within("ask for an empty lane", api.create(&params, &self.object())).await {
            Ok(_) => {
                let (namespace, drain, lane) = (&self.namespace, &self.name, &self.lane);
                tracing::info!(namespace, drain, lane, "A lane is asked to be empty.");
                Ok(())
            }
            Err(error) if error.is_already_exists() => Ok(()),
            Err(error) => Err(error.into()),
        }
    }
}

/// Deletes a claim; another object that has its name by now is not touched. Succeeds also when the claim is gone already.
pub(super) async fn end(ctx: &Context, drain: &LaneDrain) -> Result<(), Error> {
    let (namespace, name) = (drain.namespace().unwrap_or_default(), drain.name_any());
    let api: Api<LaneDrain> = Api::namespaced(ctx.client.clone(), &namespace);
    let same = Preconditions { uid: drain.uid(), resource_version: None };
    let params = DeleteParams { preconditions: Some(same), ..DeleteParams::default() };
    match within("give a lane back", api.delete(&name, &params)).await {
        Ok(_) => {
            tracing::info!(namespace, drain = name, "A lane is given back.");
            Ok(())
        }
        Err(error) if error.is_not_found() || error.is_conflict() => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// `Kind/name` of an object, as it stands in `spec.requester`.
pub(crate) fn requester<K: Resource<DynamicType = ()>>(object: &K) -> String {
    format!("{}/{}", K::kind(&()), object.name_any())
}

/// The name, or its beginning with a digest of the whole when it is longer than [`NAME_MAX`].
fn shortened(name: String) -> String {
    if name.len() <= NAME_MAX {
        return name;
    }
    let digest: String = Digest::of(name.as_bytes()).hex().chars().take(DIGEST_DIGITS).collect();
    let head: String = name.chars().take(NAME_MAX - DIGEST_DIGITS - 1).collect();
    format!("{}-{digest}", head.trim_end_matches(['-', '.']))
}

/// The claims that the operator made for this requester and that are not being deleted, sorted by name.
pub(crate) fn own_claims(caches: &Caches, namespace: &str, requester: &str) -> Vec<Arc<LaneDrain>> {
    let site = caches.site(namespace);
    let claims = site.drains.by(Relation::Requester, requester);
    claims.filter(|drain| drain.metadata.deletion_timestamp.is_none() && drain.is_made_by_operator()).cloned().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn device(name: &str) -> Device {
        serde_json::from_value(serde_json::json!({
            "apiVersion": "kalong.dev/v1alpha1", "kind": "Device",
            "metadata": {"name": name, "namespace": "mong-cai", "uid": "u"},
            "spec": {"modelRef": "m", "agentRef": "a", "connection": {"endpoint": "127.0.0.1:1"}},
        }))
        .unwrap()
    }

    #[test]
    fn claim_says_who_asks_and_what_for() {
        let object = OwnClaim::firmware(&device("cam-1"), 3, "l1").object();
        assert!(object.is_made_by_operator());
        assert_eq!(object.labels().get(PURPOSE_LABEL).map(String::as_str), Some("Firmware"));
        assert_eq!((object.purpose(), object.spec.requester.as_str()), (Some(Purpose::Firmware), "Device/cam-1"));
        assert_eq!(object.owner_references().first().map(|o| (o.kind.as_str(), o.uid.as_str())), Some(("Device", "u")));
        let disabling = OwnClaim::disabling(&device("cam-1"), "l1");
        assert_eq!(
            (disabling.name.as_str(), disabling.object().purpose()),
            ("disabling-cam-1", Some(Purpose::Disabling))
        );
    }

    #[test]
    fn claim_is_found_again_by_a_name_that_follows_from_what_it_is_for() {
        let claim = OwnClaim::firmware(&device("cam-1"), 3, "l1");
        assert_eq!(claim.name, "device-cam-1-3");
        let object = claim.object();
        assert!(claim.is(&object));
        assert!(!OwnClaim::firmware(&device("cam-1"), 3, "l2").is(&object), "it targets the lane of before");
    }

    #[test]
    fn claim_that_an_earlier_operator_made_without_a_purpose_stands_for_the_same_attempt() {
        let claim = OwnClaim::firmware(&device("cam-1"), 3, "l1");
        let mut old = claim.object();
        old.labels_mut().remove(PURPOSE_LABEL);
        assert!(claim.is(&old) && old.is_made_by_operator());
        assert_eq!(old.purpose(), Some(Purpose::Firmware));
    }

    #[test]
    fn long_names_are_cut_and_stay_apart() {
        let device = device("plate-camera-of-the-first-smart-lane-inbound-at-bac-luan-2-left");
        let (a, b) = (OwnClaim::firmware(&device, 1, "l"), OwnClaim::firmware(&device, 2, "l"));
        assert!(a.name.len() <= NAME_MAX && b.name.len() <= NAME_MAX);
        assert_ne!(a.name, b.name);
        assert!(a.name.starts_with("device-plate-camera-of-the-first"));
    }
}

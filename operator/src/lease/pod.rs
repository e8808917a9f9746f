//! The label by which the Services for agents find the leader's Pod: an open port alone would split agents between replicas.

use k8s_openapi::api::core::v1::Pod;
use kalong_crds::field_manager;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use crate::client::{ApiError, call};

/// `true` on the Pod that leads.
pub const LEADER_LABEL: &str = "kalong.dev/leader";

/// Role of a Pod, as its label says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// The Services for agents select it.
    Leader,
    /// They do not select it.
    Standby,
}

/// Labels the Pod. A Pod whose container was restarted may still carry the label of the earlier process.
pub async fn label(client: &Client, namespace: &str, pod: &str, role: Role) -> Result<(), ApiError> {
    let value = match role {
        Role::Leader => Some("true"),
        Role::Standby => None,
    };
    let patch = Patch::Merge(json!({"metadata": {"labels": {LEADER_LABEL: value}}}));
    let parameters = PatchParams { field_manager: Some(field_manager::OPERATOR.to_owned()), ..PatchParams::default() };
    let pods: Api<Pod> = Api::namespaced(client.clone(), namespace);
    call("label the operator's Pod", pods.patch_metadata(pod, &parameters, &patch)).await.map(|_| ())
}

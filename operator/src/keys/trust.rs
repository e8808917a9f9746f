//! The ConfigMap that `kubectl kalong enrol` reads: everything that an agent has to pin, and no secret.

use std::collections::BTreeMap;

use k8s_openapi::api::core::v1::ConfigMap;
use kalong_crds::field_manager;
use kalong_crds::wire::enrol::{ENROL_PATH, TRUST_CONFIG_MAP};
use kalong_crds::wire::release::ReleaseKeys;
use kube::api::{Patch, PatchParams};
use kube::{Api, Client};
use serde_json::json;

use super::{Keys, KeysError};
use crate::client::call;
use crate::settings::Advertise;

/// Writes the ConfigMap if it differs.
pub async fn publish(
    client: &Client,
    namespace: &str,
    keys: &Keys,
    release_keys: &ReleaseKeys,
    advertise: &Advertise,
) -> Result<(), KeysError> {
    let data = document(keys, release_keys, advertise)?;
    let maps: Api<ConfigMap> = Api::namespaced(client.clone(), namespace);
    let stored = call("read the ConfigMap of trust", maps.get_opt(TRUST_CONFIG_MAP)).await?;
    if stored.and_then(|m| m.data).as_ref() == Some(&data) {
        return Ok(());
    }
    let body = json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": TRUST_CONFIG_MAP, "namespace": namespace, "labels": {"app.kubernetes.io/managed-by": "kalong-operator"}},
        "data": data,
    });
    let parameters = PatchParams::apply(field_manager::OPERATOR).force();
    call("write the ConfigMap of trust", maps.patch(TRUST_CONFIG_MAP, &parameters, &Patch::Apply(&body))).await?;
    tracing::info!(configmap = TRUST_CONFIG_MAP, "The trust that agents pin was published.");
    Ok(())
}

fn document(
    keys: &Keys,
    release_keys: &ReleaseKeys,
    advertise: &Advertise,
) -> Result<BTreeMap<String, String>, KeysError> {
    Ok([
        ("ca.crt".to_owned(), keys.authority.bundle_pem().to_owned()),
        ("operator.pub".to_owned(), serde_json::to_string(&[keys.signing.public()])?),
        ("enrol-url".to_owned(), format!("{}/{ENROL_PATH}", advertise.https)),
        ("mqtt-endpoint".to_owned(), advertise.gateway.clone()),
        ("releaseKeys".to_owned(), serde_json::to_string(release_keys)?),
    ]
    .into())
}

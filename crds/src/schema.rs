//! What generation adds to a CRD, and the policy that guards deletion.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::{Value, json};

use crate::{Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, Lane};

/// The CRDs of all kinds, in the order of the documentation.
pub fn crds() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    [Crossing::crd(), Lane::crd(), Device::crd(), DeviceModel::crd(), EdgeAgent::crd(), FirmwareRelease::crd()]
        .into_iter()
        .map(complete)
        .collect()
}

/// The CRDs as documents, with the empty `status` that kube's types always carry taken out.
pub fn crd_documents() -> Result<Vec<Value>, serde_json::Error> {
    crds()?.iter().map(serde_json::to_value).collect()
}

fn complete(crd: CustomResourceDefinition) -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut value = serde_json::to_value(crd)?;
    if let Some(meta) = value.get_mut("metadata").and_then(Value::as_object_mut) {
        // Deleting a kind deletes every object of it: neither an uninstall nor a rename of the chart may do that.
        meta.insert("annotations".into(), json!({"helm.sh/resource-policy": "keep"}));
        meta.insert("labels".into(), json!({"app.kubernetes.io/part-of": "kalong"}));
    }
    if let Some(schema) = value.pointer_mut("/spec/versions/0/schema/openAPIV3Schema") {
        if let Some(status) = schema.pointer_mut("/properties/status").and_then(Value::as_object_mut) {
            // kstatus: a new object is never taken for settled. On the property alone the default would make no status.
            status.insert("default".into(), json!({"observedGeneration": -1}));
            status
                .entry("description")
                .or_insert_with(|| json!("What is true of the object now; written by the operator alone."));
        }
        list_types(schema);
        condition_bounds(schema);
    }
    serde_json::from_value(value)
}

/// Lists of objects are maps by their key, lists of scalars are sets: two appliers never overwrite each other's entries.
fn list_types(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            if map.get("type") == Some(&json!("array")) {
                let keys = list_keys(map.get("items"));
                let scalar = map.get("items").is_some_and(|i| i.get("type") != Some(&json!("object")));
                if !keys.is_empty() {
                    map.insert("x-kubernetes-list-type".into(), json!("map"));
                    map.insert("x-kubernetes-list-map-keys".into(), json!(keys));
                } else {
                    map.insert("x-kubernetes-list-type".into(), json!(if scalar { "set" } else { "atomic" }));
                }
            }
            map.values_mut().for_each(list_types);
        }
        Value::Array(list) => list.iter_mut().for_each(list_types),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn list_keys(items: Option<&Value>) -> Vec<&'static str> {
    let required = |key: &str| {
        items.and_then(|i| i.get("required")).and_then(Value::as_array).is_some_and(|r| r.iter().any(|k| k == key))
    };
    for keys in [&["name"][..], &["keyId"], &["service", "direction"], &["code", "subject"]] {
        if keys.iter().all(|k| required(k)) {
            return keys.to_vec();
        }
    }
    // metav1 conditions: both are there, and `type` is the key.
    if required("type") && required("lastTransitionTime") { vec!["type"] } else { vec![] }
}

/// metav1 conditions come without the bounds that Kubernetes documents for them.
fn condition_bounds(schema: &mut Value) {
    let Some(conditions) = schema.pointer_mut("/properties/status/properties/conditions/items/properties") else {
        return;
    };
    for (field, bounds) in [
        ("type", json!({"maxLength": 316})),
        ("status", json!({"enum": ["True", "False", "Unknown"]})),
        ("reason", json!({"minLength": 1, "maxLength": 1024})),
        ("message", json!({"maxLength": 32768})),
        ("observedGeneration", json!({"minimum": 0})),
    ] {
        if let (Some(Value::Object(property)), Value::Object(bounds)) = (conditions.get_mut(field), bounds) {
            property.extend(bounds);
        }
    }
}

/// The policy that refuses to delete what is in service, and its binding.
pub fn deletion_policy() -> Vec<Value> {
    let message = "is in service and cannot be deleted: a deletion cannot be taken back. Set `spec.admin: Disabled` on a Device or \
                   `spec.admission: Closed` on a Lane first, or annotate it with kalong.dev/delete-in-service: \"<name, date, reason>\"";
    vec![
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "kalong-in-service", "labels": {"app.kubernetes.io/part-of": "kalong"}, "annotations": {"helm.sh/resource-policy": "keep"}},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [{
                    "apiGroups": [crate::GROUP], "apiVersions": ["*"], "operations": ["DELETE"], "resources": ["devices", "lanes"],
                }]},
                "variables": [
                    {"name": "planned", "expression": "has(oldObject.status) && has(oldObject.status.conditions) && oldObject.status.conditions.exists(c, c.type == 'Ready' && c.reason == 'Planned')"},
                    {"name": "released", "expression": "has(oldObject.metadata.annotations) && 'kalong.dev/delete-in-service' in oldObject.metadata.annotations && oldObject.metadata.annotations['kalong.dev/delete-in-service'] != ''"},
                    {"name": "switchedOff", "expression": "oldObject.kind == 'Device' ? (has(oldObject.spec.admin) && oldObject.spec.admin == 'Disabled') : (!has(oldObject.spec.admission) || oldObject.spec.admission == 'Closed')"},
                ],
                "validations": [{
                    "expression": "variables.planned || variables.released || variables.switchedOff",
                    "messageExpression": format!("oldObject.kind + ' ' + oldObject.metadata.namespace + '/' + oldObject.metadata.name + ' {message}'"),
                    "reason": "Forbidden",
                }],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicyBinding",
            "metadata": {"name": "kalong-in-service", "labels": {"app.kubernetes.io/part-of": "kalong"}, "annotations": {"helm.sh/resource-policy": "keep"}},
            "spec": {"policyName": "kalong-in-service", "validationActions": ["Deny"]},
        }),
    ]
}

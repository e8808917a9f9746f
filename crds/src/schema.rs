//! What generation adds to a CRD, and the policy that guards deletion.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use schemars::generate::SchemaSettings;
use schemars::{JsonSchema, Schema};
use serde_json::{Value, json};

use crate::Kind;

/// The CRDs of all kinds, in the order of the documentation.
pub fn crds() -> Result<Vec<CustomResourceDefinition>, serde_json::Error> {
    macro_rules! complete_each {
        ($($kind:ident { $($facts:tt)* })+) => { [$((Kind::$kind.page(), complete::<crate::$kind>())),+] };
    }
    let mut kinds = crate::for_each_kind!(complete_each);
    kinds.sort_by_key(|(page, _)| *page);
    kinds.into_iter().map(|(_, crd)| crd).collect()
}

/// The CRDs as documents, with the empty `status` that kube's types always carry taken out.
pub fn crd_documents() -> Result<Vec<Value>, serde_json::Error> {
    crds()?.iter().map(serde_json::to_value).collect()
}

fn complete<K: CustomResourceExt + JsonSchema>() -> Result<CustomResourceDefinition, serde_json::Error> {
    let mut value = serde_json::to_value(K::crd())?;
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
        let documented = SchemaSettings::draft07()
            .with(|settings| settings.inline_subschemas = true)
            .into_generator()
            .into_root_schema_for::<K>();
        meanings(schema, &Schema::to_value(documented));
        refuse_null(schema);
        list_types(schema);
        condition_bounds(schema);
    }
    serde_json::from_value(value)
}

/// What each word of an enumeration means goes into the description of the property: kube makes plain enumerations, as the API server
/// wants them, and drops the comments of their words. `documented` is the same schema before that.
fn meanings(property: &mut Value, documented: &Value) {
    // An optional property is one of two: the property, or null.
    let either = documented.get("anyOf").and_then(Value::as_array).into_iter().flatten();
    let documented = either.into_iter().find(|one| one.get("type") != Some(&json!("null"))).unwrap_or(documented);
    let Some(map) = property.as_object_mut() else { return };
    let words = documented.get("oneOf").and_then(Value::as_array).into_iter().flatten();
    for word in words {
        let (word, meaning) =
            (word.get("const").and_then(Value::as_str), word.get("description").and_then(Value::as_str));
        if let (Some(word), Some(meaning), Some(Value::String(text))) = (word, meaning, map.get_mut("description")) {
            text.push_str(&format!(" {word}: {meaning}"));
        }
    }
    for key in ["items", "additionalProperties"] {
        if let (Some(property), Some(documented)) = (map.get_mut(key), documented.get(key)) {
            meanings(property, documented);
        }
    }
    let properties = map.get_mut("properties").and_then(Value::as_object_mut).into_iter().flatten();
    for (name, property) in properties {
        if let Some(documented) = documented.get("properties").and_then(|all| all.get(name)) {
            meanings(property, documented);
        }
    }
}

/// A null is dropped at the door instead of being stored: a rule asks `has(self.x)`, and a stored null would be there.
fn refuse_null(schema: &mut Value) {
    match schema {
        Value::Object(map) => {
            map.remove("nullable");
            map.values_mut().for_each(refuse_null);
        }
        Value::Array(list) => list.iter_mut().for_each(refuse_null),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
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
    let corner = ["xCentimetres", "yCentimetres"];
    for keys in [&["name"][..], &["keyId"], &["service", "direction"], &["code", "subject"], &corner] {
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
        ("observedGeneration", json!({"minimum": 0, "maximum": 9_007_199_254_740_991_i64})),
    ] {
        if let (Some(Value::Object(property)), Value::Object(bounds)) = (conditions.get_mut(field), bounds) {
            property.extend(bounds);
        }
    }
}

/// The policy that refuses to delete what is in service, and its binding.
pub fn deletion_policy() -> Vec<Value> {
    let message = "is in service and cannot be deleted: a deletion cannot be taken back. Set `spec.admin: Disabled` on a Device, \
                   `spec.admission: Closed` on a Lane or `spec.state: Planned` on a Phase first, or annotate it with kalong.dev/delete-in-service: \"<name, date, reason>\"";
    let kind_message = "cannot be deleted: every object of this kind would go with it, lanes in service included. If that is meant, annotate it \
                        with kalong.dev/delete-in-service: \"<name, date, reason>\"";
    vec![
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1",
            "kind": "ValidatingAdmissionPolicy",
            "metadata": {"name": "kalong-in-service", "labels": {"app.kubernetes.io/part-of": "kalong"}, "annotations": {"helm.sh/resource-policy": "keep"}},
            "spec": {
                "failurePolicy": "Fail",
                "matchConstraints": {"resourceRules": [
                    {"apiGroups": [crate::GROUP], "apiVersions": ["*"], "operations": ["DELETE"], "resources": ["devices", "lanes", "phases"]},
                    // Deleting a kind deletes every object of it, unasked.
                    {"apiGroups": ["apiextensions.k8s.io"], "apiVersions": ["*"], "operations": ["DELETE"], "resources": ["customresourcedefinitions"]},
                ]},
                "matchConditions": [{
                    "name": "kinds-of-kalong",
                    "expression": format!("request.resource.group == '{0}' || oldObject.spec.group == '{0}'", crate::GROUP),
                }],
                "variables": [
                    {"name": "isKind", "expression": "request.resource.resource == 'customresourcedefinitions'"},
                    {"name": "planned", "expression": "has(oldObject.status) && has(oldObject.status.conditions) && oldObject.status.conditions.exists(c, c.type == 'Ready' && c.reason == 'Planned')"},
                    {"name": "released", "expression": "has(oldObject.metadata.annotations) && 'kalong.dev/delete-in-service' in oldObject.metadata.annotations && oldObject.metadata.annotations['kalong.dev/delete-in-service'] != ''"},
                    {"name": "switchedOff", "expression": "oldObject.kind == 'Device' ? (has(oldObject.spec.admin) && oldObject.spec.admin == 'Disabled') : oldObject.kind == 'Lane' ? (!has(oldObject.spec.admission) || oldObject.spec.admission == 'Closed') : (!has(oldObject.status) || !has(oldObject.status.state) || oldObject.status.state == 'Planned')"},
                ],
                "validations": [
                    {
                        "expression": "variables.isKind || variables.planned || variables.released || variables.switchedOff",
                        "messageExpression": format!("oldObject.kind + ' ' + oldObject.metadata.namespace + '/' + oldObject.metadata.name + ' {message}'"),
                        "reason": "Forbidden",
                    },
                    {
                        "expression": "!variables.isKind || variables.released",
                        "messageExpression": format!("'CustomResourceDefinition ' + oldObject.metadata.name + ' {kind_message}'"),
                        "reason": "Forbidden",
                    },
                ],
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

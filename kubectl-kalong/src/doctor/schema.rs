//! Whether an installed CRD says what the types of this plugin say: every field, every word of an enumeration, every rule.

use std::collections::BTreeSet;

use kalong_crds::VERSION;
use serde_json::Value;

/// How an installed CRD differs.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Difference {
    /// What the types have and the CRD lacks: it is older.
    pub(super) missing: Vec<String>,
    /// What the CRD has and the types lack: it is newer.
    pub(super) extra: Vec<String>,
}

/// Compares the installed document with ours.
pub(super) fn difference(installed: &Value, ours: &Value) -> Difference {
    let (installed, ours) = (said(installed), said(ours));
    Difference {
        missing: ours.difference(&installed).cloned().collect(),
        extra: installed.difference(&ours).cloned().collect(),
    }
}

/// Everything that the schema of our version says.
fn said(crd: &Value) -> BTreeSet<String> {
    let mut all = BTreeSet::new();
    let versions = crd.pointer("/spec/versions").and_then(Value::as_array).into_iter().flatten();
    let ours = versions.into_iter().find(|v| v.get("name").and_then(Value::as_str) == Some(VERSION));
    if let Some(schema) = ours.and_then(|v| v.pointer("/schema/openAPIV3Schema")) {
        walk(schema, "", &mut all);
    }
    all
}

fn walk(schema: &Value, path: &str, all: &mut BTreeSet<String>) {
    let properties = schema.get("properties").and_then(Value::as_object).into_iter().flatten();
    for (name, property) in properties {
        let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
        all.insert(path.clone());
        walk(property, &path, all);
    }
    for word in schema.get("enum").and_then(Value::as_array).into_iter().flatten().filter_map(Value::as_str) {
        all.insert(format!("{path}={word}"));
    }
    for rule in schema.get("x-kubernetes-validations").and_then(Value::as_array).into_iter().flatten() {
        let text = rule.get("rule").and_then(Value::as_str).unwrap_or_default();
        all.insert(format!("{path}: rule {text}"));
    }
    for (key, sign) in [("items", "[]"), ("additionalProperties", "{}")] {
        if let Some(inner) = schema.get(key).filter(|s| s.is_object()) {
            walk(inner, &format!("{path}{sign}"), all);
        }
    }
}

#[cfg(test)]
mod tests {
    use kalong_crds::schema::crd_documents;

    use super::*;

    #[test]
    fn a_crd_equals_itself_and_shows_what_was_taken_away() {
        for ours in crd_documents().unwrap() {
            assert_eq!(difference(&ours, &ours), Difference::default());
        }
        let ours = crd_documents().unwrap().remove(1);
        let mut older = ours.clone();
        let schema = older.pointer_mut("/spec/versions/0/schema/openAPIV3Schema/properties/spec").unwrap();
        schema["properties"].as_object_mut().unwrap().remove("phase");
        schema["x-kubernetes-validations"].as_array_mut().unwrap().pop();
        let found = difference(&older, &ours);
        assert!(found.missing.contains(&"spec.phase".to_owned()), "{found:?}");
        assert!(found.missing.iter().any(|m| m.starts_with("spec: rule")), "{found:?}");
        assert!(found.extra.is_empty());
        assert_eq!(difference(&ours, &older).extra, found.missing);
    }
}

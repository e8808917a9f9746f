//! The chart `kalong-crds` holds exactly what the types say. `UPDATE_GOLDEN=1` writes its templates anew.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use kalong_crds::schema::{crd_documents, deletion_policy};
use serde_json::Value;

fn templates() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../charts/kalong-crds/templates")
}

/// By kind and name, so that an object in two files shows as well as one in none.
fn keyed(documents: Vec<Value>) -> BTreeMap<String, Vec<Value>> {
    let mut map: BTreeMap<String, Vec<Value>> = BTreeMap::new();
    for document in documents {
        let word = |pointer: &str| document.pointer(pointer).and_then(Value::as_str).unwrap().to_owned();
        map.entry(format!("{} {}", word("/kind"), word("/metadata/name"))).or_default().push(document);
    }
    map
}

fn write() {
    for crd in crd_documents().unwrap() {
        let kind = crd.pointer("/spec/names/singular").and_then(Value::as_str).unwrap().to_owned();
        fs::write(templates().join(format!("{kind}.yaml")), serde_saphyr::to_string(&crd).unwrap()).unwrap();
    }
    let policy: Vec<String> = deletion_policy().iter().map(|d| serde_saphyr::to_string(d).unwrap()).collect();
    fs::write(templates().join("deletion-policy.yaml"), policy.join("---\n")).unwrap();
}

#[test]
fn chart_holds_exactly_what_the_types_say() {
    if std::env::var_os("UPDATE_GOLDEN").is_some_and(|v| v == "1") {
        write();
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(templates()).unwrap() {
        let text = fs::read_to_string(entry.unwrap().path()).unwrap();
        assert!(!text.contains("{{"), "Helm would take part of it for a template");
        found.extend(serde_saphyr::from_multiple::<Value>(&text).unwrap());
    }
    let mut expected = crd_documents().unwrap();
    expected.extend(deletion_policy());
    let (found, expected) = (keyed(found), keyed(expected));
    assert_eq!(found.keys().collect::<Vec<_>>(), expected.keys().collect::<Vec<_>>());
    for (name, documents) in expected {
        assert!(
            found.get(&name) == Some(&documents),
            "{name} is not current: run `cargo run -p kalong-operator -- crds`"
        );
    }
}

//! Every alert of the chart speaks in the words of the code, and has a runbook that says what to do.

use std::fs;
use std::path::Path;

use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::schema::crd_documents;
use serde_json::Value;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("..").join(path)).unwrap()
}

fn alerts() -> Vec<Value> {
    let file: Value = serde_saphyr::from_str(&read("charts/kalong/files/alerts.yaml")).unwrap();
    file.pointer("/groups/0/rules").and_then(Value::as_array).unwrap().clone()
}

/// The values of a label that an expression asks for.
fn asked(expression: &str, label: &str) -> Vec<String> {
    let values = |operator: &str| {
        let (_, rest) = expression.split_once(&format!("{label}{operator}\""))?;
        Some(rest.split_once('"')?.0.split('|').map(str::to_owned).collect::<Vec<_>>())
    };
    values("=").or_else(|| values("=~")).unwrap_or_default()
}

#[test]
fn an_alert_asks_for_kinds_types_and_reasons_that_exist() {
    let kinds: Vec<String> = crd_documents()
        .unwrap()
        .iter()
        .map(|crd| crd.pointer("/spec/names/kind").and_then(Value::as_str).unwrap().to_owned())
        .collect();
    for alert in alerts() {
        let expression = alert.get("expr").and_then(Value::as_str).unwrap();
        let name = alert.get("alert").and_then(Value::as_str).unwrap();
        if !expression.contains("kalong_resource_condition") {
            continue;
        }
        let (kind, types) = (asked(expression, "{kind"), asked(expression, ",type"));
        assert!(!kind.is_empty() && kind.iter().all(|kind| kinds.contains(kind)), "{name}: {expression}");
        assert!(!types.is_empty() && types.iter().all(|t| ConditionType::parse(t).is_some()), "{name}: {expression}");
        assert!(asked(expression, ",reason").iter().all(|r| Reason::parse(r).is_some()), "{name}: {expression}");
    }
}

#[test]
fn an_alert_has_a_runbook() {
    let page = read("docs/operations.md");
    for alert in alerts() {
        let name = alert.get("alert").and_then(Value::as_str).unwrap();
        let runbook = alert.pointer("/annotations/runbook").and_then(Value::as_str).unwrap();
        assert_eq!(runbook, format!("docs/operations.md#{}", name.to_lowercase()));
        assert!(page.contains(&format!("\n### {name}\n")), "docs/operations.md has no part {name}");
    }
}

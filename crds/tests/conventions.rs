//! The conventions of the API, checked over all kinds. What is missing is listed for all kinds at once.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing, reason = "a test fails by panicking")]

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::{
    CustomResourceDefinition, CustomResourceDefinitionVersion,
};
use serde_json::{Value, json};

/// What is known of a kind from the design, not from its type.
struct Kind {
    name: &'static str,
    short: &'static str,
    family: &'static str,
    /// Among `kubectl get all`: human-sized and recoverable.
    all: bool,
    /// The lookups that people make.
    selectable: &'static [&'static str],
    /// Columns in their order: identity, wanted, actual, Ready, reason, age, without those of `-o wide`.
    columns: &'static [&'static str],
    /// Whether something inside one object can contradict itself or must not change.
    invariant: bool,
}

const KINDS: [Kind; 11] = [
    Kind {
        name: "Crossing",
        short: "xing",
        family: "kalong-field",
        all: true,
        selectable: &[".spec.phase"],
        columns: &["Traffic", "Transport", "Open", "Ready", "Available", "Reason", "Age"],
        invariant: true,
    },
    Kind {
        name: "Lane",
        short: "lane",
        family: "kalong-field",
        all: true,
        selectable: &[".spec.phase", ".spec.crossingRef"],
        columns: &["Crossing", "Direction", "Service", "Wanted", "Actual", "Ready", "Available", "Reason", "Age"],
        invariant: true,
    },
    Kind {
        name: "Device",
        short: "kdev",
        family: "kalong-field",
        all: false,
        selectable: &[".spec.phase", ".spec.agentRef", ".spec.modelRef", ".status.firmware.running"],
        columns: &["Model", "Wanted", "Running", "Previous", "Health", "Ready", "Reason", "Age"],
        invariant: true,
    },
    Kind {
        name: "DeviceModel",
        short: "kmodel",
        family: "kalong-field",
        all: false,
        selectable: &[".spec.class"],
        columns: &["Class", "Protocol", "Slots", "Devices", "Ready", "Reason", "Age"],
        invariant: true,
    },
    Kind {
        name: "EdgeAgent",
        short: "kagent",
        family: "kalong-field",
        all: false,
        selectable: &[".spec.phase"],
        columns: &["Identity", "Devices", "Connected", "Ready", "Reason", "Age"],
        invariant: false,
    },
    Kind {
        name: "FirmwareRelease",
        short: "kfw",
        family: "kalong-rollout",
        all: false,
        selectable: &[".spec.version"],
        columns: &["Kind", "Version", "Counter", "Verified", "Ready", "Reason", "Age"],
        invariant: true,
    },
    Kind {
        name: "InspectionStation",
        short: "stn",
        family: "kalong-field",
        all: true,
        selectable: &[".spec.phase", ".spec.crossingRef"],
        columns: &["Crossing", "Type", "Interlocks", "Ready", "Available", "Reason", "Age"],
        invariant: true,
    },
    Kind {
        name: "IGV",
        short: "igv",
        family: "kalong-field",
        all: true,
        selectable: &[".spec.phase", ".spec.crossingRef", ".spec.agentRef"],
        columns: &["Crossing", "Serial", "Connection", "Mode", "Side", "Ready", "Available", "Reason", "Age"],
        invariant: true,
    },
    Kind {
        name: "BilateralLink",
        short: "blink",
        family: "kalong-link",
        all: true,
        selectable: &[".spec.phase", ".spec.crossingRef", ".spec.agentRef"],
        columns: &["Crossing", "Country", "Profile", "Agreement", "Ready", "Available", "Reason", "Age"],
        invariant: true,
    },
    Kind {
        name: "LaneDrain",
        short: "drain",
        family: "kalong-rollout",
        all: false,
        selectable: &[".spec.class", ".spec.target.name"],
        columns: &["Target", "Class", "Requester", "Accepted", "Drained", "Ready", "Reason", "Age"],
        invariant: true,
    },
    Kind {
        name: "Phase",
        short: "phase",
        family: "kalong-rollout",
        all: false,
        selectable: &[".spec.state"],
        columns: &["Wanted", "Actual", "Late", "Ready", "Reason", "Age"],
        invariant: true,
    },
];

/// One of these says in which unit a number is.
const UNITS: [&str; 11] = [
    "seconds",
    "milliseconds",
    "hours",
    "passages per hour",
    "bytes",
    "count",
    "counted from",
    "number",
    "generation",
    "unit",
    "counter",
];

/// The only yes or no: what is shut out at once, by a switch that needs no second word.
const BOOLEANS: [&str; 1] = ["suspend"];

fn version(crd: &CustomResourceDefinition) -> &CustomResourceDefinitionVersion {
    let [version] = crd.spec.versions.as_slice() else { panic!("one version") };
    version
}

fn schema(crd: &CustomResourceDefinition) -> Value {
    serde_json::to_value(version(crd).schema.as_ref().unwrap().open_api_v3_schema.as_ref().unwrap()).unwrap()
}

/// Each kind with its CRD and its schema.
fn kinds() -> Vec<(&'static Kind, CustomResourceDefinition, Value)> {
    let crds = kalong_crds::schema::crds().unwrap();
    assert_eq!(crds.len(), KINDS.len(), "a kind is missing in this table");
    let known = |crd: CustomResourceDefinition| {
        let kind = KINDS.iter().find(|kind| kind.name == crd.spec.names.kind).unwrap();
        let schema = schema(&crd);
        (kind, crd, schema)
    };
    crds.into_iter().map(known).collect()
}

/// Calls `look` with the path of every property, list item and map value below `spec` and `status`.
fn walk(path: &str, schema: &Value, look: &mut impl FnMut(&str, &Value)) {
    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        let path = format!("{path}.{name}");
        look(&path, property);
        walk(&path, property, look);
    }
    for (key, mark) in [("items", "[]"), ("additionalProperties", "{}")] {
        if schema[key].is_object() {
            let path = format!("{path}{mark}");
            look(&path, &schema[key]);
            walk(&path, &schema[key], look);
        }
    }
}

/// Walks every kind and lists what `fault` says, all at once.
fn no_fault(fault: impl Fn(&str, &Value) -> Option<String>) {
    let mut faults = Vec::new();
    for (kind, _, schema) in kinds() {
        walk(kind.name, &schema, &mut |path, property| {
            faults.extend(fault(path, property).map(|fault| format!("{path}: {fault}")));
        });
    }
    assert!(faults.is_empty(), "{} faults:\n{}", faults.len(), faults.join("\n"));
}

fn is(property: &Value, kind: &str) -> bool {
    property["type"] == kind
}

#[test]
fn status_is_never_taken_for_settled_before_the_first_visit() {
    for (kind, crd, schema) in kinds() {
        assert!(version(&crd).subresources.as_ref().unwrap().status.is_some(), "{}", kind.name);
        let status = &schema["properties"]["status"];
        assert_eq!(status["default"], json!({"observedGeneration": -1}), "{}", kind.name);
        let generation = &status["properties"]["observedGeneration"];
        assert_eq!((&generation["type"], &generation["format"]), (&json!("integer"), &json!("int64")), "{}", kind.name);
        assert!(schema["required"].as_array().unwrap().iter().all(|name| name != "status"), "{}", kind.name);
    }
}

#[test]
fn conditions_are_a_map_by_type_and_not_required() {
    for (kind, _, schema) in kinds() {
        let status = &schema["properties"]["status"];
        let conditions = &status["properties"]["conditions"];
        assert_eq!(conditions["x-kubernetes-list-type"], "map", "{}", kind.name);
        assert_eq!(conditions["x-kubernetes-list-map-keys"], json!(["type"]), "{}", kind.name);
        let required = conditions["items"]["required"].as_array().unwrap();
        for field in ["type", "status", "reason", "message", "lastTransitionTime"] {
            assert!(required.iter().any(|name| name == field), "{} {field}", kind.name);
        }
        assert!(conditions["items"]["properties"]["observedGeneration"].is_object(), "{}", kind.name);
        let required = status["required"].as_array().unwrap();
        assert!(required.iter().all(|name| name != "conditions"), "{}", kind.name);
        assert!(status["properties"].get("phase").is_none(), "{}: conditions say it, no phase string", kind.name);
    }
}

#[test]
fn kinds_are_namespaced_under_their_group_and_their_family() {
    for (kind, crd, _) in kinds() {
        assert_eq!((crd.spec.group.as_str(), crd.spec.scope.as_str()), ("kalong.dev", "Namespaced"), "{}", kind.name);
        let mut categories = crd.spec.names.categories.unwrap();
        let mut wanted = vec!["kalong".to_owned(), kind.family.to_owned()];
        wanted.extend(kind.all.then(|| "all".to_owned()));
        categories.sort_unstable();
        wanted.sort_unstable();
        assert_eq!(categories, wanted, "{}", kind.name);
    }
}

#[test]
fn short_name_is_the_one_of_the_design() {
    for (kind, crd, _) in kinds() {
        assert!(kind.short.len() >= 3, "{}", kind.name);
        assert_eq!(crd.spec.names.short_names.unwrap(), [kind.short], "{}", kind.name);
        assert_eq!(crd.spec.names.plural, kind.name.to_lowercase() + "s");
    }
}

#[test]
fn columns_go_from_identity_to_age() {
    for (kind, crd, _) in kinds() {
        let columns = version(&crd).additional_printer_columns.clone().unwrap();
        let narrow: Vec<_> = columns.iter().filter(|column| column.priority.unwrap_or(0) == 0).collect();
        assert_eq!(narrow.iter().map(|column| column.name.as_str()).collect::<Vec<_>>(), kind.columns, "{}", kind.name);
        let path = |name: &str| &columns.iter().find(|column| column.name == name).unwrap().json_path;
        assert_eq!(path("Ready"), r#".status.conditions[?(@.type=="Ready")].status"#, "{}", kind.name);
        assert_eq!(path("Reason"), r#".status.conditions[?(@.type=="Ready")].reason"#, "{}", kind.name);
        assert_eq!(path("Message"), r#".status.conditions[?(@.type=="Ready")].message"#, "{}", kind.name);
        assert_eq!(path("Age"), ".metadata.creationTimestamp", "{}", kind.name);
        let wide = |name: &str| columns.iter().any(|column| column.name == name && column.priority == Some(1));
        assert!(wide("Message"), "{}", kind.name);
        assert!(!kind.selectable.contains(&".spec.phase") || wide("Phase"), "{}", kind.name);
    }
}

#[test]
fn every_lookup_has_a_selectable_field() {
    for (kind, crd, schema) in kinds() {
        let fields: Vec<_> =
            version(&crd).selectable_fields.iter().flatten().map(|field| field.json_path.clone()).collect();
        assert!((1..=8).contains(&fields.len()), "{}: the API server takes at most eight", kind.name);
        for wanted in kind.selectable {
            assert!(fields.iter().any(|field| field == wanted), "{} {wanted}", kind.name);
        }
        for lookup in ["phase", "crossingRef", "agentRef", "modelRef", "class", "version"] {
            let there = schema["properties"]["spec"]["properties"].get(lookup).is_some();
            assert!(!there || fields.contains(&format!(".spec.{lookup}")), "{} {lookup}", kind.name);
        }
    }
}

#[test]
fn every_property_is_described_beyond_its_own_name() {
    no_fault(|path, property| {
        let name = path.rsplit(['.', '[', '{']).next().unwrap_or_default().to_lowercase();
        let text = property["description"].as_str().unwrap_or_default();
        let words = text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty());
        let beyond = words.filter(|word| word.to_lowercase() != name).count();
        // A list is described by its property; so is what stands in it when that is a plain value.
        let described = beyond >= 4 || (path.ends_with("[]") && !is(property, "object"));
        (!described).then(|| format!("says no more than its name: {text:?}"))
    });
}

#[test]
fn every_number_has_a_unit_and_bounds() {
    no_fault(|_, property| {
        if !is(property, "integer") && !is(property, "number") {
            return None;
        }
        let text = property["description"].as_str().unwrap_or_default().to_lowercase();
        let unit = UNITS.iter().any(|unit| text.contains(unit));
        let bounds = property["minimum"].is_number() && property["maximum"].is_number();
        let signed = is(property, "integer") && property["format"] == "int64";
        (!(unit && bounds && signed)).then(|| format!("unit {unit}, bounds {bounds}, signed {signed}: {text:?}"))
    });
}

#[test]
fn every_string_list_and_map_is_bounded() {
    no_fault(|_, property| {
        if is(property, "string") && property["maxLength"].is_null() {
            let else_bounded = property["enum"].is_array() || property["format"] == "date-time";
            return (!else_bounded).then(|| "needs maxLength, enum or format".into());
        }
        if is(property, "array") {
            let typed = match property["x-kubernetes-list-type"].as_str() {
                Some("map") => property["x-kubernetes-list-map-keys"].is_array(),
                Some("set") => !is(&property["items"], "object"),
                _ => false,
            };
            return (!typed || property["maxItems"].is_null()).then(|| "needs maxItems and a list type".into());
        }
        let map = property["additionalProperties"].is_object();
        (map && property["maxProperties"].is_null()).then(|| "needs maxProperties".into())
    });
}

#[test]
fn no_bound_of_a_set_of_words_is_beyond_the_words() {
    no_fault(|_, property| {
        let words = property["items"]["enum"].as_array()?.len();
        (property["maxItems"].as_u64()? > u64::try_from(words).unwrap()).then(|| format!("has only {words} words"))
    });
}

#[test]
fn words_stand_instead_of_yes_and_no() {
    no_fault(|path, property| {
        let allowed = BOOLEANS.iter().any(|name| path.ends_with(&format!(".spec.{name}")));
        (is(property, "boolean") && !allowed).then(|| "is a boolean: make it an enumeration of words".into())
    });
}

#[test]
fn enumerations_are_plain_and_say_what_each_word_means() {
    no_fault(|_, property| {
        for combined in ["oneOf", "anyOf", "allOf", "not", "const", "nullable", "x-kubernetes-preserve-unknown-fields"]
        {
            if property.get(combined).is_some() {
                return Some(format!("has {combined}"));
            }
        }
        let words = property["enum"].as_array()?;
        let text = property["description"].as_str().unwrap_or_default();
        let explained = |word: &Value| {
            let word = word.as_str().unwrap();
            text.contains(&format!(" {word}: ")) || text.contains("one of True, False, Unknown")
        };
        let dumb: Vec<_> = words.iter().filter(|word| !explained(word)).collect();
        (!is(property, "string") || !dumb.is_empty()).then(|| format!("does not say what {dumb:?} mean"))
    });
}

#[test]
fn every_rule_says_what_to_write() {
    for (kind, _, schema) in kinds() {
        let mut count = 0;
        let mut judge = |path: &str, property: &Value| {
            for rule in property["x-kubernetes-validations"].as_array().into_iter().flatten() {
                count += 1;
                let message = rule["message"].as_str().unwrap_or_default();
                let tells = [" must ", " may "].iter().any(|word| message.contains(word));
                assert!(tells && message.contains('`') && message.len() > 20, "{path}: {rule}");
                assert!(rule["fieldPath"].is_string() || rule["rule"] == "self == oldSelf", "{path}: {rule}");
            }
        };
        judge(kind.name, &schema);
        walk(kind.name, &schema, &mut judge);
        assert!(count > 0 || !kind.invariant, "{} has an invariant and no rule", kind.name);
    }
}

#[test]
fn nothing_is_lost_when_the_chart_is_taken_away() {
    for (kind, crd, _) in kinds() {
        let annotations = crd.metadata.annotations.unwrap();
        assert_eq!(annotations["helm.sh/resource-policy"], "keep", "{}", kind.name);
    }
    for object in kalong_crds::schema::deletion_policy() {
        assert_eq!(object["metadata"]["annotations"]["helm.sh/resource-policy"], "keep");
    }
}

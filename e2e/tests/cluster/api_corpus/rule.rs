//! What a CRD demands: every bound and every rule, found by walking its schema.

use std::fmt;

use serde_json::Value;

/// A step from a value to one inside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Step {
    /// A named property.
    Field(String),
    /// Any item of a list.
    Item,
    /// Any value of a map.
    Entry,
}

/// What is demanded of a value.
#[derive(Clone, Debug)]
pub enum Demand {
    MinLength(usize),
    MaxLength(usize),
    Minimum(i64),
    Maximum(i64),
    Pattern(String),
    Words(Vec<Value>),
    MinItems(usize),
    MaxItems(usize),
    MaxProperties(usize),
    /// The field of the object at the path that must be there.
    Required(String),
    /// No two items with equal keys, or no two equal items.
    Unique,
    /// A rule in CEL, known by its message.
    Cel {
        message: String,
        field: String,
        transition: bool,
    },
}

/// A demand and where it is made.
#[derive(Clone, Debug)]
pub struct Rule {
    pub path: Vec<Step>,
    pub demand: Demand,
    /// The schema of the value at the path.
    pub schema: Value,
}

impl Rule {
    /// The path as it is written in the corpus, as in `spec.slots[].name`.
    pub fn at(&self) -> String {
        self.path.iter().fold(String::new(), |at, step| match step {
            Step::Field(name) if at.is_empty() => name.clone(),
            Step::Field(name) => at + "." + name,
            Step::Item => at + "[]",
            Step::Entry => at + "{}",
        })
    }

    /// What it is called in the corpus: the schema's key word, or the message of a rule in CEL.
    pub fn name(&self) -> String {
        match &self.demand {
            Demand::MinLength(_) => "minLength".into(),
            Demand::MaxLength(_) => "maxLength".into(),
            Demand::Minimum(_) => "minimum".into(),
            Demand::Maximum(_) => "maximum".into(),
            Demand::Pattern(_) => "pattern".into(),
            Demand::Words(_) => "enum".into(),
            Demand::MinItems(_) => "minItems".into(),
            Demand::MaxItems(_) => "maxItems".into(),
            Demand::MaxProperties(_) => "maxProperties".into(),
            Demand::Required(field) => format!("required {field}"),
            Demand::Unique => "unique".into(),
            Demand::Cel { message, .. } => message.clone(),
        }
    }

    /// Words that the API server's refusal must have.
    pub fn says(&self) -> &str {
        match &self.demand {
            Demand::MinLength(_) => "should be at least",
            Demand::MaxLength(_) => "Too long",
            Demand::Minimum(_) => "should be greater than or equal to",
            Demand::Maximum(_) => "should be less than or equal to",
            Demand::Pattern(_) => "should match",
            Demand::Words(_) => "Unsupported value",
            Demand::MinItems(_) => "should have at least",
            Demand::MaxItems(_) | Demand::MaxProperties(_) => "Too many",
            Demand::Required(_) => "Required value",
            Demand::Unique => "Duplicate value",
            Demand::Cel { message, .. } => message,
        }
    }

    pub fn is_transition(&self) -> bool {
        matches!(self.demand, Demand::Cel { transition: true, .. })
    }
}

impl fmt::Display for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of `{}`", self.name(), self.at())
    }
}

/// Every demand on the spec, and the rules on the whole object.
pub fn discover(schema: &Value) -> Vec<Rule> {
    let mut rules = Vec::new();
    cel(&[], schema, &mut rules);
    demands(&[Step::Field("spec".into())], &schema["properties"]["spec"], &mut rules);
    rules
}

fn demands(path: &[Step], schema: &Value, rules: &mut Vec<Rule>) {
    let size = |key: &str| schema[key].as_u64().map(|n| usize::try_from(n).unwrap());
    let text = |key: &str| schema[key].as_str().map(str::to_owned);
    let strings = |list: &Value| -> Vec<String> {
        list.as_array().into_iter().flatten().map(|s| s.as_str().unwrap().to_owned()).collect()
    };
    let list = &schema["x-kubernetes-list-type"];
    let unique = (list == "map" || list == "set").then_some(Demand::Unique);
    let found = [
        size("minLength").map(Demand::MinLength),
        size("maxLength").map(Demand::MaxLength),
        whole(&schema["minimum"]).map(Demand::Minimum),
        whole(&schema["maximum"]).map(Demand::Maximum),
        text("pattern").map(Demand::Pattern),
        schema["enum"].as_array().cloned().map(Demand::Words),
        size("minItems").map(Demand::MinItems),
        size("maxItems").map(Demand::MaxItems),
        size("maxProperties").map(Demand::MaxProperties),
        unique,
    ];
    let required = strings(&schema["required"]).into_iter().map(Demand::Required);
    let here = found.into_iter().flatten().chain(required);
    rules.extend(here.map(|demand| Rule { path: path.to_vec(), demand, schema: schema.clone() }));
    cel(path, schema, rules);

    for (name, property) in schema["properties"].as_object().into_iter().flatten() {
        demands(&[path, &[Step::Field(name.clone())]].concat(), property, rules);
    }
    for (key, step) in [("items", Step::Item), ("additionalProperties", Step::Entry)] {
        if schema[key].is_object() {
            demands(&[path, &[step]].concat(), &schema[key], rules);
        }
    }
    // A key word that is not known here would be a demand without neighbours.
    for key in ["exclusiveMinimum", "exclusiveMaximum", "multipleOf", "minProperties", "uniqueItems", "not", "allOf"] {
        assert!(schema.get(key).is_none(), "`{key}` is not known to this test");
    }
}

fn cel(path: &[Step], schema: &Value, rules: &mut Vec<Rule>) {
    for rule in schema["x-kubernetes-validations"].as_array().into_iter().flatten() {
        let demand = Demand::Cel {
            message: rule["message"].as_str().unwrap().to_owned(),
            field: rule["fieldPath"].as_str().unwrap_or_default().to_owned(),
            transition: rule["rule"].as_str().unwrap().contains("oldSelf"),
        };
        rules.push(Rule { path: path.to_vec(), demand, schema: schema.clone() });
    }
}

/// Bounds are whole numbers that the CRD carries as fractions.
fn whole(value: &Value) -> Option<i64> {
    value.as_f64().map(|number| format!("{number:.0}").parse().unwrap())
}

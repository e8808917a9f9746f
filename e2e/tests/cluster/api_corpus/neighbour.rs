//! The neighbours of a bound, made from a base manifest: one at the bound, one just beyond.

use serde_json::{Value, json};

use super::manifest::{Key, get, place, with};
use super::rule::{Demand, Rule};

/// Manifests on both sides of a rule.
#[derive(Default)]
pub struct Neighbours {
    /// Of these at least one must be accepted: which of them fits the other rules of the place is not known here.
    pub accepted: Vec<Value>,
    /// Each must be refused, at the place that is named.
    pub refused: Vec<(Value, String)>,
}

/// What the bases yield for this rule. Nothing where only a person can tell, and where no base has the place.
pub fn neighbours(rule: &Rule, bases: &[Value]) -> Neighbours {
    let mut found = Neighbours::default();
    for base in bases {
        if let Some(place) = place(base, &rule.path) {
            of_base(rule, base, &place, &mut found);
        }
    }
    // One manifest beyond the bound is enough, and the first base is the one that was made for it.
    found.refused.truncate(1);
    found
}

fn of_base(rule: &Rule, base: &Value, place: &[Key], found: &mut Neighbours) {
    let Some(now) = get(base, place) else { return };
    let name = super::manifest::display(place);
    let mut accept = |value: Value| found.accepted.push(with(base, place, value));
    match &rule.demand {
        Demand::MinLength(n) => {
            texts(now, *n).into_iter().for_each(|text| accept(json!(text)));
            found.refused.push((with(base, place, json!("a".repeat(n.saturating_sub(1)))), name));
        }
        Demand::MaxLength(n) => {
            texts(now, *n).into_iter().for_each(|text| accept(json!(text)));
            found.refused.push((with(base, place, json!("a".repeat(n + 1))), name));
        }
        Demand::Minimum(n) => {
            accept(json!(n));
            found.refused.push((with(base, place, json!(n - 1)), name));
        }
        Demand::Maximum(n) => {
            accept(json!(n));
            found.refused.push((with(base, place, json!(n + 1)), name));
        }
        Demand::Words(words) => {
            words.iter().filter(|word| *word != now).for_each(|word| accept(word.clone()));
            found.refused.push((with(base, place, json!("Nonsense")), name));
        }
        Demand::MinItems(n) => {
            let list = now.as_array().unwrap();
            accept(list.iter().take(*n).cloned().collect());
            found.refused.push((with(base, place, list.iter().take(n - 1).cloned().collect()), name));
        }
        Demand::MaxItems(n) => {
            lists(now, &rule.schema, *n).into_iter().for_each(&mut accept);
            let more = lists(now, &rule.schema, n + 1).into_iter().next().unwrap();
            found.refused.push((with(base, place, more), name));
        }
        Demand::MaxProperties(n) => {
            accept(map(now, *n));
            found.refused.push((with(base, place, map(now, n + 1)), name));
        }
        Demand::Required(field) => {
            let inside = [place, &[Key::Name(field.clone())]].concat();
            found.accepted.push(base.clone());
            found.refused.push((with(base, &inside, Value::Null), format!("{name}.{field}")));
        }
        Demand::Unique => {
            lists(now, &rule.schema, 2).into_iter().for_each(&mut accept);
            let mut twice = now.as_array().unwrap().clone();
            twice.extend(twice.last().cloned());
            let name = format!("{name}[{}]", twice.len() - 1);
            found.refused.push((with(base, place, Value::Array(twice)), name));
        }
        Demand::Pattern(_) | Demand::Cel { .. } => {}
    }
}

/// Texts of this length that resemble the one that is there.
fn texts(now: &Value, length: usize) -> Vec<String> {
    let Some(now) = now.as_str() else { return Vec::new() };
    let mut texts: Vec<String> = ["a", "A", "0"].iter().map(|letter| letter.repeat(length)).collect();
    if let Some(missing) = length.checked_sub(now.len()) {
        texts.extend(["a", "0"].iter().flat_map(|c| [now.to_owned() + &c.repeat(missing), c.repeat(missing) + now]));
    } else {
        texts.push(now.chars().take(length).collect());
        texts.push(now.chars().skip(now.chars().count() - length).collect());
    }
    texts
}

/// Lists of this length: the items that are there, then others like the last one with other names.
fn lists(now: &Value, schema: &Value, length: usize) -> Vec<Value> {
    let items = now.as_array().unwrap();
    let words: Vec<&Value> = schema["items"]["enum"].as_array().into_iter().flatten().collect();
    if !words.is_empty() {
        return vec![words.iter().cycle().take(length).map(|word| (*word).clone()).collect()];
    }
    let pairs = pairs(schema);
    let variants = ["x", "X"].iter().map(|letter| {
        let like_last = |index: usize| match pairs.get(index % pairs.len().max(1)) {
            Some(pair) => merged(items.last().unwrap(), pair),
            None => renamed(items.last().unwrap(), &schema["items"], &format!("{letter}{index}")),
        };
        let kept = if pairs.is_empty() { items.len().min(length) } else { 0 };
        items.iter().take(kept).cloned().chain((kept..length).map(like_last)).collect()
    });
    variants.collect()
}

/// All combinations of the key fields of a list where these are words.
fn pairs(schema: &Value) -> Vec<Value> {
    let keys = schema["x-kubernetes-list-map-keys"].as_array().cloned().unwrap_or_default();
    let words = |key: &Value| schema["items"]["properties"][key.as_str().unwrap()]["enum"].as_array().cloned();
    let Some(all) = keys.iter().map(words).collect::<Option<Vec<_>>>() else { return Vec::new() };
    let none = if keys.is_empty() { Vec::new() } else { vec![json!({})] };
    keys.iter().zip(all).fold(none, |pairs, (key, words)| {
        let each =
            |pair: &Value| words.iter().map(|word| merged(pair, &json!({key.as_str().unwrap(): word}))).collect();
        pairs.iter().flat_map(|pair| -> Vec<Value> { each(pair) }).collect()
    })
}

fn merged(object: &Value, changes: &Value) -> Value {
    let mut all = object.as_object().unwrap().clone();
    all.extend(changes.as_object().unwrap().clone());
    Value::Object(all)
}

/// An item with other names: its keys, and the objects that it refers to.
fn renamed(item: &Value, schema: &Value, name: &str) -> Value {
    let Value::Object(fields) = item else { return json!(name) };
    let free = |field: &str| matches!(field, "name" | "keyId") || field.ends_with("Ref");
    let rename = |(field, value): (&String, &Value)| {
        let value =
            if free(field) && schema["properties"][field]["enum"].is_null() { json!(name) } else { value.clone() };
        (field.clone(), value)
    };
    fields.iter().map(rename).collect()
}

fn map(now: &Value, length: usize) -> Value {
    let mut entries = now.as_object().unwrap().clone();
    let mut names = (0..).map(|number| format!("x{number}"));
    while entries.len() < length {
        entries.insert(names.next().unwrap(), json!(1));
    }
    Value::Object(entries)
}

//! Manifests, and places in them.

use serde_json::Value;

use super::rule::Step;

/// A step to a value that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Key {
    Name(String),
    /// A map's key, which the API server may write in brackets.
    Entry(String),
    Index(usize),
}

/// The place of a path in this manifest: of a list the last item, of a map the first text. None where the manifest has nothing there.
pub fn place(manifest: &Value, path: &[Step]) -> Option<Vec<Key>> {
    let mut keys = Vec::new();
    let mut here = manifest;
    for step in path {
        let key = match step {
            Step::Field(name) => Key::Name(name.clone()),
            Step::Item => Key::Index(here.as_array()?.len().checked_sub(1)?),
            Step::Entry => {
                let map = here.as_object()?;
                let first = map.iter().find(|(_, value)| value.is_string()).or_else(|| map.iter().next());
                Key::Entry(first?.0.clone())
            }
        };
        here = child(here, &key)?;
        keys.push(key);
    }
    Some(keys)
}

/// A place that is written out, as in `spec.slots[1].name`.
pub fn written(text: &str) -> Vec<Key> {
    let parts = text.split(['.', '[']).filter(|part| !part.is_empty());
    parts
        .map(|part| match part.strip_suffix(']') {
            Some(index) => Key::Index(index.parse().unwrap()),
            None => Key::Name(part.to_owned()),
        })
        .collect()
}

/// The place as the API server names it.
pub fn display(place: &[Key]) -> String {
    place.iter().fold(String::new(), |text, key| match key {
        Key::Name(name) | Key::Entry(name) if text.is_empty() => name.clone(),
        Key::Name(name) | Key::Entry(name) => text + "." + name,
        Key::Index(index) => format!("{text}[{index}]"),
    })
}

fn child<'a>(value: &'a Value, key: &Key) -> Option<&'a Value> {
    match key {
        Key::Name(name) | Key::Entry(name) => value.get(name),
        Key::Index(index) => value.get(index),
    }
}

pub fn get<'a>(manifest: &'a Value, place: &[Key]) -> Option<&'a Value> {
    place.iter().try_fold(manifest, child)
}

/// The manifest with another value at this place; null takes away what is there. Objects on the way are made.
pub fn with(manifest: &Value, place: &[Key], value: Value) -> Value {
    let mut changed = manifest.clone();
    let (last, way) = place.split_last().unwrap();
    let parent = way.iter().fold(&mut changed, |here, key| match key {
        Key::Name(name) | Key::Entry(name) => &mut here[name.as_str()],
        Key::Index(index) => &mut here[*index],
    });
    match last {
        Key::Name(name) | Key::Entry(name) if value.is_null() => {
            parent.as_object_mut().unwrap().remove(name);
        }
        Key::Index(index) if value.is_null() => {
            parent.as_array_mut().unwrap().remove(*index);
        }
        Key::Name(name) | Key::Entry(name) => parent[name.as_str()] = value,
        Key::Index(index) => match parent.as_array_mut() {
            Some(list) if *index == list.len() => list.push(value),
            _ => parent[*index] = value,
        },
    }
    changed
}

/// What is left when everything is taken away that the schema does not ask for.
pub fn minimal(value: &Value, schema: &Value) -> Value {
    if let (Value::Object(map), Some(properties)) = (value, schema["properties"].as_object()) {
        let required = |name: &String| schema["required"].as_array().is_some_and(|all| all.iter().any(|r| r == name));
        let kept = map.iter().filter(|(name, _)| required(name));
        return kept.map(|(name, value)| (name.clone(), minimal(value, &properties[name]))).collect();
    }
    match value {
        Value::Array(list) => list.iter().map(|item| minimal(item, &schema["items"])).collect(),
        other => other.clone(),
    }
}

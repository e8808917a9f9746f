//! What people wrote: valid manifests and pairs of neighbours, in `e2e/corpus`.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::manifest::{display, place, with, written};
use super::neighbour::Neighbours;
use super::rule::{Demand, Rule};

/// Changes of a manifest: a place such as `spec.slots[1].name`, and the value there or null to take it away.
type Changes = BTreeMap<String, Value>;

/// Neighbours of one rule of a kind.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Pair {
    /// Path of the rule, as in `spec.slots[].name`; empty for the whole object.
    #[serde(default)]
    at: String,
    /// Key word of the schema, or the message of a rule in CEL.
    rule: String,
    /// The base that it starts from, when not the first one.
    #[serde(default)]
    base: usize,
    /// Changes of the base that go before both neighbours.
    #[serde(default)]
    before: Changes,
    accepted: Vec<Changes>,
    refused: Vec<Changes>,
}

/// Values on both sides of a pattern, wherever it stands.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct PatternPair {
    pattern: String,
    accepted: Vec<String>,
    refused: Vec<String>,
}

/// The corpus of one kind.
pub struct Corpus {
    /// Valid manifests, which together have something at every path.
    pub bases: Vec<Value>,
    pairs: Vec<Pair>,
    patterns: Vec<PatternPair>,
}

/// How a rule is judged that a person wrote neighbours for.
pub struct Handwritten {
    /// What is there before: the transition rules compare with it.
    pub before: Value,
    pub neighbours: Neighbours,
}

fn folder() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("corpus")
}

fn yaml<T: for<'de> Deserialize<'de>>(path: &Path) -> T {
    let text = fs::read_to_string(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    serde_saphyr::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

fn patterns() -> Vec<PatternPair> {
    yaml(&folder().join("patterns.yaml"))
}

/// Values of patterns that no kind has any more.
pub fn stale_patterns(rules: &[Rule]) -> Vec<String> {
    let has = |pattern: &str| rules.iter().any(|rule| matches!(&rule.demand, Demand::Pattern(p) if p == pattern));
    let stale = patterns().into_iter().filter(|pair| !has(&pair.pattern));
    stale.map(|pair| format!("patterns.yaml has {:?}, which is no pattern", pair.pattern)).collect()
}

impl Corpus {
    /// The corpus of this kind: `base*.yaml` and `pairs.yaml` in its folder, and the patterns of all kinds.
    pub fn read(singular: &str) -> Self {
        let folder = folder().join(singular);
        let entries = fs::read_dir(&folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
        let mut files: Vec<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
        files.sort();
        let is_base = |path: &&PathBuf| path.file_name().unwrap().to_str().unwrap().starts_with("base");
        let bases = files.iter().filter(is_base).map(|path| yaml(path)).collect();
        let pairs = folder.join("pairs.yaml");
        let pairs = if pairs.exists() { yaml(&pairs) } else { Vec::new() };
        Self { bases, pairs, patterns: patterns() }
    }

    /// The neighbours that somebody wrote for this rule.
    pub fn pair(&self, rule: &Rule) -> Option<Handwritten> {
        if let Some(pair) = self.pairs.iter().find(|pair| pair.rule == rule.name() && pair.at == rule.at()) {
            return Some(pair.neighbours(rule, &self.bases));
        }
        let Demand::Pattern(pattern) = &rule.demand else { return None };
        let pair = self.patterns.iter().find(|pair| pair.pattern == *pattern)?;
        let (base, place) = self.bases.iter().find_map(|base| Some((base, place(base, &rule.path)?)))?;
        let put = |text: &String| with(base, &place, Value::String(text.clone()));
        let neighbours = Neighbours {
            accepted: pair.accepted.iter().map(put).collect(),
            refused: pair.refused.iter().map(|text| (put(text), display(&place))).collect(),
        };
        Some(Handwritten { before: base.clone(), neighbours })
    }

    /// Pairs that belong to no rule any more.
    pub fn stale(&self, rules: &[Rule]) -> Vec<String> {
        let stale = |pair: &&Pair| !rules.iter().any(|rule| pair.rule == rule.name() && pair.at == rule.at());
        let words = |pair: &Pair| format!("pairs.yaml has {:?} of `{}`, which is no rule", pair.rule, pair.at);
        self.pairs.iter().filter(stale).map(words).collect()
    }
}

impl Pair {
    fn neighbours(&self, rule: &Rule, bases: &[Value]) -> Handwritten {
        let before = changed(&bases[self.base], &self.before);
        let refused = self.refused.iter().map(|changes| {
            let manifest = changed(&before, changes);
            let field = match &rule.demand {
                Demand::Cel { field, .. } => display(&place(&manifest, &rule.path).unwrap_or_default()) + field,
                _ => changes.keys().next().unwrap().clone(),
            };
            (manifest, field)
        });
        let neighbours = Neighbours {
            accepted: self.accepted.iter().map(|changes| changed(&before, changes)).collect(),
            refused: refused.collect(),
        };
        Handwritten { before, neighbours }
    }
}

fn changed(manifest: &Value, changes: &Changes) -> Value {
    changes.iter().fold(manifest.clone(), |all, (place, value)| with(&all, &written(place), value.clone()))
}

//! What the documentation says, held against the types: examples parse, fields and reasons are there, links lead somewhere.

use std::fs;
use std::path::{Path, PathBuf};

use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::{ConditionType, Reason};
use kalong_crds::schema::crd_documents;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;

use crate::words::{self, Entry, Language};

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// Every Markdown page that this part of the project keeps.
fn pages() -> Vec<PathBuf> {
    let docs = root().join("docs");
    let mut pages = vec![root().join("README.md"), root().join("charts/README.md")];
    for folder in [docs.clone(), docs.join("kinds"), docs.join("decisions")] {
        pages.extend(
            fs::read_dir(folder)
                .unwrap()
                .map(|e| e.unwrap().path())
                .filter(|p| p.extension().is_some_and(|e| e == "md")),
        );
    }
    pages.sort();
    pages
}

fn yaml_blocks(text: &str) -> Vec<String> {
    text.split("```yaml\n")
        .skip(1)
        .filter_map(|rest| rest.split_once("```"))
        .map(|(block, _)| block.to_owned())
        .collect()
}

/// Whether the types carry everything that is written, with the values that are written.
fn kept(written: &Value, kept_by_types: &Value) -> bool {
    match (written, kept_by_types) {
        (Value::Object(written), Value::Object(have)) => {
            written.iter().all(|(key, value)| have.get(key).is_some_and(|h| kept(value, h)))
        }
        (Value::Array(written), Value::Array(have)) => {
            written.len() == have.len() && written.iter().zip(have).all(|(w, h)| kept(w, h))
        }
        (written, have) => written == have,
    }
}

fn round<T: DeserializeOwned + Serialize>(value: &Value) -> Result<Value, serde_json::Error> {
    serde_json::to_value(serde_json::from_value::<T>(value.clone())?)
}

/// The object as its type writes it again; none if it is no kind of Kalong.
fn typed(value: &Value) -> Option<Result<Value, serde_json::Error>> {
    macro_rules! round_each {
        ($($kind:ident { $($facts:tt)* })+) => {
            match value.get("kind")?.as_str()? {
                $(stringify!($kind) => Some(round::<kalong_crds::$kind>(value)),)+
                _ => None,
            }
        };
    }
    kalong_crds::for_each_kind!(round_each)
}

#[test]
fn every_example_is_what_the_types_say() {
    let mut seen = 0;
    for page in pages() {
        for block in yaml_blocks(&fs::read_to_string(&page).unwrap()) {
            for value in serde_saphyr::from_multiple::<Value>(&block).unwrap() {
                let Some(typed) = typed(&value) else { continue };
                let typed = typed.unwrap_or_else(|e| panic!("{}: {e}\n{block}", page.display()));
                assert!(
                    kept(&value, &typed),
                    "{}: a field of this example is not in the type\n{block}",
                    page.display()
                );
                seen += 1;
            }
        }
    }
    assert!(seen >= 11, "only {seen} examples were found");
}

/// The page of a kind: its name in lower case.
fn page_of(kind: &str) -> String {
    let name = kind.to_lowercase();
    let page = root().join("docs/kinds").join(format!("{name}.md"));
    fs::read_to_string(page).unwrap_or_else(|_| panic!("no page of {kind} in docs/kinds: write {name}.md"))
}

#[test]
fn the_page_of_a_kind_names_every_field_and_condition() {
    for crd in crd_documents().unwrap() {
        let kind = crd.pointer("/spec/names/kind").and_then(Value::as_str).unwrap();
        let page = page_of(kind);
        let fields = crd.pointer("/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties").unwrap();
        for field in fields.as_object().unwrap().keys() {
            assert!(page.contains(&format!("| `{field}` |")), "docs/kinds/{kind}.md has no row for `{field}`");
        }
        for part in ["## Example", "## Writing a spec", "## Status and conditions", "## Common tasks"] {
            assert!(page.contains(part), "docs/kinds/{kind}.md has no part `{part}`");
        }
    }
}

#[test]
fn a_word_of_a_condition_table_is_one_of_the_code() {
    let known = |word: &str| {
        Reason::ALL.iter().any(|r| r.as_str() == word) || ConditionType::ALL.iter().any(|c| c.as_str() == word)
    };
    for page in fs::read_dir(root().join("docs/kinds")).unwrap().map(|e| e.unwrap().path()) {
        let text = fs::read_to_string(&page).unwrap();
        let (_, rest) = text.split_once("| condition | True | not True |").unwrap();
        for line in rest.lines().skip(2).take_while(|line| line.starts_with('|')) {
            for word in line.split('`').skip(1).step_by(2) {
                assert!(known(word), "{}: `{word}` is neither a condition nor a reason", page.display());
            }
        }
    }
}

/// The page of the words in one language.
fn reasons(language: Language) -> String {
    let (mut text, waits) = match language {
        Language::En => (
            "# Reasons\n\nEvery word that can stand as `reason` of a condition or an Event: what it means and what to do. `kubectl kalong why` says the same\n\
             of one object. [Tiếng Việt](reasons.vi.md). Generated from `crds/src/condition.rs` and `kubectl-kalong/src/words` by\n\
             `UPDATE_GOLDEN=1 cargo test -p kubectl-kalong --test docs`.\n\n| reason | meaning | what to do |\n| --- | --- | --- |\n"
                .to_owned(),
            "\n## What can be waited for\n\nEvery word that can stand as `blockedBy[].code`.\n\n| code | meaning | what to do |\n| --- | --- | --- |\n",
        ),
        Language::Vi => (
            "# Lý do\n\nMọi từ có thể là `reason` của một điều kiện (condition) hoặc sự kiện (Event): nghĩa là gì và cần làm gì. `kubectl kalong why --lang vi`\n\
             nói điều đó cho từng đối tượng. [English](reasons.md). Được tạo từ `kubectl-kalong/src/words` bằng\n\
             `UPDATE_GOLDEN=1 cargo test -p kubectl-kalong --test docs`.\n\n| lý do | nghĩa là | cần làm |\n| --- | --- | --- |\n"
                .to_owned(),
            "\n## Điều có thể phải chờ\n\nMọi từ có thể là `blockedBy[].code`.\n\n| mã | nghĩa là | cần làm |\n| --- | --- | --- |\n",
        ),
    };
    let mut sorted: Vec<&Reason> = Reason::ALL.iter().collect();
    sorted.sort_by_key(|r| r.as_str());
    for reason in sorted {
        let Entry { means, todo } = words::reason(language, *reason).unwrap();
        text.push_str(&format!("| `{reason}` | {means} | {todo} |\n"));
    }
    text.push_str(waits);
    for code in codes() {
        let Entry { means, todo } = words::code(language, code).unwrap();
        text.push_str(&format!("| `{code:?}` | {means} | {todo} |\n"));
    }
    text
}

/// Every word of `blockedBy[].code`, as the API has it.
fn codes() -> Vec<BlockCode> {
    let path =
        "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/blockedBy/items/properties/code/enum";
    let crds = crd_documents().unwrap();
    let words = crds.iter().find_map(|crd| crd.pointer(path).and_then(Value::as_array)).unwrap();
    let mut codes: Vec<BlockCode> = words.iter().map(|w| serde_json::from_value(w.clone()).unwrap()).collect();
    codes.sort_by_key(|code| format!("{code:?}"));
    codes
}

#[test]
fn every_reason_is_listed_with_its_meaning() {
    for (file, language) in [("docs/reasons.md", Language::En), ("docs/reasons.vi.md", Language::Vi)] {
        let (text, path) = (reasons(language), root().join(file));
        if std::env::var_os("UPDATE_GOLDEN").is_some_and(|v| v == "1") {
            fs::write(&path, &text).unwrap();
        }
        assert!(fs::read_to_string(&path).unwrap() == text, "{file} is not current: run with UPDATE_GOLDEN=1");
    }
}

#[test]
fn the_page_of_the_plugin_names_every_verb_and_shows_what_it_prints() {
    let page = fs::read_to_string(root().join("docs/plugin.md")).unwrap();
    for verb in ["status", "why", "doctor", "drain", "drain list", "drain release", "enrol", "release", "completion"] {
        assert!(page.contains(&format!("`kubectl kalong {verb}")), "docs/plugin.md does not name `{verb}`");
    }
    let golden = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/golden");
    for name in ["status-well.txt", "doctor-ill.txt", "why-lane-bl2-trad-04.en.txt", "why-lane-bl2-trad-04.vi.txt"] {
        let shown = fs::read_to_string(golden.join(name)).unwrap();
        assert!(page.contains(&shown), "docs/plugin.md does not show {name} as it is");
    }
}

#[test]
fn every_link_leads_somewhere() {
    for page in pages() {
        let text = fs::read_to_string(&page).unwrap();
        for target in text.split("](").skip(1).filter_map(|rest| rest.split_once(')')).map(|(target, _)| target) {
            let file = target.split('#').next().unwrap_or_default();
            if file.is_empty() || file.contains("://") {
                continue;
            }
            let path = page.parent().unwrap().join(file);
            assert!(path.exists(), "{}: {target} leads nowhere", page.display());
        }
    }
}

/// Every Rust source of the project, as one text a file.
fn sources(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()) {
        if entry.is_dir() {
            sources(&entry, found);
        } else if entry.extension().is_some_and(|extension| extension == "rs") {
            found.push(fs::read_to_string(entry).unwrap());
        }
    }
}

#[test]
fn every_promise_names_a_test_that_is_there() {
    let page = fs::read_to_string(root().join("docs/promises.md")).unwrap();
    let mut found = Vec::new();
    for folder in ["crds", "rules", "controllers", "operator", "edge-agent", "e2e"] {
        sources(&root().join(folder), &mut found);
    }
    let names: Vec<&str> = page.split('`').skip(1).step_by(2).collect();
    assert!(names.len() > 10, "{names:?}");
    let missing: Vec<&&str> =
        names.iter().filter(|name| !found.iter().any(|text| text.contains(&format!("fn {name}(")))).collect();
    assert!(missing.is_empty(), "no such test: {missing:?}");
}

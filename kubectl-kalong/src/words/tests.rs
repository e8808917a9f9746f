use kalong_crds::schema::crd_documents;
use serde_json::Value;

use super::*;

/// Every word of `blockedBy[].code`, as the API has it.
fn codes() -> Vec<BlockCode> {
    let crds = crd_documents().unwrap();
    let device = crds.iter().find(|c| c.pointer("/spec/names/kind") == Some(&"Device".into())).unwrap();
    let path =
        "/spec/versions/0/schema/openAPIV3Schema/properties/status/properties/blockedBy/items/properties/code/enum";
    let words = device.pointer(path).and_then(Value::as_array).unwrap();
    words.iter().map(|word| serde_json::from_value(word.clone()).unwrap()).collect()
}

fn judge(word: &str, english: Option<Entry>, vietnamese: Option<Entry>) -> Vec<String> {
    let mut wrong = Vec::new();
    let (Some(english), Some(vietnamese)) = (english, vietnamese) else {
        let missing = if english.is_none() { "words/en.rs" } else { "words/vi.rs" };
        return vec![format!("{word}: no entry in {missing}")];
    };
    for (part, en, vi) in [("means", english.means, vietnamese.means), ("todo", english.todo, vietnamese.todo)] {
        for (language, text) in [("en", en), ("vi", vi)] {
            if text.split_whitespace().count() < 2 || !text.ends_with(['.', '?']) {
                wrong.push(format!("{word}: {part} in {language} is no sentence: `{text}`"));
            }
        }
        if en == vi {
            wrong.push(format!("{word}: {part} is not translated"));
        }
        // Nearly every Vietnamese sentence has a letter that ASCII lacks: text typed without diacritics is hard to read.
        if vi.is_ascii() {
            wrong.push(format!("{word}: {part} in vi has no diacritics: `{vi}`"));
        }
    }
    wrong
}

#[test]
fn every_reason_is_explained_in_both_languages() {
    let wrong: Vec<String> = Reason::ALL
        .iter()
        .flat_map(|word| judge(word.as_str(), reason(Language::En, *word), reason(Language::Vi, *word)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn everything_that_can_be_waited_for_is_explained_in_both_languages() {
    let codes = codes();
    assert!(codes.len() > 10);
    let wrong: Vec<String> = codes
        .into_iter()
        .flat_map(|word| judge(&format!("{word:?}"), code(Language::En, word), code(Language::Vi, word)))
        .collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_word_is_explained_twice() {
    let mut seen: Vec<Reason> = en::REASONS.iter().map(|(word, _)| *word).collect();
    seen.sort();
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
    let mut seen: Vec<Reason> = vi::REASONS.iter().map(|(word, _)| *word).collect();
    seen.sort();
    assert!(seen.windows(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn language_follows_the_locale() {
    let of = |words: [Option<&str>; 3]| Language::of_locale(words.map(|w| w.map(str::to_owned)));
    assert_eq!(of([None, None, Some("vi_VN.UTF-8")]), Language::Vi);
    assert_eq!(of([Some("C"), None, Some("vi_VN.UTF-8")]), Language::En);
    assert_eq!(of([Some(""), Some("vi"), None]), Language::Vi);
    assert_eq!(of([None, None, None]), Language::En);
}

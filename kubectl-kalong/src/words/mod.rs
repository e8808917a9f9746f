//! What each word of a status means and what to do next, in the languages of the people who read it.
//!
//! The meaning in English is the documentation of the word itself (`crds/src/condition.rs`): one sentence in one place.

mod en;
mod vi;

use kalong_crds::blocked::BlockCode;
use kalong_crds::condition::Reason;

/// A language of the people at the gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Language {
    /// English
    En,
    /// Tiếng Việt
    Vi,
}

impl Language {
    /// The language of these variables, in the order in which POSIX obeys them; English where they say nothing.
    pub(crate) fn of_locale(words: impl IntoIterator<Item = Option<String>>) -> Self {
        let first = words.into_iter().flatten().find(|word| !word.is_empty()).unwrap_or_default();
        if first.to_ascii_lowercase().starts_with("vi") { Self::Vi } else { Self::En }
    }

    /// The language of this process.
    pub(crate) fn detect() -> Self {
        Self::of_locale(["LC_ALL", "LC_MESSAGES", "LANG"].map(|name| std::env::var(name).ok()))
    }
}

/// What a word means and what to do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Entry {
    /// What it means, as one sentence.
    pub(crate) means: &'static str,
    /// What somebody at the gate does next.
    pub(crate) todo: &'static str,
}

/// The entry of a reason, if it was written.
pub(crate) fn reason(language: Language, word: Reason) -> Option<Entry> {
    match language {
        Language::En => {
            let (_, todo) = en::REASONS.iter().find(|(w, _)| *w == word)?;
            Some(Entry { means: word.meaning().trim(), todo })
        }
        Language::Vi => vi::REASONS.iter().find(|(w, _)| *w == word).map(|(_, entry)| *entry),
    }
}

/// The entry of what is waited for, if it was written.
pub(crate) fn code(language: Language, word: BlockCode) -> Option<Entry> {
    let table = match language {
        Language::En => en::CODES,
        Language::Vi => vi::CODES,
    };
    table.iter().find(|(w, _)| *w == word).map(|(_, entry)| *entry)
}

/// What to do about a word that asks for nothing.
pub(crate) fn nothing(language: Language) -> &'static str {
    match language {
        Language::En => en::NOTHING,
        Language::Vi => vi::NOTHING,
    }
}

#[cfg(test)]
mod tests;

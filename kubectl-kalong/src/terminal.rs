//! What people read beside the output: notes, warnings and errors on stderr, in colour only where a person looks.

use std::error::Error;
use std::io::{IsTerminal, Write};

/// Where messages to people go.
pub(crate) struct Terminal {
    colour: Colour,
}

/// Whether words may be coloured.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Colour {
    Allowed,
    Plain,
}

const RED: &str = "31";
const YELLOW: &str = "33";

impl Terminal {
    /// Colour only on a terminal, and never where `NO_COLOR` is set and not empty (no-color.org).
    pub(crate) fn detect() -> Self {
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty());
        let colour = if std::io::stderr().is_terminal() && !refused { Colour::Allowed } else { Colour::Plain };
        Self { colour }
    }

    pub(crate) fn note(&self, text: &str) {
        self.line(text);
    }

    pub(crate) fn warn(&self, text: &str) {
        self.line(&format!("{} {text}", self.paint(YELLOW, "warning:")));
    }

    /// Why it was not done. The category stands in parentheses, for scripts; the causes follow, outermost first.
    pub(crate) fn error(&self, category: &str, error: &dyn Error) {
        self.line(&format!("{} {error}", self.paint(RED, &format!("error ({category}):"))));
        let mut shown = error.to_string();
        let mut cause = error.source();
        while let Some(inner) = cause {
            let text = inner.to_string();
            // Many libraries repeat their cause in their own sentence.
            if !shown.contains(&text) {
                self.line(&format!("  because: {}", printable(&text)));
                shown = text;
            }
            cause = inner.source();
        }
    }

    fn paint(&self, code: &str, word: &str) -> String {
        match self.colour {
            Colour::Allowed => format!("\u{1b}[{code}m{word}\u{1b}[0m"),
            Colour::Plain => word.to_owned(),
        }
    }

    fn line(&self, text: &str) {
        // Nobody is left to be told when stderr itself is gone.
        let _ = writeln!(std::io::stderr().lock(), "{text}");
    }
}

/// A text from elsewhere without control characters, so that it cannot steer a terminal.
pub(crate) fn printable(text: &str) -> String {
    text.chars().map(|c| if c.is_control() && c != '\n' { '\u{fffd}' } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_surrounds_a_word_only_where_it_is_allowed() {
        assert_eq!(Terminal { colour: Colour::Plain }.paint(RED, "x"), "x");
        assert_eq!(Terminal { colour: Colour::Allowed }.paint(RED, "x"), "\u{1b}[31mx\u{1b}[0m");
    }

    #[test]
    fn foreign_text_cannot_steer_the_terminal() {
        assert_eq!(printable("a\u{1b}[2Jb\nc"), "a\u{fffd}[2Jb\nc");
    }
}

//! What people read on stdout: in colour and cut to the window on a terminal, plain and whole everywhere else.

use std::io::IsTerminal;

use crate::health::State;
use crate::terminal::printable;

/// Narrower than this a window shows nothing useful, and lines are left whole.
const NARROWEST: usize = 40;

/// Where text for people goes.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Screen {
    /// Columns of the window; none where nobody looks at a window.
    width: Option<usize>,
    colours: Colours,
}

/// Whether words may be coloured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Colours {
    Allowed,
    Plain,
}

/// How a part of a line is shown where colour is allowed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Paint {
    Plain,
    /// What matters in the line.
    Strong,
    /// What is there for completeness.
    Faint,
    State(State),
}

impl Paint {
    fn code(self) -> Option<&'static str> {
        match self {
            Self::Plain => None,
            Self::Strong => Some("1"),
            Self::Faint => Some("2"),
            Self::State(State::Well) => Some("32"),
            Self::State(State::Resting) => Some("2"),
            Self::State(State::Working) => Some("36"),
            Self::State(State::Warned | State::Unknown) => Some("33"),
            Self::State(State::Failing | State::Stuck) => Some("31"),
        }
    }
}

/// The sign of a state: it says without colour what the colour says.
pub(crate) fn sign(state: State) -> &'static str {
    match state {
        State::Well => "✓",
        State::Resting => "·",
        State::Working => "…",
        State::Warned => "!",
        State::Unknown => "?",
        State::Failing | State::Stuck => "✗",
    }
}

/// One line of text in parts.
#[derive(Clone, Debug, Default)]
pub(crate) struct Line {
    parts: Vec<(Paint, String)>,
}

impl Line {
    /// A line of plain text.
    pub(crate) fn of(text: impl Into<String>) -> Self {
        Self::default().and(text)
    }

    /// The line with more text.
    pub(crate) fn and(self, text: impl Into<String>) -> Self {
        self.with(Paint::Plain, text)
    }

    /// The line with more text, shown like this.
    pub(crate) fn with(mut self, paint: Paint, text: impl Into<String>) -> Self {
        // Messages come from devices and peers; none of them may steer a terminal or break the tree.
        self.parts.push((paint, printable(&text.into()).replace('\n', " ")));
        self
    }
}

impl Screen {
    /// The screen of this process: `NO_COLOR` and `TERM=dumb` are obeyed, and a pipe gets every character.
    pub(crate) fn detect() -> Self {
        let looked_at = std::io::stdout().is_terminal();
        let refused = std::env::var_os("NO_COLOR").is_some_and(|v| !v.is_empty())
            || std::env::var_os("TERM").is_some_and(|v| v == "dumb");
        Self {
            width: looked_at.then(terminal_size::terminal_size).flatten().map(|(width, _)| usize::from(width.0)),
            colours: if looked_at && !refused { Colours::Allowed } else { Colours::Plain },
        }
    }

    /// Plain and whole, as in a pipe.
    #[cfg(test)]
    pub(crate) fn pipe() -> Self {
        Self { width: None, colours: Colours::Plain }
    }

    /// A window of this width, without colour.
    #[cfg(test)]
    pub(crate) fn window(width: usize) -> Self {
        Self { width: Some(width), colours: Colours::Plain }
    }

    pub(crate) fn text(&self, lines: &[Line]) -> String {
        lines.iter().map(|line| self.line(line) + "\n").collect()
    }

    fn line(&self, line: &Line) -> String {
        let length: usize = line.parts.iter().map(|(_, text)| text.chars().count()).sum();
        let room = self.width.filter(|w| *w >= NARROWEST && length > *w);
        let mut left = room.map_or(length, |w| w - 1);
        let mut out = String::new();
        for (paint, text) in &line.parts {
            let shown: String = text.chars().take(left).collect();
            left = left.saturating_sub(shown.chars().count());
            out.push_str(&self.paint(*paint, &shown));
        }
        if room.is_some() {
            out.push('…');
        }
        // A pipe shall not carry blanks at the end of lines.
        out.trim_end().to_owned()
    }

    fn paint(&self, paint: Paint, text: &str) -> String {
        match (self.colours, paint.code()) {
            (Colours::Allowed, Some(code)) if !text.is_empty() => format!("\u{1b}[{code}m{text}\u{1b}[0m"),
            _ => text.to_owned(),
        }
    }

    /// A sentence in as many lines as the window needs, each behind its indent; one line where there is no window.
    pub(crate) fn wrapped(&self, first: &str, rest: &str, text: &str) -> Vec<Line> {
        let Some(width) = self.width.filter(|w| *w >= NARROWEST) else {
            return vec![Line::of(first).and(text)];
        };
        let room = width.saturating_sub(rest.chars().count()).max(NARROWEST / 2);
        let mut lines: Vec<String> = Vec::new();
        for word in text.split_whitespace() {
            match lines.last_mut() {
                Some(line) if line.chars().count() + 1 + word.chars().count() <= room => {
                    line.push(' ');
                    line.push_str(word);
                }
                _ => lines.push(word.to_owned()),
            }
        }
        let indent = |i: usize| if i == 0 { first } else { rest };
        lines.into_iter().enumerate().map(|(i, line)| Line::of(indent(i)).and(line)).collect()
    }
}

/// Rows in columns, each as wide as its widest cell.
pub(crate) fn table(rows: &[Vec<String>]) -> Vec<Line> {
    let columns = rows.iter().map(Vec::len).max().unwrap_or_default();
    let width = |i: usize| rows.iter().filter_map(|r| r.get(i)).map(|c| c.chars().count()).max().unwrap_or_default();
    let widths: Vec<usize> = (0..columns).map(width).collect();
    rows.iter()
        .map(|row| {
            let cells = row.iter().zip(&widths).map(|(cell, width)| format!("{cell:<width$}"));
            Line::of(cells.collect::<Vec<_>>().join("   ").trim_end())
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_cut_to_a_window_and_never_in_a_pipe() {
        let long = [Line::of("x".repeat(50))];
        assert_eq!(Screen::pipe().text(&long), "x".repeat(50) + "\n");
        assert_eq!(Screen::window(40).text(&long), "x".repeat(39) + "…\n");
        assert_eq!(Screen::window(50).text(&long), "x".repeat(50) + "\n");
        assert_eq!(Screen::window(10).text(&long), "x".repeat(50) + "\n");
    }

    #[test]
    fn colour_is_only_where_it_is_allowed() {
        let line = [Line::default().with(Paint::State(State::Failing), "bad")];
        assert_eq!(Screen::pipe().text(&line), "bad\n");
        let coloured = Screen { width: None, colours: Colours::Allowed };
        assert_eq!(coloured.text(&line), "\u{1b}[31mbad\u{1b}[0m\n");
    }

    #[test]
    fn foreign_text_stays_in_its_line() {
        assert_eq!(Screen::pipe().text(&[Line::of("a\n\u{1b}[2Jb")]), "a \u{fffd}[2Jb\n");
    }

    #[test]
    fn sentences_wrap_in_a_window_only() {
        let sentence = "Look at the box at the gate and at its power supply";
        assert_eq!(Screen::pipe().wrapped("- ", "  ", sentence).len(), 1);
        let wrapped = Screen::window(40).wrapped("- ", "  ", sentence);
        assert_eq!(Screen::window(40).text(&wrapped), "- Look at the box at the gate and at its\n  power supply\n");
    }
}

//! What a probe found, and how it is printed.

use std::io::{self, Write};

/// How one check of the list ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// The device does what the check asks for.
    Passed,
    /// The device does something else, as the text describes.
    Failed(String),
    /// The check does not apply, for the reason in the text.
    Skipped(String),
}

/// One line of the list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Check {
    /// The expectation, as a sentence.
    pub name: &'static str,
    /// Whether the device meets it.
    pub outcome: Outcome,
}

/// Whether lines carry ANSI colours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Paint {
    /// Colours, for output to a terminal.
    Colours,
    /// For a file, and wherever `NO_COLOR` is set.
    Plain,
}

/// All checks that were made.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Report {
    /// The checks in the order in which they were made.
    pub checks: Vec<Check>,
}

impl Check {
    /// Prints the check as one line.
    ///
    /// # Errors
    /// As the writer.
    pub fn print(&self, out: &mut impl Write, paint: Paint) -> io::Result<()> {
        let (mark, colour, why) = match &self.outcome {
            Outcome::Passed => ("✔", "32", None),
            Outcome::Failed(why) => ("✖", "31", Some(why)),
            Outcome::Skipped(why) => ("–", "2", Some(why)),
        };
        match paint {
            Paint::Colours => write!(out, "\x1b[{colour}m{mark}\x1b[0m {}", self.name)?,
            Paint::Plain => write!(out, "{mark} {}", self.name)?,
        }
        match why {
            Some(why) => writeln!(out, ": {why}"),
            None => writeln!(out),
        }
    }
}

impl Report {
    /// Whether the device conforms: no check failed.
    pub fn passed(&self) -> bool {
        self.failures() == 0
    }

    fn failures(&self) -> usize {
        self.checks.iter().filter(|check| matches!(check.outcome, Outcome::Failed(_))).count()
    }

    /// Prints the numbers of passed and failed checks.
    ///
    /// # Errors
    /// As the writer.
    pub fn print_summary(&self, out: &mut impl Write) -> io::Result<()> {
        let passed = self.checks.iter().filter(|check| check.outcome == Outcome::Passed).count();
        let skipped = self.checks.len() - passed - self.failures();
        match self.failures() {
            0 => writeln!(out, "The device conforms: {passed} passed, {skipped} not applicable."),
            failed => writeln!(
                out,
                "The device does not conform: {failed} failed, {passed} passed, {skipped} not applicable."
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_lines_carry_no_escape() {
        let report = Report {
            checks: vec![
                Check { name: "a", outcome: Outcome::Passed },
                Check { name: "b", outcome: Outcome::Failed("why".into()) },
                Check { name: "c", outcome: Outcome::Skipped("no".into()) },
            ],
        };
        let mut out = Vec::new();
        for check in &report.checks {
            check.print(&mut out, Paint::Plain).unwrap();
        }
        report.print_summary(&mut out).unwrap();
        let text = String::from_utf8(out).unwrap();
        assert_eq!(
            text,
            "✔ a\n✖ b: why\n– c: no\nThe device does not conform: 1 failed, 1 passed, 1 not applicable.\n"
        );
        assert!(!report.passed());
    }
}

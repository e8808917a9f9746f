//! What came of an expectation: whether it held, and the figures that show it.

use std::collections::BTreeMap;
use std::time::Duration;

use serde::Serialize;

/// Most problems that are printed of one expectation.
const SHOWN: usize = 8;

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum ExpectationOutcome {
    Held,
    Failed,
    /// It could not be looked at here.
    NotRun,
}

#[derive(Clone, Debug, Default)]
pub struct Finding {
    words: Vec<String>,
    measures: BTreeMap<&'static str, f64>,
    problems: Vec<String>,
}

impl Finding {
    /// Words with the measured figure in them.
    pub fn say(&mut self, words: impl Into<String>) {
        self.words.push(words.into());
    }

    pub fn measure(&mut self, name: &'static str, value: f64) {
        self.measures.insert(name, value);
    }

    pub fn count(&mut self, name: &'static str, value: usize) {
        self.measure(name, u32::try_from(value).map_or(f64::MAX, f64::from));
    }

    /// A length of time in seconds.
    pub fn seconds(&mut self, name: &'static str, value: Duration) {
        self.measure(name, value.as_secs_f64());
    }

    /// What must hold; otherwise this is the problem.
    pub fn require(&mut self, holds: bool, problem: impl FnOnce() -> String) {
        if !holds {
            self.problems.push(problem());
        }
    }

    /// Whether everything held so far.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.problems.is_empty()
    }
}

/// An expectation with what came of it, as printed and as written to the file.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ExpectationResult {
    /// Its number in the list of the demo.
    pub number: usize,
    pub title: &'static str,
    pub outcome: ExpectationOutcome,
    /// The measured figure in words.
    pub measured: String,
    pub figures: BTreeMap<&'static str, f64>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub problems: Vec<String>,
    /// How long it took to look.
    pub took_seconds: f64,
}

impl ExpectationResult {
    /// Of a look that came to an end.
    #[must_use]
    pub fn of(number: usize, title: &'static str, finding: Finding, took: Duration) -> Self {
        let Finding { words, measures, problems } = finding;
        let outcome = if problems.is_empty() { ExpectationOutcome::Held } else { ExpectationOutcome::Failed };
        let measured = words.join(", ");
        Self { number, title, outcome, measured, figures: measures, problems, took_seconds: took.as_secs_f64() }
    }

    /// Of one that was broken off.
    #[must_use]
    pub fn broken(number: usize, title: &'static str, why: String, took: Duration) -> Self {
        let finding = Finding { problems: vec![why], ..Finding::default() };
        Self::of(number, title, finding, took)
    }

    /// Of one that cannot be looked at here.
    #[must_use]
    pub fn not_run(number: usize, title: &'static str, why: &str) -> Self {
        let finding = Finding { words: vec![why.to_owned()], ..Finding::default() };
        Self { outcome: ExpectationOutcome::NotRun, ..Self::of(number, title, finding, Duration::ZERO) }
    }

    /// One line, and one more for each problem.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let mark = match self.outcome {
            ExpectationOutcome::Held => "✔",
            ExpectationOutcome::Failed => "✖",
            ExpectationOutcome::NotRun => "–",
        };
        let words = if self.measured.is_empty() { String::new() } else { format!(": {}", self.measured) };
        let aside = if self.outcome == ExpectationOutcome::NotRun { " (not run)" } else { "" };
        let mut lines =
            vec![format!("{mark} {} {}{aside}{words} [{:.1} s]", self.number, self.title, self.took_seconds)];
        lines.extend(self.problems.iter().take(SHOWN).map(|problem| format!("    {problem}")));
        if self.problems.len() > SHOWN {
            lines.push(format!("    ... and {} more", self.problems.len() - SHOWN));
        }
        lines
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_problem_fails_the_expectation_and_is_printed_below_its_line() {
        let mut finding = Finding::default();
        finding.say("311 of 311 Ready");
        finding.require(true, || unreachable!());
        assert!(finding.holds());
        finding.require(false, || "a camera is dark".into());
        let verdict = ExpectationResult::of(1, "all Ready", finding, Duration::from_secs(2));
        assert_eq!(verdict.outcome, ExpectationOutcome::Failed);
        assert_eq!(verdict.lines(), ["✖ 1 all Ready: 311 of 311 Ready [2.0 s]", "    a camera is dark"]);
    }
}

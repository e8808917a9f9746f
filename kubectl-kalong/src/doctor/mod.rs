//! `kubectl kalong doctor`: is the installation whole? It reads, and changes nothing.

mod field;
mod gather;
mod judge;
mod schema;
#[cfg(test)]
mod tests;

use clap::ValueEnum;
use serde::Serialize;

use crate::Outcome;
use crate::cluster::{ClusterError, ScopeArguments};
use crate::health::State;
use crate::output::{self, Format, OutputError};
use crate::runtime::{self, RuntimeError};
use crate::screen::{Line, Paint, Screen};

/// Check the installation: API server, CRDs, policy, operator, keys, agents and sites
///
/// Each line is OK, WARN or FAIL, with what to do. It only reads. The exit code is 1 when something FAILs.
#[derive(clap::Args)]
#[command(after_help = "Examples:\n  kubectl kalong doctor -A\n  kubectl kalong doctor -n mong-cai -o json\n\n\
    Exit codes: 0 nothing FAILs, 1 something does or could not be asked, 2 wrong arguments.")]
pub(crate) struct Arguments {
    /// Namespace of the operator
    #[arg(long, value_name = "NAMESPACE", default_value = "kalong-system")]
    operator_namespace: String,
    /// Form of the output; without it text
    #[arg(short, long, value_enum)]
    output: Option<Format>,
    #[command(flatten)]
    scope: ScopeArguments,
}

#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
pub(crate) enum DoctorError {
    #[error(transparent)]
    #[strum(transparent)]
    Cluster(#[from] ClusterError),
    /// The output cannot be written.
    #[error(transparent)]
    #[strum(transparent)]
    Output(#[from] OutputError),
    #[error(transparent)]
    #[strum(to_string = "machine")]
    Runtime(#[from] RuntimeError),
    /// The types have no schema.
    #[error("this plugin has no schema to compare with: install it anew")]
    #[strum(to_string = "internal")]
    Schema(#[from] serde_json::Error),
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "UPPERCASE")]
enum Verdict {
    Ok,
    Warn,
    Fail,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    check: &'static str,
    verdict: Verdict,
    says: String,
    /// What to do about it; empty when it is OK.
    #[serde(skip_serializing_if = "String::is_empty")]
    todo: String,
}

impl Check {
    fn ok(check: &'static str, says: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Ok, says: says.into(), todo: String::new() }
    }

    fn warn(check: &'static str, says: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Warn, says: says.into(), todo: todo.into() }
    }

    fn fail(check: &'static str, says: impl Into<String>, todo: impl Into<String>) -> Self {
        Self { check, verdict: Verdict::Fail, says: says.into(), todo: todo.into() }
    }
}

#[derive(Debug, Serialize)]
struct Report<'a> {
    verdict: Verdict,
    checks: &'a [Check],
}

pub(crate) fn run(arguments: Arguments) -> Result<Outcome, DoctorError> {
    let output = arguments.output;
    let evidence = runtime::run(gather::gather(arguments.scope, arguments.operator_namespace))??;
    let checks = judge::judge(&evidence)?;
    output::print(&report(&checks, output, &Screen::detect())?)?;
    Ok(if worst(&checks) == Verdict::Fail { Outcome::Failed } else { Outcome::Done })
}

fn worst(checks: &[Check]) -> Verdict {
    checks.iter().map(|c| c.verdict).max().unwrap_or(Verdict::Ok)
}

fn report(checks: &[Check], format: Option<Format>, screen: &Screen) -> Result<String, OutputError> {
    match format {
        Some(format) => output::document(format, &Report { verdict: worst(checks), checks }),
        None => Ok(screen.text(&lines(checks, screen))),
    }
}

fn lines(checks: &[Check], screen: &Screen) -> Vec<Line> {
    let width = checks.iter().map(|c| c.check.len()).max().unwrap_or_default();
    let mut lines = Vec::new();
    for Check { check, verdict, says, todo } in checks {
        let (word, state) = match verdict {
            Verdict::Ok => ("OK  ", State::Well),
            Verdict::Warn => ("WARN", State::Warned),
            Verdict::Fail => ("FAIL", State::Failing),
        };
        lines.push(Line::default().with(Paint::State(state), word).and(format!("  {check:<width$}  {says}")));
        if !todo.is_empty() {
            let indent = " ".repeat(width + 8);
            lines.extend(screen.wrapped(&indent, &indent, todo));
        }
    }
    let count = |verdict| checks.iter().filter(|c| c.verdict == verdict).count();
    lines.push(Line::default());
    lines.push(Line::of(format!(
        "{} OK, {} WARN, {} FAIL",
        count(Verdict::Ok),
        count(Verdict::Warn),
        count(Verdict::Fail)
    )));
    lines
}

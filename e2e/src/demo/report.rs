//! What the demo prints at its end, and writes for programs.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use serde::Serialize;

use super::finding::{ExpectationOutcome, ExpectationResult};
use crate::scenario::ScenarioError;

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Report {
    pub(super) held: bool,
    pub(super) preset: &'static str,
    pub(super) expectations: Vec<ExpectationResult>,
    /// Figures of the whole run.
    pub(super) figures: BTreeMap<&'static str, f64>,
}

impl Report {
    pub(super) fn of(
        preset: &'static str,
        expectations: Vec<ExpectationResult>,
        figures: BTreeMap<&'static str, f64>,
    ) -> Self {
        let held = expectations.iter().all(|verdict| verdict.outcome == ExpectationOutcome::Held);
        Self { held, preset, expectations, figures }
    }

    pub(super) fn write(&self, path: &Path) -> Result<(), ScenarioError> {
        let text = serde_json::to_string_pretty(self).map_err(|e| ScenarioError::shape("the report", e))?;
        fs::write(path, text + "\n").map_err(ScenarioError::file(format!("writing {}", path.display())))
    }

    pub(super) fn line(&self) -> String {
        let held = self.expectations.iter().filter(|verdict| verdict.outcome == ExpectationOutcome::Held).count();
        let all: Vec<String> = self.figures.iter().map(|(name, value)| format!("{name} {value:.1}")).collect();
        format!("{held} of {} expectations held. {}", self.expectations.len(), all.join(", "))
    }
}

//! One line of the tree, with what stands below it.

use jiff::Timestamp;
use kalong_crds::{Kind, Reference};
use serde::Serialize;

use super::Form;
use crate::health::{Finding, State};
use crate::moment::{ago, stamp};
use crate::screen::{Line, Paint, sign};

/// Names in a folded line that is not wide.
const NAMES: usize = 4;

/// How much a line says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Width {
    /// Folded lines say how many.
    Narrow,
    /// They say who, and devices stand by model.
    Wide,
}

impl Width {
    pub(super) fn of(form: Option<Form>) -> Self {
        match form {
            Some(Form::Wide) => Self::Wide,
            _ => Self::Narrow,
        }
    }
}

/// One line of the tree.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Node {
    /// The object, where the line is about one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) object: Option<Reference>,
    /// What is said of it.
    pub(super) text: String,
    /// How it stands; of several, the worst.
    pub(super) state: State,
    /// The names that share the line.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) names: Vec<String>,
    /// Whether the names are shown to people.
    #[serde(skip)]
    pub(super) naming: Naming,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(super) finding: Option<FindingRecord>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(super) children: Vec<Self>,
}

/// Which of the names that share a line people see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Naming {
    /// None: the count is enough.
    None,
    Some,
    All,
}

/// What a condition says, kept beyond the object.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct FindingRecord {
    pub(super) condition: String,
    pub(super) status: String,
    pub(super) reason: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    pub(super) message: String,
    #[serde(skip_serializing_if = "Option::is_none", serialize_with = "as_stamp")]
    pub(super) since: Option<Timestamp>,
}

fn as_stamp<S: serde::Serializer>(since: &Option<Timestamp>, serializer: S) -> Result<S::Ok, S::Error> {
    match since {
        Some(since) => serializer.serialize_str(&stamp(*since)),
        None => serializer.serialize_none(),
    }
}

impl From<&Finding<'_>> for FindingRecord {
    fn from(finding: &Finding<'_>) -> Self {
        Self {
            condition: finding.condition.to_owned(),
            status: finding.status.to_owned(),
            reason: finding.reason.to_owned(),
            message: finding.message.to_owned(),
            since: finding.since,
        }
    }
}

impl Node {
    pub(super) fn of(text: impl Into<String>, state: State) -> Self {
        Self {
            object: None,
            text: text.into(),
            state,
            names: Vec::new(),
            naming: Naming::None,
            finding: None,
            children: Vec::new(),
        }
    }

    /// The same with these lines below it.
    pub(super) fn over(mut self, children: Vec<Self>) -> Self {
        self.children = children;
        self
    }

    /// The line and all below it, drawn as a tree.
    pub(super) fn draw(&self, now: Timestamp) -> Vec<Line> {
        let mut lines = Vec::new();
        self.draw_under(Line::default(), "", now, &mut lines);
        lines
    }

    fn draw_under(&self, lead: Line, indent: &str, now: Timestamp, lines: &mut Vec<Line>) {
        lines.push(self.line(lead, now));
        let last = self.children.len().saturating_sub(1);
        for (i, child) in self.children.iter().enumerate() {
            let (branch, below) = if i == last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
            let lead = Line::default().with(Paint::Faint, format!("{indent}{branch}"));
            child.draw_under(lead, &format!("{indent}{below}"), now, lines);
        }
    }

    /// The line alone behind this lead.
    pub(super) fn line(&self, lead: Line, now: Timestamp) -> Line {
        let mut line = lead.with(Paint::State(self.state), format!("{} ", sign(self.state)));
        if let Some(object) = &self.object {
            line = line.with(Paint::Strong, object.to_string());
        }
        if !self.text.is_empty() {
            line = line.and(format!("{}{}", if self.object.is_some() { "  " } else { "" }, self.text));
        }
        line = match self.naming {
            _ if self.names.is_empty() => line,
            Naming::None => line,
            Naming::Some => line.with(Paint::Faint, format!(" ({})", some_names(&self.names))),
            Naming::All => line.with(Paint::Faint, format!(" ({})", self.names.join(", "))),
        };
        let Some(said) = &self.finding else { return line };
        line = line.and("  ").with(Paint::State(self.state), said.reason.clone());
        if let Some(since) = said.since {
            line = line.with(Paint::Faint, format!(" {}", ago(since, now)));
        }
        if said.message.is_empty() { line } else { line.and(format!(": {}", said.message)) }
    }
}

/// The first names, and how many there are besides.
pub(super) fn some_names(names: &[String]) -> String {
    let shown: Vec<&str> = names.iter().take(NAMES).map(String::as_str).collect();
    match names.len().saturating_sub(NAMES) {
        0 => shown.join(", "),
        more => format!("{} and {more} more", shown.join(", ")),
    }
}

/// A kind in the words of a sentence.
pub(super) fn noun(kind: Kind, count: usize) -> String {
    let (one, many) = match kind {
        Kind::Phase => ("phase", "phases"),
        Kind::Crossing => ("crossing", "crossings"),
        Kind::Lane => ("lane", "lanes"),
        Kind::LaneDrain => ("drain", "drains"),
        Kind::InspectionStation => ("station", "stations"),
        Kind::IGV => ("IGV", "IGVs"),
        Kind::BilateralLink => ("link", "links"),
        Kind::EdgeAgent => ("agent", "agents"),
        Kind::Device => ("device", "devices"),
        Kind::DeviceModel => ("model", "models"),
        Kind::FirmwareRelease => ("release", "releases"),
    };
    format!("{count} {}", if count == 1 { one } else { many })
}

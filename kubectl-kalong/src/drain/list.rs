//! The claims of a site.

use jiff::Timestamp;
use kalong_crds::LaneDrain;
use kalong_crds::condition::{ConditionType, Conditioned};
use kube::api::ListParams;
use kube::{Api, ResourceExt};
use serde::Serialize;

use super::progress::Progress;
use super::{DrainError, ListArguments};
use crate::Outcome;
use crate::cluster::{CallError, within};
use crate::moment::{ago, stamp};
use crate::output;
use crate::screen::{Line, Screen, table};
use crate::site::Scope;
use crate::status::Form;
use crate::terminal::Terminal;

pub(super) async fn run(arguments: ListArguments, terminal: &Terminal) -> Result<Outcome, DrainError> {
    let (client, scope) = arguments.scope.connect().await?;
    let drains: Api<LaneDrain> = match &scope {
        Scope::Site(namespace) => Api::namespaced(client, namespace),
        Scope::Everywhere => Api::all(client),
    };
    let list = within(drains.list(&ListParams::default())).await.map_err(CallError::of("list LaneDrains"))?;
    let mut drains = list.items;
    drains.sort_by_key(|d| (d.namespace(), d.metadata.creation_timestamp.as_ref().map(|t| t.0), d.name_any()));
    if let Some(format) = arguments.output.and_then(Form::document) {
        let drains: Vec<Row<'_>> = drains.iter().map(Row::of).collect();
        output::print(&output::document(format, &Drains { drains })?)?;
        return Ok(Outcome::Done);
    }
    if drains.is_empty() {
        terminal.note("Nothing is drained.");
        return Ok(Outcome::Done);
    }
    let wide = arguments.output == Some(Form::Wide);
    let lines = lines(&drains, &scope, if wide { Columns::Wide } else { Columns::Usual }, Timestamp::now());
    output::print(&Screen::detect().text(&lines))?;
    Ok(Outcome::Done)
}

/// Which columns the table has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Columns {
    Usual,
    Wide,
}

pub(super) fn lines(drains: &[LaneDrain], scope: &Scope, columns: Columns, now: Timestamp) -> Vec<Line> {
    let mut head = vec!["NAME", "TARGET", "CLASS", "REQUESTER", "ACCEPTED", "DRAINED", "LEFT", "AGE"];
    if *scope == Scope::Everywhere {
        head.insert(0, "NAMESPACE");
    }
    if columns == Columns::Wide {
        head.extend(["UNTIL", "REASON"]);
    }
    head.push("STATE");
    let mut rows = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for drain in drains {
        let spec = &drain.spec;
        let is = |kind| drain.condition(kind).map_or("Unknown".to_owned(), |c| c.status.clone());
        let age = drain.metadata.creation_timestamp.as_ref().map_or(String::new(), |t| ago(t.0, now));
        let mut row = vec![
            drain.name_any(),
            format!("{}/{}", spec.target.kind.as_str(), spec.target.name),
            spec.class.as_str().to_owned(),
            spec.requester.clone(),
            is(ConditionType::Accepted),
            is(ConditionType::Drained),
            drain.status.as_ref().map_or(String::new(), |s| s.remaining.to_string()),
            age,
        ];
        if *scope == Scope::Everywhere {
            row.insert(0, drain.namespace().unwrap_or_default());
        }
        if columns == Columns::Wide {
            row.extend([spec.deadline.clone().unwrap_or_else(|| "it is released".to_owned()), spec.reason.clone()]);
        }
        row.push(Progress::of(drain).sentence().to_owned());
        rows.push(row);
    }
    table(&rows)
}

#[derive(Debug, Serialize)]
pub(super) struct Drains<'a> {
    pub(super) drains: Vec<Row<'a>>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Row<'a> {
    namespace: String,
    name: String,
    target: String,
    class: &'static str,
    requester: &'a str,
    reason: &'a str,
    #[serde(skip_serializing_if = "Option::is_none")]
    created_at: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    accepted_at: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    empty_by: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    deadline: Option<&'a str>,
    drained: bool,
    remaining: i64,
    state: String,
}

impl<'a> Row<'a> {
    pub(super) fn of(drain: &'a LaneDrain) -> Self {
        let status = drain.status.as_ref();
        Self {
            namespace: drain.namespace().unwrap_or_default(),
            name: drain.name_any(),
            target: format!("{}/{}", drain.spec.target.kind.as_str(), drain.spec.target.name),
            class: drain.spec.class.as_str(),
            requester: &drain.spec.requester,
            reason: &drain.spec.reason,
            created_at: drain.metadata.creation_timestamp.as_ref().map(|t| stamp(t.0)),
            accepted_at: status.and_then(|s| s.accepted_at.as_deref()),
            empty_by: status.and_then(|s| s.empty_by.as_deref()),
            deadline: drain.spec.deadline.as_deref(),
            drained: drain.is(ConditionType::Drained),
            remaining: status.map_or(0, |s| s.remaining),
            state: Progress::of(drain).sentence().to_owned(),
        }
    }
}

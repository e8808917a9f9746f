//! One object: its conditions, what it waits for, what stands below it and beside it.

use jiff::Timestamp;
use kalong_crds::blocked::BlockedBy;
use kalong_crds::{Kind, Reference};
use serde::Serialize;

use super::fold::single;
use super::node::{Node, Width};
use super::relations::{Relation, related};
use super::tree::{crossing_node, stage};
use crate::moment::{ago, stamp};
use crate::screen::{Line, Paint, table};
use crate::site::Site;

/// All that is said of one object.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Page<'a> {
    namespace: &'a str,
    #[serde(flatten)]
    head: Node,
    conditions: Vec<ConditionRow<'a>>,
    #[serde(skip_serializing_if = "<[BlockedBy]>::is_empty")]
    blocked_by: &'a [BlockedBy],
    related: Vec<Related>,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct ConditionRow<'a> {
    #[serde(rename = "type")]
    kind: &'a str,
    status: &'a str,
    reason: &'a str,
    since: String,
    #[serde(skip)]
    at: Timestamp,
    #[serde(skip_serializing_if = "str::is_empty")]
    message: &'a str,
}

#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Related {
    relation: String,
    #[serde(flatten)]
    node: Node,
}

/// The page of an object, if the site has it.
pub(super) fn page<'a>(site: &'a Site, object: &Reference, width: Width) -> Option<Page<'a>> {
    let view = site.object(object)?;
    let mut head = single(site, &view);
    // The conditions say it in full.
    head.finding = None;
    head.children = match view.kind {
        Kind::Phase => stage(site, Some(object.name.clone()), width).children,
        Kind::Crossing => crossing_node(site, &object.name, &|_| true, width).children,
        _ => Vec::new(),
    };
    let conditions = view
        .conditions
        .iter()
        .map(|c| ConditionRow {
            kind: &c.type_,
            status: &c.status,
            reason: &c.reason,
            since: stamp(c.last_transition_time.0),
            at: c.last_transition_time.0,
            message: &c.message,
        })
        .collect();
    let related = related(site, &view, width).into_iter().map(|Relation { relation, node }| Related { relation, node });
    Some(Page { namespace: &site.namespace, head, conditions, blocked_by: view.blocked_by, related: related.collect() })
}

pub(super) fn lines(page: &Page<'_>, now: Timestamp) -> Vec<Line> {
    let mut lines = vec![page.head.line(Line::default(), now).with(Paint::Faint, format!("  in {}", page.namespace))];
    let rows: Vec<Vec<String>> = page
        .conditions
        .iter()
        .map(|c| [c.kind, c.status, c.reason, &ago(c.at, now), c.message].map(str::to_owned).to_vec())
        .map(|mut row| {
            row.insert(0, String::new());
            row
        })
        .collect();
    lines.extend(table(&rows));
    for wait in page.blocked_by {
        let since = wait.since.parse::<Timestamp>().map_or(String::new(), |since| format!(" {}", ago(since, now)));
        let until = wait.until.as_ref().map_or(String::new(), |until| format!(", until {until}"));
        lines.push(
            Line::of("   waits on ")
                .with(Paint::Strong, wait.subject.clone())
                .and(format!(" ({:?}){since}{until}: {}", wait.code, wait.message)),
        );
    }
    if !page.head.children.is_empty() {
        lines.push(Line::default());
        // The head stands above already.
        lines.extend(page.head.draw(now).into_iter().skip(1));
    }
    if !page.related.is_empty() {
        lines.push(Line::default());
        let width = page.related.iter().map(|r| r.relation.chars().count()).max().unwrap_or_default();
        for Related { relation, node } in &page.related {
            lines.push(node.line(Line::of(format!("   {relation:<width$}  ")), now));
        }
    }
    lines
}

//! What is wrong, roots first: what only follows from another problem is counted, not listed.

use kalong_crds::{Kind, Reference};
use std::collections::BTreeMap;

use serde::Serialize;

use super::node::{FindingRecord, Naming, Node, noun};
use crate::cause::followers;
use crate::health::{Health, State};
use crate::site::Site;

/// What is wrong in a site.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Problems {
    /// Where somebody should look, worst first.
    pub(super) problems: Vec<Problem>,
    /// What goes on or waits, and needs nobody yet.
    pub(super) under_way: Vec<Problem>,
    /// What only follows from these.
    pub(super) follow: Vec<Reference>,
}

/// One thing to say of one or several objects.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Problem {
    pub(super) objects: Vec<Reference>,
    pub(super) state: State,
    #[serde(flatten)]
    pub(super) said: FindingRecord,
}

pub(super) fn problems(site: &Site) -> Problems {
    let follows = followers(site);
    let mut found = Problems { problems: Vec::new(), under_way: Vec::new(), follow: Vec::new() };
    for view in site.objects() {
        let health = Health::of(&view);
        if health.state < State::Working {
            continue;
        }
        let object = view.reference();
        // A claim that waits is shown whatever it waits for: it is what people ask about.
        let asked_about = object.kind == Kind::LaneDrain && health.state == State::Working;
        if follows.get(&object) == Some(&true) && !asked_about {
            found.follow.push(object);
            continue;
        }
        let said = health.first().map_or_else(|| waiting(&view), FindingRecord::from);
        let list = if health.state.is_problem() { &mut found.problems } else { &mut found.under_way };
        let alike = |p: &&mut Problem| {
            p.state == health.state
                && p.said.reason == said.reason
                && p.objects.first().is_some_and(|o| {
                    o.kind == object.kind
                        && p.said.message.replace(&o.name, "") == said.message.replace(&object.name, "")
                })
        };
        match list.iter_mut().find(alike) {
            Some(problem) => problem.objects.push(object),
            None => list.push(Problem { objects: vec![object], state: health.state, said }),
        }
    }
    for list in [&mut found.problems, &mut found.under_way] {
        list.sort_by_key(|p| (std::cmp::Reverse(p.state), p.said.since));
    }
    found
}

/// An object whose conditions say nothing and that waits all the same.
fn waiting(view: &crate::site::ObjectView<'_>) -> FindingRecord {
    let wait = view.blocked_by.first();
    FindingRecord {
        condition: "Ready".to_owned(),
        status: "True".to_owned(),
        reason: wait.map(|w| format!("{:?}", w.code)).unwrap_or_default(),
        message: wait.map(|w| w.message.clone()).unwrap_or_default(),
        since: wait.and_then(|w| w.since.parse().ok()),
    }
}

impl Problem {
    /// The line of this problem.
    pub(super) fn node(&self) -> Node {
        let mut node = Node::of("", self.state);
        match self.objects.as_slice() {
            [one] => node.object = Some(one.clone()),
            several => {
                let kind = several.first().map_or(Kind::Device, |o| o.kind);
                node.text = noun(kind, several.len());
                node.names = several.iter().map(|o| o.name.clone()).collect();
                node.naming = Naming::Some;
            }
        }
        node.finding = Some(self.said.clone());
        node
    }
}

/// How many follow, by kind.
pub(super) fn counted(follow: &[Reference]) -> String {
    let mut counts: BTreeMap<Kind, usize> = BTreeMap::new();
    for object in follow {
        *counts.entry(object.kind).or_default() += 1;
    }
    counts.into_iter().map(|(kind, count)| noun(kind, count)).collect::<Vec<_>>().join(", ")
}

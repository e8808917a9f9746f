//! The sites: agents, certificates, orphans, phases, and what needs a person. Pure.

use jiff::{SignedDuration, Timestamp};
use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::{EdgeAgent, Phase};
use kube::ResourceExt;

use super::Check;
use super::gather::{Evidence, Lookup};
use crate::health::{Health, State};
use crate::site::{ObjectView, Site};

/// So many names in a line.
const NAMES: usize = 5;

pub(super) fn judge(evidence: &Evidence) -> Vec<Check> {
    let sites = match &evidence.sites {
        Lookup::There(sites) => sites.as_slice(),
        Lookup::Absent => &[],
        Lookup::Hidden(why) => {
            return vec![Check::warn(
                "sites",
                why.clone(),
                "Name a site that you may read with -n, once the kinds are there.",
            )];
        }
    };
    let mut checks = Vec::new();
    if !evidence.skipped.is_empty() {
        let kinds: Vec<String> = evidence.skipped.iter().map(|u| format!("{} ({})", u.kind, u.why)).collect();
        checks.push(Check::warn(
            "sites",
            format!("left out: {}", kinds.join(", ")),
            "Ask for the right to list these kinds.",
        ));
    } else {
        let objects: usize = sites.iter().map(|site| site.objects().count()).sum();
        let names: Vec<&str> = sites.iter().map(|s| s.namespace.as_str()).collect();
        checks.push(Check::ok("sites", format!("{objects} objects in {}", shown(&names))));
    }
    checks.push(agents(sites));
    checks.push(certificates(sites, evidence.now));
    checks.push(orphans(sites));
    checks.push(phases(sites));
    checks.push(stalled(sites));
    checks
}

fn shown<T: AsRef<str>>(names: &[T]) -> String {
    let first: Vec<&str> = names.iter().take(NAMES).map(AsRef::as_ref).collect();
    match names.len().saturating_sub(NAMES) {
        0 if names.is_empty() => "no namespace".to_owned(),
        0 => first.join(", "),
        more => format!("{} and {more} more", first.join(", ")),
    }
}

/// The name of an object with its site.
fn full(site: &Site, name: &str) -> String {
    format!("{}/{name}", site.namespace)
}

/// Agents that take part, each with its site.
fn live(sites: &[Site]) -> impl Iterator<Item = (&Site, &EdgeAgent)> {
    let rests =
        |agent: &EdgeAgent| agent.spec.suspend || agent.reason(ConditionType::Ready) == Reason::Planned.as_str();
    sites.iter().flat_map(move |site| site.agents.objects().filter(move |a| !rests(a)).map(move |agent| (site, agent)))
}

fn agents(sites: &[Site]) -> Check {
    const NAME: &str = "agents";
    let all: Vec<_> = live(sites).collect();
    let (connected, others): (Vec<_>, Vec<_>) = all.iter().partition(|(_, a)| a.is(ConditionType::Connected));
    let enrolled = |agent: &EdgeAgent| agent.status.as_ref().is_some_and(|s| s.certificate.is_some());
    let (silent, new): (Vec<_>, Vec<_>) = others.into_iter().partition(|(_, a)| enrolled(a));
    let says = format!("{} of {} connected", connected.len(), all.len());
    let names = |list: &[(&Site, &EdgeAgent)]| {
        shown(&list.iter().map(|(site, a)| full(site, &a.name_any())).collect::<Vec<_>>())
    };
    if !silent.is_empty() {
        let says = format!("{says}; silent: {}", names(&silent));
        return Check::fail(
            NAME,
            says,
            "Look at these boxes, their power and their uplink; their gates go on by themselves meanwhile.",
        );
    }
    if !new.is_empty() {
        let says = format!("{says}; never enrolled: {}", names(&new));
        return Check::warn(
            NAME,
            says,
            "Run `kubectl kalong enrol <agent>` for each, and the printed command on its box.",
        );
    }
    Check::ok(NAME, says)
}

fn certificates(sites: &[Site], now: Timestamp) -> Check {
    const NAME: &str = "certificates";
    let mut ended = Vec::new();
    let mut ending = Vec::new();
    let mut count = 0_usize;
    for (site, agent) in live(sites) {
        let Some(certificate) = agent.status.as_ref().and_then(|s| s.certificate.as_ref()) else { continue };
        let Ok(end) = certificate.not_after.parse::<Timestamp>() else { continue };
        count += 1;
        let left = end.duration_since(now);
        // Renewal is due at two thirds of the life; at five sixths something hinders it.
        let margin = SignedDuration::from_hours(agent.spec.enrolment.validity_hours / 6);
        if left.is_negative() || left.is_zero() {
            ended.push(full(site, &agent.name_any()));
        } else if left < margin {
            ending.push(full(site, &agent.name_any()));
        }
    }
    if !ended.is_empty() {
        let todo = "Enrol these boxes again: `kubectl kalong enrol <agent>`.";
        return Check::fail(NAME, format!("ended: {}", shown(&ended)), todo);
    }
    if !ending.is_empty() {
        let todo = "Look whether these boxes are connected: they renew by themselves.";
        return Check::warn(NAME, format!("ending soon: {}", shown(&ending)), todo);
    }
    Check::ok(NAME, format!("{count} valid"))
}

fn orphans(sites: &[Site]) -> Check {
    const NAME: &str = "orphans";
    let found: Vec<String> = sites
        .iter()
        .flat_map(|site| {
            site.agents.objects().flat_map(move |agent| {
                let orphans = agent.status.as_ref().map(|s| s.orphans.as_slice()).unwrap_or_default();
                orphans.iter().map(move |orphan| format!("{orphan} on {}", full(site, &agent.name_any())))
            })
        })
        .collect();
    if found.is_empty() {
        return Check::ok(NAME, "no box holds what nobody declares");
    }
    let todo = "Declare these again if they belong here; to remove them, declare them and then delete them.";
    Check::warn(NAME, format!("{}: {}", found.len(), shown(&found)), todo)
}

fn phases(sites: &[Site]) -> Check {
    const NAME: &str = "phases";
    let all: Vec<(&Site, &Phase)> = sites.iter().flat_map(|s| s.phases.objects().map(move |p| (s, p))).collect();
    let refused: Vec<String> = all
        .iter()
        .filter(|(_, p)| p.condition(ConditionType::Stalled).is_some_and(|c| c.reason == Reason::GateRefused.as_str()))
        .map(|(site, phase)| {
            let gates = phase.status.as_ref().map(|s| s.gates.as_slice()).unwrap_or_default();
            let failed = gates.iter().filter(|g| g.result == kalong_crds::phase::GateVerdict::Failed);
            let failed: Vec<&str> = failed.map(|g| g.name.as_str()).collect();
            let wanted = phase.spec.state.as_str();
            format!("{} is refused {wanted} by {}", full(site, &phase.name_any()), failed.join(", "))
        })
        .collect();
    if !refused.is_empty() {
        let todo = "Bring what the gate misses (`kubectl kalong why phase/<name>`), or put `spec.state` back in Git.";
        return Check::warn(NAME, shown(&refused), todo);
    }
    let open = all.iter().filter(|(_, p)| p.status.as_ref().is_some_and(|s| s.state.is_in_service())).count();
    Check::ok(NAME, format!("{open} of {} in service, none refused", all.len()))
}

fn stalled(sites: &[Site]) -> Check {
    const NAME: &str = "stalled";
    let stuck = |view: &ObjectView<'_>| Health::of(view).state == State::Stuck;
    let found: Vec<String> = sites
        .iter()
        .flat_map(|site| site.objects().filter(stuck).map(|t| format!("{} in {}", t.reference(), site.namespace)))
        .collect();
    if found.is_empty() {
        return Check::ok(NAME, "nothing needs a person or a change of spec");
    }
    let todo = "Each needs a person or a change of spec: `kubectl kalong why KIND/NAME` says which.";
    Check::warn(NAME, format!("{}: {}", found.len(), shown(&found)), todo)
}

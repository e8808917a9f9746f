//! The gates of a Phase, judged. Pure.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use kalong_crds::phase::{Gate, GateResult, GateType, GateVerdict, PhaseState};

use super::inventory::Missing;
use super::members::Member;
use super::observe::{Before, Observed};
use crate::kit::life::LifecycleStage;

/// Objects that a message names; the others are counted.
const NAMED: usize = 8;
/// The bound of `status.gates`.
const GATES: usize = 40;

/// What was found at one gate.
#[derive(Clone, Debug)]
pub(super) struct Judged {
    pub(super) result: GateResult,
    /// On whom it waits, as `Kind/name`, and what that one can do.
    pub(super) waits: Vec<(String, String)>,
}

impl Judged {
    fn met(name: String) -> Self {
        Self { result: GateResult { name, result: GateVerdict::Met, message: String::new() }, waits: Vec::new() }
    }

    fn failed(name: String, message: String, waits: Vec<(String, String)>) -> Self {
        Self { result: GateResult { name, result: GateVerdict::Failed, message }, waits }
    }

    pub(super) fn is_met(&self) -> bool {
        self.result.result == GateVerdict::Met
    }
}

/// What was found at all gates, while the phase is in this state.
#[derive(Clone, Debug)]
pub(super) struct Gates {
    /// Phases before, legal basis, and the entry gates of the spec.
    pub(super) entry: Vec<Judged>,
    pub(super) exit: Vec<Judged>,
}

impl Gates {
    pub(super) fn judge(observed: &Observed, state: PhaseState) -> Self {
        let spec = &observed.phase.spec;
        let mut entry: Vec<Judged> = observed.before.iter().map(|(name, before)| after(name, *before)).collect();
        entry.extend(legal_basis(observed));
        entry.extend(spec.entry_gates.iter().map(|gate| declared(gate, observed, state)));
        Self { entry, exit: spec.exit_gates.iter().map(|gate| declared(gate, observed, state)).collect() }
    }

    /// One result a name, as the list in the status asks: of two with one name the one that fails.
    pub(super) fn results(&self) -> Vec<GateResult> {
        let mut results: Vec<GateResult> = Vec::new();
        for judged in self.entry.iter().chain(&self.exit) {
            match results.iter_mut().find(|known| known.name == judged.result.name) {
                Some(known) if known.result == GateVerdict::Met => *known = judged.result.clone(),
                Some(_) => {}
                None => results.push(judged.result.clone()),
            }
        }
        results.truncate(GATES);
        results
    }
}

fn after(phase: &str, before: Before) -> Judged {
    let (name, subject) = (format!("after-{phase}"), format!("Phase/{phase}"));
    let say = match before {
        Before::InForce(state) if state.is_in_service() => return Judged::met(name),
        Before::InForce(state) => format!("{subject} is {}: open it first.", state.as_str()),
        Before::Absent => format!("{subject} does not exist: declare it, or take it out of `spec.after`."),
    };
    Judged::failed(name, say.clone(), vec![(subject, say)])
}

/// The name of the gate that the legal basis makes.
const LEGAL_BASIS: &str = "legal-basis";

fn legal_basis(observed: &Observed) -> Option<Judged> {
    let basis = observed.phase.spec.legal_basis.as_ref()?;
    let Some(until) = &basis.valid_until else { return Some(Judged::met(LEGAL_BASIS.to_owned())) };
    let failed = |say: String| {
        let subject = format!("Document/{}", basis.document).chars().take(253).collect();
        Some(Judged::failed(LEGAL_BASIS.to_owned(), say.clone(), vec![(subject, say)]))
    };
    let Ok(last) = until.parse::<Date>() else {
        return failed(format!("`spec.legalBasis.validUntil` {until} is no day of the calendar: correct it."));
    };
    if observed.now.to_zoned(observed.zone()).date() <= last {
        Some(Judged::met(LEGAL_BASIS.to_owned()))
    } else {
        failed(format!("`{}` was in force until {last}: record the act that prolongs it.", basis.document))
    }
}

impl Observed {
    /// The zone in which days of the whole phase are meant: that of its first crossing.
    pub(super) fn zone(&self) -> TimeZone {
        let first = self.phase.spec.crossings.first();
        first.map_or(TimeZone::UTC, |crossing| self.zone_of(crossing.as_str()))
    }

    /// The zone of a crossing; UTC while it does not exist.
    pub(super) fn zone_of(&self, crossing: &str) -> TimeZone {
        self.zones.get(crossing).cloned().flatten().unwrap_or(TimeZone::UTC)
    }
}

fn declared(gate: &Gate, observed: &Observed, state: PhaseState) -> Judged {
    match gate.kind {
        GateType::Inventory => inventory(gate.name.as_str(), &observed.members, state),
    }
}

/// Why a member does not count while the phase is in this state; none when it does.
pub(super) fn missing(member: &Member, state: PhaseState) -> Missing {
    if LifecycleStage::of(state).is_live() {
        member.missing.clone()
    } else {
        Some(PhaseState::Planned.as_str().to_owned())
    }
}

fn inventory(name: &str, members: &[Member], state: PhaseState) -> Judged {
    let name = name.to_owned();
    if members.is_empty() {
        let say =
            "Nothing is declared for this phase: give the objects that belong to it this `spec.phase`.".to_owned();
        return Judged::failed(name, say, Vec::new());
    }
    let absent: Vec<(&Member, String)> =
        members.iter().filter_map(|member| missing(member, state).map(|why| (member, why))).collect();
    if absent.is_empty() {
        return Judged::met(name);
    }
    let subject = |member: &Member| format!("{}/{}", member.kind.as_str(), member.name);
    let planned = !LifecycleStage::of(state).is_live();
    let named: Vec<String> = absent
        .iter()
        .take(NAMED)
        .map(|(member, why)| if planned { subject(member) } else { format!("{} ({why})", subject(member)) })
        .collect();
    let rest = match absent.len().saturating_sub(NAMED) {
        0 => String::new(),
        more => format!(" and {more} more"),
    };
    let what_to_do =
        if planned { " Nothing of a Planned phase is contacted: set `spec.state` to Commissioning first." } else { "" };
    let say =
        format!("{} of {} objects are missing: {}{rest}.{what_to_do}", absent.len(), members.len(), named.join(", "));
    let waits =
        absent.iter().take(NAMED).map(|(member, why)| (subject(member), format!("Not proven: {why}."))).collect();
    Judged::failed(name, say, waits)
}

//! The gates of a Phase: which of them are met, and what the others wait for.

mod facts;
pub mod inventory;
mod members;
#[cfg(test)]
mod tests;

use jiff::civil::Date;
use kalong_crds::phase::{Gate, GateResult, GateType, GateVerdict, PhaseState};

use crate::lifecycle::LifecycleStage;

pub use facts::{GateFacts, Predecessor};
pub use inventory::Missing;
pub use members::{LaneClosure, Member, MemberKind, MemberLane, changes, closure_of, member_lanes, members};

/// Objects that a message names; the others are counted.
const NAMED: usize = 8;
/// The bound of `status.gates` in the schema.
const GATES: usize = 40;

/// One gate and whether it is met.
#[derive(Clone, Debug)]
pub struct JudgedGate {
    /// The entry of `status.gates`.
    pub result: GateResult,
    /// What it waits for, as `Kind/name`, and what to do about each.
    pub waits: Vec<(String, String)>,
}

impl JudgedGate {
    fn met(name: String) -> Self {
        Self { result: GateResult { name, result: GateVerdict::Met, message: String::new() }, waits: Vec::new() }
    }

    fn failed(name: String, message: String, waits: Vec<(String, String)>) -> Self {
        Self { result: GateResult { name, result: GateVerdict::Failed, message }, waits }
    }

    /// Whether it holds up nothing.
    pub fn is_met(&self) -> bool {
        self.result.result == GateVerdict::Met
    }
}

/// The gates of a phase, judged for one state of it.
#[derive(Clone, Debug)]
pub struct Gates {
    /// The phases before, in the order of the spec; then the legal basis and the entry gates of the spec.
    pub entry: Vec<JudgedGate>,
    /// The exit gates of the spec.
    pub exit: Vec<JudgedGate>,
}

impl Gates {
    /// Judges every gate as if the phase had this state in force: nothing of a Planned phase counts as proven.
    pub fn judge(facts: &GateFacts<'_>, state: PhaseState) -> Self {
        let spec = &facts.phase.spec;
        let mut entry: Vec<JudgedGate> = facts.before.iter().map(|(name, before)| after(name, *before)).collect();
        entry.extend(legal_basis(facts));
        entry.extend(spec.entry_gates.iter().map(|gate| declared(gate, facts, state)));
        Self { entry, exit: spec.exit_gates.iter().map(|gate| declared(gate, facts, state)).collect() }
    }

    /// The entries of `status.gates`: one a name, and of two with one name the one that fails.
    pub fn results(&self) -> Vec<GateResult> {
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

fn after(phase: &str, before: Predecessor) -> JudgedGate {
    let (name, subject) = (format!("after-{phase}"), format!("Phase/{phase}"));
    let say = match before {
        Predecessor::InForce(state) if state.is_in_service() => return JudgedGate::met(name),
        Predecessor::InForce(state) => format!("{subject} is {}: open it first.", state.as_str()),
        Predecessor::Absent => format!("{subject} does not exist: declare it, or take it out of `spec.after`."),
    };
    JudgedGate::failed(name, say.clone(), vec![(subject, say)])
}

/// Name of the gate that a legal basis with an end stands for.
const LEGAL_BASIS: &str = "legal-basis";

fn legal_basis(facts: &GateFacts<'_>) -> Option<JudgedGate> {
    let basis = facts.phase.spec.legal_basis.as_ref()?;
    let Some(until) = &basis.valid_until else { return Some(JudgedGate::met(LEGAL_BASIS.to_owned())) };
    let failed = |say: String| {
        let subject = format!("Document/{}", basis.document).chars().take(253).collect();
        Some(JudgedGate::failed(LEGAL_BASIS.to_owned(), say.clone(), vec![(subject, say)]))
    };
    let Ok(last) = until.parse::<Date>() else {
        return failed(format!("`spec.legalBasis.validUntil` {until} is no day of the calendar: correct it."));
    };
    if facts.now.to_zoned(facts.zone()).date() <= last {
        Some(JudgedGate::met(LEGAL_BASIS.to_owned()))
    } else {
        failed(format!("`{}` was in force until {last}: record the act that prolongs it.", basis.document))
    }
}

fn declared(gate: &Gate, facts: &GateFacts<'_>, state: PhaseState) -> JudgedGate {
    match gate.kind {
        GateType::Inventory => inventory(gate.name.as_str(), facts.members, state),
    }
}

/// Why a member does not count while the phase is in this state; none when it does.
pub fn missing(member: &Member, state: PhaseState) -> Missing {
    if LifecycleStage::of(state).is_live() {
        member.missing.clone()
    } else {
        Some(PhaseState::Planned.as_str().to_owned())
    }
}

fn inventory(name: &str, members: &[Member], state: PhaseState) -> JudgedGate {
    let name = name.to_owned();
    if members.is_empty() {
        let say =
            "Nothing is declared for this phase: give the objects that belong to it this `spec.phase`.".to_owned();
        return JudgedGate::failed(name, say, Vec::new());
    }
    let absent: Vec<(&Member, String)> =
        members.iter().filter_map(|member| missing(member, state).map(|why| (member, why))).collect();
    if absent.is_empty() {
        return JudgedGate::met(name);
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
    JudgedGate::failed(name, say, waits)
}

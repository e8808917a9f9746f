//! Where the readiness of an IGV is judged.

use kalong_crds::condition::{ConditionType, Judgement, Reason, Truth};
use kalong_crds::igv::{Laden, Side, VehicleConnection};
use kalong_crds::wire::reported::{IgvReport, ItemState};

use super::observe::Seen;
use crate::kit::life::Life;
use crate::kit::link::Hearing;
use crate::kit::readiness::{Verdict, carried, commissioning, first, ready};

/// Operating modes in which a vehicle takes orders (VDA 5050 2.1, 6.11).
const TAKES_ORDERS: [&str; 2] = ["AUTOMATIC", "SEMIAUTOMATIC"];

/// Objections that stand whatever an agent says.
pub(super) fn declared(seen: &Seen) -> Option<Verdict> {
    let spec = &seen.igv.spec;
    if seen.igv.metadata.deletion_timestamp.is_some() {
        let say = format!("Being removed: agent {} has to let go of it first.", spec.agent_ref);
        return Some(Verdict::Converging(Reason::Terminating, say));
    }
    if seen.life == Life::Planned {
        return Some(Verdict::Resting(Reason::Planned));
    }
    if spec.suspend {
        return Some(Verdict::Resting(Reason::Suspended));
    }
    if seen.life == Life::UnknownPhase {
        let phase = spec.phase.as_ref().map(|phase| phase.as_str()).unwrap_or_default();
        let say = format!(
            "Phase {phase} does not exist in this namespace: declare it; until then everything stays as it is."
        );
        return Some(Verdict::Stuck(Reason::UnknownPhase, say));
    }
    let missing = |kind: &str, name: &str, field: &str| {
        let say = format!("{kind} {name} does not exist in this namespace: declare it, or correct `{field}`.");
        Verdict::Stuck(Reason::MissingReference, say)
    };
    first([
        seen.agent_id.as_ref().err().map(|error| Verdict::Stuck(Reason::IdentityTooLong, error.to_string())),
        (!seen.twins.is_empty()).then(|| {
            let say = format!(
                "IGV {} declares the vehicle {} {} too: one vehicle is one IGV; remove all but one.",
                seen.twins.iter().take(8).cloned().collect::<Vec<_>>().join(", "),
                spec.vda5050.manufacturer,
                spec.vda5050.serial_number
            );
            Verdict::Stuck(Reason::InvalidSpec, say)
        }),
        seen.crossing.is_none().then(|| missing("Crossing", spec.crossing_ref.as_str(), "spec.crossingRef")),
        seen.agent.is_none().then(|| missing("EdgeAgent", spec.agent_ref.as_str(), "spec.agentRef")),
        spec.firmware
            .as_ref()
            .filter(|_| seen.release.is_none())
            .map(|firmware| missing("FirmwareRelease", firmware.release.as_str(), "spec.firmware.release")),
        seen.not_enrolled().then(|| {
            let say =
                format!("Agent {} has not enrolled: run `kubectl kalong enrol {}`.", spec.agent_ref, spec.agent_ref);
            Verdict::Converging(Reason::NotEnrolled, say)
        }),
    ])
}

/// Objections that rest on what the agent says. That the vehicle is away is none: what is declared is in force at its agent.
fn realised(seen: &Seen) -> Option<Verdict> {
    let agent = &seen.igv.spec.agent_ref;
    let report = match (seen.hearing(), &seen.report) {
        (Hearing::Silent, _) => {
            let say = format!(
                "Agent {agent} has been silent for longer than the grace time: look at the box, its power and its uplink."
            );
            return Some(Verdict::Unknown(Reason::AgentUnreachable, say));
        }
        (Hearing::Wait, _) => {
            return Some(Verdict::Converging(Reason::Applying, format!("Waiting to hear agent {agent}.")));
        }
        (Hearing::Heard, None) => {
            return Some(Verdict::Converging(Reason::Applying, format!("Agent {agent} is being told.")));
        }
        (Hearing::Heard, Some(report)) => report,
    };
    let confirmed = matches!(&seen.order, Some(Ok(item)) if item.hash == report.hash);
    let reason = |otherwise| Reason::parse(&report.reason).unwrap_or(otherwise);
    let broker = report.igv.as_ref().is_some_and(|igv| igv.broker);
    let differs =
        |judged: Judgement| (judged.status == Truth::False).then_some(Verdict::Stuck(judged.reason, judged.message));
    first([
        (!confirmed).then(|| {
            Verdict::Converging(Reason::Applying, format!("Waiting for agent {agent} to confirm what it was told."))
        }),
        (report.state == ItemState::Rejected)
            .then(|| Verdict::Stuck(reason(Reason::RejectedByAgent), report.message.clone())),
        (!broker).then(|| Verdict::Converging(Reason::FleetUnreachable, fleet(seen))),
        (report.state == ItemState::Failed)
            .then(|| Verdict::Converging(reason(Reason::FailedOnDevice), report.message.clone())),
        differs(maps(seen)),
        differs(firmware(seen)),
    ])
}

fn fleet(seen: &Seen) -> String {
    let spec = &seen.igv.spec;
    format!(
        "Agent {} does not reach the fleet's broker at {}: check the broker, the network between them and `broker.endpoint`.",
        spec.agent_ref, spec.broker.endpoint
    )
}

/// All conditions, in the order for readers.
pub(super) fn conditions(seen: &Seen, declared: Option<&Verdict>) -> Vec<Judgement> {
    let verdict = declared.cloned().or_else(|| realised(seen));
    let [is_ready, reconciling, stalled] = if seen.life == Life::Commissioning && !seen.igv.spec.suspend {
        commissioning(verdict.as_ref())
    } else {
        ready(verdict.as_ref())
    };
    vec![
        is_ready,
        available(seen),
        connected(seen),
        localised(seen),
        safe_to_change(seen),
        maps(seen),
        firmware(seen),
        reconciling,
        stalled,
    ]
}

/// A fact that rests on a report, or what to say without one.
fn fact(seen: &Seen, kind: ConditionType) -> Result<&IgvReport, Judgement> {
    if seen.life == Life::Planned {
        return Err(Judgement::unknown(kind, Reason::Planned, ""));
    }
    if seen.igv.spec.suspend {
        return Err(Judgement::unknown(kind, Reason::Suspended, ""));
    }
    match seen.hearing() {
        Hearing::Wait => Err(carried(seen.igv.as_ref(), kind)),
        Hearing::Silent => Err(Judgement::unknown(kind, Reason::AgentUnreachable, "")),
        Hearing::Heard => seen.heard().ok_or_else(|| Judgement::unknown(kind, Reason::Initializing, "")),
    }
}

/// A fact that rests on a fresh state of the vehicle.
fn fresh(seen: &Seen, kind: ConditionType) -> Result<&IgvReport, Judgement> {
    let report = fact(seen, kind)?;
    let connected = connected(seen);
    if connected.status == Truth::True { Ok(report) } else { Err(Judgement::unknown(kind, connected.reason, "")) }
}

fn connected(seen: &Seen) -> Judgement {
    let kind = ConditionType::Connected;
    let report = match fact(seen, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    if !report.broker {
        return Judgement::no(kind, Reason::FleetUnreachable, fleet(seen));
    }
    match report.connection {
        VehicleConnection::Unknown => Judgement::no(
            kind,
            Reason::VehicleNotSeen,
            "The vehicle was never heard on the fleet's broker: switch it on, or correct `vda5050` and `broker.interfaceName`.",
        ),
        VehicleConnection::Offline => {
            Judgement::no(kind, Reason::VehicleOffline, "The vehicle said goodbye to its fleet: it was switched off.")
        }
        VehicleConnection::Broken => Judgement::no(
            kind,
            Reason::VehicleConnectionBroken,
            "The vehicle's link to its fleet broke: look at its radio and where it stands.",
        ),
        VehicleConnection::Online if !report.fresh => Judgement::no(
            kind,
            Reason::StateStale,
            "The vehicle is connected and has sent no state for 45 s: look at the vehicle.",
        ),
        VehicleConnection::Online => Judgement::yes(kind, Reason::VehicleOnline),
    }
}

fn available(seen: &Seen) -> Judgement {
    let kind = ConditionType::Available;
    if seen.life == Life::Planned {
        return Judgement::no(kind, Reason::Planned, "");
    }
    if seen.igv.spec.suspend {
        return Judgement::no(kind, Reason::Suspended, "");
    }
    if seen.life == Life::Commissioning {
        return Judgement::no(kind, Reason::Commissioning, "");
    }
    let report = match fact(seen, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let connected = connected(seen);
    if connected.status != Truth::True {
        return Judgement { kind, ..connected };
    }
    if !report.errors.is_empty() {
        let say = format!("The vehicle reports {}: have it repaired.", report.errors.join(", "));
        return Judgement::no(kind, Reason::VehicleFaulty, say);
    }
    match report.operating_mode.as_deref() {
        Some(mode) if TAKES_ORDERS.contains(&mode) => {}
        Some(mode) => {
            return Judgement::no(
                kind,
                Reason::NotAutomatic,
                format!("The vehicle is in mode {mode}: set it to AUTOMATIC when nobody works on it."),
            );
        }
        None => return Judgement::unknown(kind, Reason::NotAutomatic, "The vehicle does not tell its mode."),
    }
    match report.localised {
        Some(true) => Judgement::yes(kind, Reason::Serving),
        Some(false) => Judgement { kind, ..localised(seen) },
        None => Judgement::unknown(kind, Reason::PositionLost, "The vehicle does not tell whether it knows its place."),
    }
}

fn localised(seen: &Seen) -> Judgement {
    let kind = ConditionType::Localised;
    match fresh(seen, kind).map(|report| report.localised) {
        Err(otherwise) => otherwise,
        Ok(Some(true)) => Judgement::yes(kind, Reason::PositionKnown),
        Ok(Some(false)) => Judgement::no(
            kind,
            Reason::PositionLost,
            "The vehicle does not know where it is: have it set on the map by somebody beside it.",
        ),
        Ok(None) => Judgement::unknown(kind, Reason::Initializing, "The vehicle does not tell its position."),
    }
}

fn safe_to_change(seen: &Seen) -> Judgement {
    let kind = ConditionType::SafeToChange;
    let report = match fresh(seen, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let spec = &seen.igv.spec;
    let mut lacks = Vec::new();
    if spec.change_at.nodes.is_empty() {
        lacks.push("no service node is declared in `changeAt.nodes`".to_owned());
    } else if !report.at_service {
        lacks.push(format!(
            "it does not stand idle at {} with {} % or more",
            spec.change_at.nodes.join(" or "),
            spec.change_at.min_charge
        ));
    }
    match report.laden {
        Laden::Empty => {}
        Laden::Laden => lacks.push("it carries a load".to_owned()),
        Laden::Unknown => lacks.push("it does not say whether it carries a load".to_owned()),
    }
    match report.side {
        Side::Domestic => {}
        Side::OnLine => lacks.push("it is on the line".to_owned()),
        Side::Foreign => lacks.push("it is on the other side".to_owned()),
        Side::Unknown if spec.zone_set.is_none() => lacks.push("no `zoneSet` tells its side of the line".to_owned()),
        Side::Unknown => lacks.push("it is in none of the zones".to_owned()),
    }
    if lacks.is_empty() {
        Judgement::yes(kind, Reason::AtServiceNode)
    } else {
        Judgement::no(kind, Reason::NotSafeToChange, format!("The vehicle may not be changed: {}.", lacks.join("; ")))
    }
}

fn maps(seen: &Seen) -> Judgement {
    let kind = ConditionType::MapsCurrent;
    let report = match fact(seen, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let wanted = &seen.igv.spec.maps;
    if wanted.is_empty() {
        return Judgement::yes(kind, Reason::NothingDeclared);
    }
    let Some(enabled) = &report.maps else {
        let connected = connected(seen);
        return if connected.status == Truth::True {
            Judgement::unknown(kind, Reason::Initializing, "The vehicle does not tell its maps.")
        } else {
            Judgement::unknown(kind, connected.reason, "")
        };
    };
    let lacking: Vec<_> = wanted
        .iter()
        .filter(|map| !enabled.contains(map))
        .map(|map| match enabled.iter().find(|other| other.name == map.name) {
            Some(other) => format!("{} {} is enabled instead of {}", map.name, other.version, map.version),
            None => format!("{} {} is not enabled", map.name, map.version),
        })
        .take(8)
        .collect();
    if lacking.is_empty() {
        Judgement::yes(kind, Reason::MapsEnabled)
    } else {
        let say = format!("{}: have the fleet's control enable it, or correct `spec.maps`.", lacking.join("; "));
        Judgement::no(kind, Reason::MapsDiffer, say)
    }
}

fn firmware(seen: &Seen) -> Judgement {
    let kind = ConditionType::FirmwareUpToDate;
    let report = match fact(seen, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let Some(wanted) = &seen.igv.spec.firmware else { return Judgement::yes(kind, Reason::NotDeclared) };
    let Some(release) = &seen.release else {
        return Judgement::no(
            kind,
            Reason::MissingReference,
            format!("FirmwareRelease {} does not exist in this namespace.", wanted.release),
        );
    };
    let version = &release.spec.version;
    if report.software.iter().any(|part| part.version == *version) {
        return Judgement::yes(kind, Reason::UpToDate);
    }
    if report.software.is_empty() {
        let connected = connected(seen);
        return match connected.status {
            Truth::True => Judgement::unknown(kind, Reason::Initializing, "The vehicle has not sent its factsheet."),
            Truth::False | Truth::Unknown => Judgement::unknown(kind, connected.reason, ""),
        };
    }
    let runs = report.software.iter().take(8).map(|part| format!("{} {}", part.name, part.version));
    Judgement::no(
        kind,
        Reason::WrongVersion,
        format!(
            "The vehicle runs {}; its maker's tool has to install {version} of release {}.",
            runs.collect::<Vec<_>>().join(", "),
            wanted.release
        ),
    )
}

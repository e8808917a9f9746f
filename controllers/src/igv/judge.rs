//! Where the readiness of an IGV is judged.

use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Reason};
use kalong_crds::igv::{Laden, Side, VehicleConnection};
use kalong_crds::wire::reported::{IgvReport, ItemState};

use super::observe::Observed;
use crate::kit::life::LifecycleStage;
use crate::kit::link::Liveness;
use crate::kit::readiness::{Readiness, carried, commissioning, first, ready};

/// Operating modes in which a vehicle takes orders (VDA 5050 2.1, 6.11).
const TAKES_ORDERS: [&str; 2] = ["AUTOMATIC", "SEMIAUTOMATIC"];

/// Objections that stand whatever an agent says.
pub(super) fn declared(observed: &Observed) -> Option<Readiness> {
    let spec = &observed.igv.spec;
    if observed.igv.metadata.deletion_timestamp.is_some() {
        let say = format!("Being removed: agent {} has to let go of it first.", spec.agent_ref);
        return Some(Readiness::Converging(Reason::Terminating, say));
    }
    if observed.life == LifecycleStage::Planned {
        return Some(Readiness::Resting(Reason::Planned));
    }
    if spec.suspend {
        return Some(Readiness::Resting(Reason::Suspended));
    }
    if observed.life == LifecycleStage::UnknownPhase {
        let phase = spec.phase.as_ref().map(|phase| phase.as_str()).unwrap_or_default();
        let say = format!(
            "Phase {phase} does not exist in this namespace: declare it; until then everything stays as it is."
        );
        return Some(Readiness::Stuck(Reason::UnknownPhase, say));
    }
    let missing = |kind: &str, name: &str, field: &str| {
        let say = format!("{kind} {name} does not exist in this namespace: declare it, or correct `{field}`.");
        Readiness::Stuck(Reason::MissingReference, say)
    };
    first([
        observed.agent_id.as_ref().err().map(|error| Readiness::Stuck(Reason::IdentityTooLong, error.to_string())),
        (!observed.twins.is_empty()).then(|| {
            let say = format!(
                "IGV {} declares the vehicle {} {} too: one vehicle is one IGV; remove all but one.",
                observed.twins.iter().take(8).cloned().collect::<Vec<_>>().join(", "),
                spec.vda5050.manufacturer,
                spec.vda5050.serial_number
            );
            Readiness::Stuck(Reason::InvalidSpec, say)
        }),
        observed.crossing.is_none().then(|| missing("Crossing", spec.crossing_ref.as_str(), "spec.crossingRef")),
        observed.agent.is_none().then(|| missing("EdgeAgent", spec.agent_ref.as_str(), "spec.agentRef")),
        spec.firmware
            .as_ref()
            .filter(|_| observed.release.is_none())
            .map(|firmware| missing("FirmwareRelease", firmware.release.as_str(), "spec.firmware.release")),
        observed.not_enrolled().then(|| {
            let say =
                format!("Agent {} has not enrolled: run `kubectl kalong enrol {}`.", spec.agent_ref, spec.agent_ref);
            Readiness::Converging(Reason::NotEnrolled, say)
        }),
    ])
}

/// Objections that rest on what the agent says. That the vehicle is away is none: what is declared is in force at its agent.
fn realised(observed: &Observed) -> Option<Readiness> {
    let agent = &observed.igv.spec.agent_ref;
    let report = match (observed.liveness(), &observed.report) {
        (Liveness::Lost, _) => {
            let say = format!(
                "Agent {agent} has been silent for longer than the grace time: look at the box, its power and its uplink."
            );
            return Some(Readiness::Unknown(Reason::AgentUnreachable, say));
        }
        (Liveness::Pending, _) => {
            return Some(Readiness::Converging(Reason::Applying, format!("Waiting to hear agent {agent}.")));
        }
        (Liveness::Live, None) => {
            return Some(Readiness::Converging(Reason::Applying, format!("Agent {agent} is being told.")));
        }
        (Liveness::Live, Some(report)) => report,
    };
    let confirmed = matches!(&observed.order, Some(Ok(item)) if item.hash == report.hash);
    let reason = |otherwise| Reason::parse(&report.reason).unwrap_or(otherwise);
    let broker = report.igv.as_ref().is_some_and(|igv| igv.broker);
    let differs = |judged: ConditionUpdate| {
        (judged.status == ConditionStatus::False).then_some(Readiness::Stuck(judged.reason, judged.message))
    };
    first([
        (!confirmed).then(|| {
            Readiness::Converging(Reason::Applying, format!("Waiting for agent {agent} to confirm what it was told."))
        }),
        (report.state == ItemState::Rejected)
            .then(|| Readiness::Stuck(reason(Reason::RejectedByAgent), report.message.clone())),
        (!broker).then(|| Readiness::Converging(Reason::FleetUnreachable, fleet(observed))),
        (report.state == ItemState::Failed)
            .then(|| Readiness::Converging(reason(Reason::FailedOnDevice), report.message.clone())),
        differs(maps(observed)),
        differs(firmware(observed)),
    ])
}

fn fleet(observed: &Observed) -> String {
    let spec = &observed.igv.spec;
    format!(
        "Agent {} does not reach the fleet's broker at {}: check the broker, the network between them and `broker.endpoint`.",
        spec.agent_ref, spec.broker.endpoint
    )
}

/// All conditions, in the order for readers.
pub(super) fn conditions(observed: &Observed, declared: Option<&Readiness>) -> Vec<ConditionUpdate> {
    let verdict = declared.cloned().or_else(|| realised(observed));
    let [is_ready, reconciling, stalled] =
        if observed.life == LifecycleStage::Commissioning && !observed.igv.spec.suspend {
            commissioning(verdict.as_ref())
        } else {
            ready(verdict.as_ref())
        };
    vec![
        is_ready,
        available(observed),
        connected(observed),
        localised(observed),
        safe_to_change(observed),
        maps(observed),
        firmware(observed),
        reconciling,
        stalled,
    ]
}

/// A fact that rests on a report, or what to say without one.
fn fact(observed: &Observed, kind: ConditionType) -> Result<&IgvReport, ConditionUpdate> {
    if observed.life == LifecycleStage::Planned {
        return Err(ConditionUpdate::unknown(kind, Reason::Planned, ""));
    }
    if observed.igv.spec.suspend {
        return Err(ConditionUpdate::unknown(kind, Reason::Suspended, ""));
    }
    match observed.liveness() {
        Liveness::Pending => Err(carried(observed.igv.as_ref(), kind)),
        Liveness::Lost => Err(ConditionUpdate::unknown(kind, Reason::AgentUnreachable, "")),
        Liveness::Live => observed.heard().ok_or_else(|| ConditionUpdate::unknown(kind, Reason::Initializing, "")),
    }
}

/// A fact that rests on a fresh state of the vehicle.
fn fresh(observed: &Observed, kind: ConditionType) -> Result<&IgvReport, ConditionUpdate> {
    let report = fact(observed, kind)?;
    let connected = connected(observed);
    if connected.status == ConditionStatus::True {
        Ok(report)
    } else {
        Err(ConditionUpdate::unknown(kind, connected.reason, ""))
    }
}

fn connected(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Connected;
    let report = match fact(observed, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    if !report.broker {
        return ConditionUpdate::no(kind, Reason::FleetUnreachable, fleet(observed));
    }
    match report.connection {
        VehicleConnection::Unknown => ConditionUpdate::no(
            kind,
            Reason::VehicleNotSeen,
            "The vehicle was never heard on the fleet's broker: switch it on, or correct `vda5050` and `broker.interfaceName`.",
        ),
        VehicleConnection::Offline => ConditionUpdate::no(
            kind,
            Reason::VehicleOffline,
            "The vehicle said goodbye to its fleet: it was switched off.",
        ),
        VehicleConnection::Broken => ConditionUpdate::no(
            kind,
            Reason::VehicleConnectionBroken,
            "The vehicle's link to its fleet broke: look at its radio and where it stands.",
        ),
        VehicleConnection::Online if !report.fresh => ConditionUpdate::no(
            kind,
            Reason::StateStale,
            "The vehicle is connected and has sent no state for 45 s: look at the vehicle.",
        ),
        VehicleConnection::Online => ConditionUpdate::yes(kind, Reason::VehicleOnline),
    }
}

fn available(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Available;
    if observed.life == LifecycleStage::Planned {
        return ConditionUpdate::no(kind, Reason::Planned, "");
    }
    if observed.igv.spec.suspend {
        return ConditionUpdate::no(kind, Reason::Suspended, "");
    }
    if observed.life == LifecycleStage::Commissioning {
        return ConditionUpdate::no(kind, Reason::Commissioning, "");
    }
    let report = match fact(observed, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let connected = connected(observed);
    if connected.status != ConditionStatus::True {
        return ConditionUpdate { kind, ..connected };
    }
    if !report.errors.is_empty() {
        let say = format!("The vehicle reports {}: have it repaired.", report.errors.join(", "));
        return ConditionUpdate::no(kind, Reason::VehicleFaulty, say);
    }
    match report.operating_mode.as_deref() {
        Some(mode) if TAKES_ORDERS.contains(&mode) => {}
        Some(mode) => {
            return ConditionUpdate::no(
                kind,
                Reason::NotAutomatic,
                format!("The vehicle is in mode {mode}: set it to AUTOMATIC when nobody works on it."),
            );
        }
        None => return ConditionUpdate::unknown(kind, Reason::NotAutomatic, "The vehicle does not tell its mode."),
    }
    match report.localised {
        Some(true) => ConditionUpdate::yes(kind, Reason::Serving),
        Some(false) => ConditionUpdate { kind, ..localised(observed) },
        None => ConditionUpdate::unknown(
            kind,
            Reason::PositionLost,
            "The vehicle does not tell whether it knows its place.",
        ),
    }
}

fn localised(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Localised;
    match fresh(observed, kind).map(|report| report.localised) {
        Err(otherwise) => otherwise,
        Ok(Some(true)) => ConditionUpdate::yes(kind, Reason::PositionKnown),
        Ok(Some(false)) => ConditionUpdate::no(
            kind,
            Reason::PositionLost,
            "The vehicle does not know where it is: have it set on the map by somebody beside it.",
        ),
        Ok(None) => ConditionUpdate::unknown(kind, Reason::Initializing, "The vehicle does not tell its position."),
    }
}

fn safe_to_change(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::SafeToChange;
    let report = match fresh(observed, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let spec = &observed.igv.spec;
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
        ConditionUpdate::yes(kind, Reason::AtServiceNode)
    } else {
        ConditionUpdate::no(
            kind,
            Reason::NotSafeToChange,
            format!("The vehicle may not be changed: {}.", lacks.join("; ")),
        )
    }
}

fn maps(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::MapsCurrent;
    let report = match fact(observed, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let wanted = &observed.igv.spec.maps;
    if wanted.is_empty() {
        return ConditionUpdate::yes(kind, Reason::NothingDeclared);
    }
    let Some(enabled) = &report.maps else {
        let connected = connected(observed);
        return if connected.status == ConditionStatus::True {
            ConditionUpdate::unknown(kind, Reason::Initializing, "The vehicle does not tell its maps.")
        } else {
            ConditionUpdate::unknown(kind, connected.reason, "")
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
        ConditionUpdate::yes(kind, Reason::MapsEnabled)
    } else {
        let say = format!("{}: have the fleet's control enable it, or correct `spec.maps`.", lacking.join("; "));
        ConditionUpdate::no(kind, Reason::MapsDiffer, say)
    }
}

fn firmware(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::FirmwareUpToDate;
    let report = match fact(observed, kind) {
        Err(otherwise) => return otherwise,
        Ok(report) => report,
    };
    let Some(wanted) = &observed.igv.spec.firmware else { return ConditionUpdate::yes(kind, Reason::NotDeclared) };
    let Some(release) = &observed.release else {
        return ConditionUpdate::no(
            kind,
            Reason::MissingReference,
            format!("FirmwareRelease {} does not exist in this namespace.", wanted.release),
        );
    };
    let version = &release.spec.version;
    if report.software.iter().any(|part| part.version == *version) {
        return ConditionUpdate::yes(kind, Reason::UpToDate);
    }
    if report.software.is_empty() {
        let connected = connected(observed);
        return match connected.status {
            ConditionStatus::True => {
                ConditionUpdate::unknown(kind, Reason::Initializing, "The vehicle has not sent its factsheet.")
            }
            ConditionStatus::False | ConditionStatus::Unknown => ConditionUpdate::unknown(kind, connected.reason, ""),
        };
    }
    let runs = report.software.iter().take(8).map(|part| format!("{} {}", part.name, part.version));
    ConditionUpdate::no(
        kind,
        Reason::WrongVersion,
        format!(
            "The vehicle runs {}; its maker's tool has to install {version} of release {}.",
            runs.collect::<Vec<_>>().join(", "),
            wanted.release
        ),
    )
}

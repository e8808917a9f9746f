//! The conditions of an IGV. Pure.

use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Reason};
use kalong_crds::igv::{Laden, Side, VehicleConnection};
use kalong_crds::wire::reported::IgvReport;
use kalong_rules::lifecycle::LifecycleStage;

use super::observe::Observed;
use crate::kit::link::Liveness;
use crate::kit::readiness::{Readiness, carried, commissioning, ready};

/// Operating modes in which a vehicle takes orders (VDA 5050 2.1, 6.11).
const TAKES_ORDERS: [&str; 2] = ["AUTOMATIC", "SEMIAUTOMATIC"];

/// All conditions, in the order for readers.
pub(super) fn all(observed: &Observed, objection: Option<&Readiness>) -> Vec<ConditionUpdate> {
    let [is_ready, reconciling, stalled] =
        if observed.life == LifecycleStage::Commissioning && !observed.igv.spec.suspend {
            commissioning(objection)
        } else {
            ready(objection)
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
    match observed.agent.liveness() {
        Liveness::Pending => Err(carried(observed.igv.as_ref(), kind)),
        Liveness::Lost => Err(ConditionUpdate::unknown(kind, Reason::AgentUnreachable, "")),
        Liveness::Live => {
            observed.live_report().ok_or_else(|| ConditionUpdate::unknown(kind, Reason::Initializing, ""))
        }
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
        return ConditionUpdate::no(kind, Reason::FleetUnreachable, unreachable_broker(observed));
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

pub(super) fn maps(observed: &Observed) -> ConditionUpdate {
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

pub(super) fn firmware(observed: &Observed) -> ConditionUpdate {
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

/// Why the agent does not reach the fleet's broker, as a sentence.
pub(super) fn unreachable_broker(observed: &Observed) -> String {
    let spec = &observed.igv.spec;
    format!(
        "Agent {} does not reach the fleet's broker at {}: check the broker, the network between them and `broker.endpoint`.",
        spec.agent_ref, spec.broker.endpoint
    )
}

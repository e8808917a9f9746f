//! The conditions of a Crossing. Pure.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use kalong_crds::BilateralLink;
use kalong_crds::condition::{ConditionType, ConditionUpdate, Conditioned, Reason};
use kalong_crds::crossing::LaneCount;
use kalong_rules::capacity::Breach;
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use super::decide::Decision;
use super::observe::Observed;
use crate::kit::readiness::{LISTED, Readiness, commissioning, ready};

/// All conditions, in the order for readers.
pub(super) fn all(observed: &Observed, decision: &Decision, objection: Option<&Readiness>) -> Vec<ConditionUpdate> {
    let Decision { lanes, breaches } = decision;
    let [is_ready, reconciling, stalled] =
        if observed.life == LifecycleStage::Commissioning { commissioning(objection) } else { ready(objection) };
    vec![
        is_ready,
        available(observed, lanes),
        floors(observed, breaches),
        authorised(observed),
        counterpart(observed),
        reconciling,
        stalled,
    ]
}

fn available(observed: &Observed, counts: &[LaneCount]) -> ConditionUpdate {
    let kind = ConditionType::Available;
    match observed.life {
        LifecycleStage::Planned => return ConditionUpdate::no(kind, Reason::Planned, ""),
        LifecycleStage::Commissioning => return ConditionUpdate::no(kind, Reason::Commissioning, ""),
        LifecycleStage::InService | LifecycleStage::UnknownPhase => {}
    }
    let closed = observed.crossing.spec.capacity_floors.iter().find(|floor| {
        !counts.iter().any(|c| c.service == floor.service && c.direction == floor.direction && c.open > 0)
    });
    match closed {
        Some(floor) => ConditionUpdate::no(
            kind,
            Reason::NoOpenLane,
            format!("No {:?} lane is open {:?}: open or repair one.", floor.service, floor.direction),
        ),
        None if counts.iter().any(|c| c.open > 0) => ConditionUpdate::yes(kind, Reason::Serving),
        None => ConditionUpdate::no(kind, Reason::NoOpenLane, "No lane is open."),
    }
}

fn floors(observed: &Observed, breaches: &[Breach]) -> ConditionUpdate {
    let kind = ConditionType::FloorsMet;
    match observed.life {
        LifecycleStage::Planned => return ConditionUpdate::unknown(kind, Reason::Planned, ""),
        LifecycleStage::Commissioning => return ConditionUpdate::unknown(kind, Reason::Commissioning, ""),
        LifecycleStage::InService | LifecycleStage::UnknownPhase => {}
    }
    if observed.crossing.spec.capacity_floors.is_empty() {
        return ConditionUpdate::yes(kind, Reason::NoFloor);
    }
    if breaches.is_empty() {
        return ConditionUpdate::yes(kind, Reason::FloorsHold);
    }
    let says: Vec<String> = breaches.iter().map(breach).collect();
    let say = format!("{}. Open or repair lanes; nothing more is drained meanwhile.", says.join("; "));
    ConditionUpdate::no(kind, Reason::FloorBroken, say)
}

fn breach(breach: &Breach) -> String {
    let lost: Vec<String> = breach.lost.iter().take(LISTED).map(|(lane, why)| format!("{lane} {why}")).collect();
    let lost = if lost.is_empty() { String::new() } else { format!(" ({})", lost.join(", ")) };
    format!(
        "{:?} {:?}: {} of {} lanes, {} of {} passages an hour{lost}",
        breach.floor.group.service,
        breach.floor.group.direction,
        breach.lanes,
        breach.floor.min_lanes,
        breach.passages_per_hour,
        breach.floor.min_passages_per_hour
    )
}

fn authorised(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::Authorised;
    let Some(authority) = &observed.crossing.spec.authority else {
        return ConditionUpdate::yes(kind, Reason::NoAuthority);
    };
    let (Ok(from), Ok(until)) = (authority.valid_from.parse::<Date>(), authority.valid_until.parse::<Date>()) else {
        return ConditionUpdate::no(
            kind,
            Reason::InvalidSpec,
            "The days of `spec.authority` are no days of the calendar: correct them.",
        );
    };
    let zone = TimeZone::get(&observed.crossing.spec.time_zone).unwrap_or(TimeZone::UTC);
    let today = observed.now.to_zoned(zone).date();
    if (from..=until).contains(&today) {
        ConditionUpdate::yes(kind, Reason::AuthorityValid)
    } else {
        let say =
            format!("`{}` is in force from {from} to {until}: record the act that prolongs it.", authority.document);
        ConditionUpdate::no(kind, Reason::AuthorityExpired, say)
    }
}

/// Whether the other side agrees. It is not in our hands, so it never holds up Ready.
fn counterpart(observed: &Observed) -> ConditionUpdate {
    let kind = ConditionType::CounterpartAligned;
    let Some(name) = &observed.crossing.spec.link_ref else {
        return ConditionUpdate::yes(kind, Reason::NoCounterpart);
    };
    if observed.life == LifecycleStage::Planned {
        return ConditionUpdate::unknown(kind, Reason::Planned, "");
    }
    match &observed.link {
        None => {
            let say = format!(
                "BilateralLink {name} does not exist in this namespace: declare it, or correct `spec.linkRef`."
            );
            ConditionUpdate::no(kind, Reason::MissingReference, say)
        }
        Some(link) => aligned(link),
    }
}

fn aligned(link: &BilateralLink) -> ConditionUpdate {
    let (kind, name) = (ConditionType::CounterpartAligned, link.name_any());
    if !link.is(ConditionType::AgreementInForce) {
        let resting = [Reason::DryRun, Reason::Suspended, Reason::Planned, Reason::Commissioning]
            .into_iter()
            .find(|reason| link.reason(ConditionType::Ready) == reason.as_str());
        let say = format!(
            "No agreement is in force over BilateralLink {name}, so nothing is agreed with the other side: record one in its `spec.agreements`."
        );
        return ConditionUpdate::no(kind, resting.unwrap_or(Reason::NoAgreement), say);
    }
    if !link.is(ConditionType::PeerReachable) {
        let say =
            format!("The other side is not reached over BilateralLink {name}: look at its condition PeerReachable.");
        return ConditionUpdate::no(kind, Reason::PeerUnreachable, say);
    }
    ConditionUpdate::yes(kind, Reason::AgreementValid)
}

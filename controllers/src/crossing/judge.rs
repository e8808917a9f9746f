//! Where the readiness of a Crossing is judged.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use kalong_crds::BilateralLink;
use kalong_crds::condition::{ConditionType, Conditioned, Judgement, Reason};
use kalong_crds::crossing::LaneCount;
use kube::ResourceExt;

use super::count;
use super::observe::Seen;
use crate::kit::life::{Life, unknown_phase};
use crate::kit::readiness::{Verdict, commissioning, ready};

/// Names that one message lists.
const LISTED: usize = 8;

pub(super) fn conditions(seen: &Seen, counts: &[LaneCount]) -> Vec<Judgement> {
    let verdict = verdict(seen);
    let [is_ready, reconciling, stalled] =
        if seen.life == Life::Commissioning { commissioning(verdict.as_ref()) } else { ready(verdict.as_ref()) };
    vec![is_ready, available(seen, counts), floors(seen), authorised(seen), counterpart(seen), reconciling, stalled]
}

fn verdict(seen: &Seen) -> Option<Verdict> {
    match seen.life {
        Life::Planned => return Some(Verdict::Resting(Reason::Planned)),
        Life::UnknownPhase => {
            let say = unknown_phase(seen.crossing.spec.phase.as_ref());
            return Some(Verdict::Stuck(Reason::UnknownPhase, say));
        }
        Life::Commissioning | Life::InService => {}
    }
    let zone = &seen.crossing.spec.time_zone;
    if TimeZone::get(zone).is_err() {
        return Some(Verdict::Stuck(
            Reason::InvalidSpec,
            format!("`spec.timeZone` {zone} is no IANA time zone: write for example Asia/Ho_Chi_Minh."),
        ));
    }
    let lanes: Vec<Waiting> = waiting(seen.lanes.iter().map(|lane| (lane.lane.as_ref(), lane.life)));
    let stations: Vec<Waiting> = waiting(seen.stations.iter().map(|(station, life)| (station.as_ref(), *life)));
    let unknown = lanes.iter().chain(&stations).any(|waiting| waiting.unknown);
    let (reason, say) = match (lanes.is_empty(), stations.is_empty()) {
        (true, true) => return None,
        (false, true) => (Reason::LaneNotReady, list("Lanes", &lanes)),
        (true, false) => (Reason::StationNotReady, list("Stations", &stations)),
        (false, false) => (Reason::LaneNotReady, format!("{} {}", list("Lanes", &lanes), list("Stations", &stations))),
    };
    Some(if unknown { Verdict::Unknown(reason, say) } else { Verdict::Converging(reason, say) })
}

/// A live object that is not Ready.
struct Waiting {
    name: String,
    unknown: bool,
}

fn waiting<'a, K: Conditioned + ResourceExt + 'a>(objects: impl Iterator<Item = (&'a K, Life)>) -> Vec<Waiting> {
    objects
        .filter(|(object, life)| *life != Life::Planned && !object.is(ConditionType::Ready))
        .map(|(object, _)| Waiting {
            name: object.name_any(),
            unknown: object.condition(ConditionType::Ready).is_some_and(|c| c.status == "Unknown"),
        })
        .collect()
}

fn list(what: &str, waiting: &[Waiting]) -> String {
    let names: Vec<&str> = waiting.iter().map(|w| w.name.as_str()).take(LISTED).collect();
    format!("{what} not Ready: {}.", names.join(", "))
}

fn available(seen: &Seen, counts: &[LaneCount]) -> Judgement {
    let kind = ConditionType::Available;
    match seen.life {
        Life::Planned => return Judgement::no(kind, Reason::Planned, ""),
        Life::Commissioning => return Judgement::no(kind, Reason::Commissioning, ""),
        Life::InService | Life::UnknownPhase => {}
    }
    let closed = seen.crossing.spec.capacity_floors.iter().find(|floor| {
        !counts.iter().any(|c| c.service == floor.service && c.direction == floor.direction && c.open > 0)
    });
    match closed {
        Some(floor) => Judgement::no(
            kind,
            Reason::NoOpenLane,
            format!("No {:?} lane is open {:?}: open or repair one.", floor.service, floor.direction),
        ),
        None if counts.iter().any(|c| c.open > 0) => Judgement::yes(kind, Reason::Serving),
        None => Judgement::no(kind, Reason::NoOpenLane, "No lane is open."),
    }
}

fn floors(seen: &Seen) -> Judgement {
    let kind = ConditionType::FloorsMet;
    match seen.life {
        Life::Planned => return Judgement::unknown(kind, Reason::Planned, ""),
        Life::Commissioning => return Judgement::unknown(kind, Reason::Commissioning, ""),
        Life::InService | Life::UnknownPhase => {}
    }
    if seen.crossing.spec.capacity_floors.is_empty() {
        return Judgement::yes(kind, Reason::NoFloor);
    }
    let broken = count::broken(seen);
    if broken.is_empty() {
        return Judgement::yes(kind, Reason::FloorsHold);
    }
    let says: Vec<String> = broken
        .iter()
        .map(|breach| {
            let lost: Vec<String> =
                breach.lost.iter().take(LISTED).map(|(lane, why)| format!("{lane} {why}")).collect();
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
        })
        .collect();
    let say = format!("{}. Open or repair lanes; nothing more is drained meanwhile.", says.join("; "));
    Judgement::no(kind, Reason::FloorBroken, say)
}

fn authorised(seen: &Seen) -> Judgement {
    let kind = ConditionType::Authorised;
    let Some(authority) = &seen.crossing.spec.authority else {
        return Judgement::yes(kind, Reason::NoAuthority);
    };
    let (Ok(from), Ok(until)) = (authority.valid_from.parse::<Date>(), authority.valid_until.parse::<Date>()) else {
        return Judgement::no(
            kind,
            Reason::InvalidSpec,
            "The days of `spec.authority` are no days of the calendar: correct them.",
        );
    };
    let zone = TimeZone::get(&seen.crossing.spec.time_zone).unwrap_or(TimeZone::UTC);
    let today = seen.now.to_zoned(zone).date();
    if (from..=until).contains(&today) {
        Judgement::yes(kind, Reason::AuthorityValid)
    } else {
        let say =
            format!("`{}` is in force from {from} to {until}: record the act that prolongs it.", authority.document);
        Judgement::no(kind, Reason::AuthorityExpired, say)
    }
}

/// Whether the other side agrees. It is not in our hands, so it never holds up Ready.
fn counterpart(seen: &Seen) -> Judgement {
    let kind = ConditionType::CounterpartAligned;
    let Some(name) = &seen.crossing.spec.link_ref else {
        return Judgement::yes(kind, Reason::NoCounterpart);
    };
    if seen.life == Life::Planned {
        return Judgement::unknown(kind, Reason::Planned, "");
    }
    match &seen.link {
        None => {
            let say = format!(
                "BilateralLink {name} does not exist in this namespace: declare it, or correct `spec.linkRef`."
            );
            Judgement::no(kind, Reason::MissingReference, say)
        }
        Some(link) => aligned(link),
    }
}

fn aligned(link: &BilateralLink) -> Judgement {
    let (kind, name) = (ConditionType::CounterpartAligned, link.name_any());
    if !link.is(ConditionType::AgreementInForce) {
        let resting = [Reason::DryRun, Reason::Suspended, Reason::Planned, Reason::Commissioning]
            .into_iter()
            .find(|reason| link.reason(ConditionType::Ready) == reason.as_str());
        let say = format!(
            "No agreement is in force over BilateralLink {name}, so nothing is agreed with the other side: record one in its `spec.agreements`."
        );
        return Judgement::no(kind, resting.unwrap_or(Reason::NoAgreement), say);
    }
    if !link.is(ConditionType::PeerReachable) {
        let say =
            format!("The other side is not reached over BilateralLink {name}: look at its condition PeerReachable.");
        return Judgement::no(kind, Reason::PeerUnreachable, say);
    }
    Judgement::yes(kind, Reason::AgreementValid)
}

//! Where the readiness of a Crossing is judged.

use jiff::civil::Date;
use jiff::tz::TimeZone;
use kalong_crds::condition::{ConditionType, Conditioned, Judgement, Reason};
use kalong_crds::crossing::LaneCount;
use kube::ResourceExt;

use super::{Life, Seen};
use crate::kit::readiness::{Verdict, ready};

pub(super) fn conditions(seen: &Seen, counts: &[LaneCount]) -> Vec<Judgement> {
    let verdict = verdict(seen);
    let [is_ready, reconciling, stalled] = ready(verdict.as_ref());
    vec![
        is_ready,
        available(seen, counts),
        floors(seen, counts),
        authorised(seen),
        counterpart(seen),
        reconciling,
        stalled,
    ]
}

fn verdict(seen: &Seen) -> Option<Verdict> {
    if !seen.live {
        return Some(Verdict::Resting(Reason::Planned));
    }
    let zone = &seen.crossing.spec.time_zone;
    if TimeZone::get(zone).is_err() {
        return Some(Verdict::Stuck(
            Reason::InvalidSpec,
            format!("`spec.timeZone` {zone} is no IANA time zone: write for example Asia/Ho_Chi_Minh."),
        ));
    }
    let live = || seen.lanes.iter().filter(|(_, life)| *life == Life::Live);
    let waiting: Vec<_> =
        live().filter(|(lane, _)| !lane.is(ConditionType::Ready)).map(|(lane, _)| lane.name_any()).take(8).collect();
    if waiting.is_empty() {
        return None;
    }
    let say = format!("Lanes not Ready: {}.", waiting.join(", "));
    let unknown = live().any(|(lane, _)| lane.condition(ConditionType::Ready).is_some_and(|c| c.status == "Unknown"));
    Some(if unknown {
        Verdict::Unknown(Reason::LaneNotReady, say)
    } else {
        Verdict::Converging(Reason::LaneNotReady, say)
    })
}

fn available(seen: &Seen, counts: &[LaneCount]) -> Judgement {
    let kind = ConditionType::Available;
    if !seen.live {
        return Judgement::no(kind, Reason::Planned, "");
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

fn floors(seen: &Seen, counts: &[LaneCount]) -> Judgement {
    let kind = ConditionType::FloorsMet;
    if !seen.live {
        return Judgement::unknown(kind, Reason::Planned, "");
    }
    if seen.crossing.spec.capacity_floors.is_empty() {
        return Judgement::yes(kind, Reason::NoFloor);
    }
    let broken: Vec<String> = seen
        .crossing
        .spec
        .capacity_floors
        .iter()
        .filter_map(|floor| {
            let count = counts.iter().find(|c| c.service == floor.service && c.direction == floor.direction);
            let (open, rated) = count.map_or((0, 0), |c| (c.open, c.open_passages_per_hour));
            (open < floor.min_open_lanes || rated < floor.min_passages_per_hour).then(|| {
                format!(
                    "{:?} {:?}: {open} of {} lanes, {rated} of {} passages an hour",
                    floor.service, floor.direction, floor.min_open_lanes, floor.min_passages_per_hour
                )
            })
        })
        .collect();
    if broken.is_empty() {
        Judgement::yes(kind, Reason::FloorsHold)
    } else {
        Judgement::no(
            kind,
            Reason::FloorBroken,
            format!("{}. Open or repair lanes; nothing more is drained meanwhile.", broken.join("; ")),
        )
    }
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

fn counterpart(seen: &Seen) -> Judgement {
    let kind = ConditionType::CounterpartAligned;
    match &seen.crossing.spec.link_ref {
        None => Judgement::yes(kind, Reason::NoCounterpart),
        Some(link) => Judgement::unknown(
            kind,
            Reason::NoCounterpart,
            format!("Nothing has been heard over BilateralLink {link}."),
        ),
    }
}

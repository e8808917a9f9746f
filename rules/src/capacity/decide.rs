//! Whether a claim is accepted now, or which other claim or floor it waits for.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use kalong_crds::blocked::BlockCode;
use kalong_crds::lane_drain::DrainClass;

use super::floors::{Lost, broken_among};
use super::{Breach, CapacitySnapshot, Claim, Decision, Group, LaneFacts, Wait};
use crate::lifecycle::LifecycleStage;

/// Decides whether this claim is accepted now.
///
/// An Emergency is accepted whatever breaks. A Change is accepted when every floor that it touches holds after it and no other lane of
/// the same crossing, service and direction is drained for a change. Waiting claims of a higher rank
/// are charged as if they were accepted if they could be, so that the order of reconciles decides nothing; but only a claim that is accepted
/// makes a lane free of charge.
pub fn decide(snapshot: &CapacitySnapshot, claim: &Claim) -> Decision {
    let mut charged: Vec<&Claim> = snapshot.accepted.iter().collect();
    if claim.class == DrainClass::Emergency {
        let broken = broken_among(snapshot, &charged, &costly(snapshot, claim), &claim.lanes);
        return if broken.is_empty() { Decision::Accept } else { Decision::AcceptBreaking(broken) };
    }
    let mut ahead: Vec<&Claim> =
        snapshot.waiting.iter().filter(|other| other.name != claim.name && rank(other) < rank(claim)).collect();
    ahead.sort_by_key(|other| rank(other));
    for other in ahead {
        if other.class == DrainClass::Emergency || judge(snapshot, &charged, other).is_ok() {
            charged.push(other);
        }
    }
    match judge(snapshot, &charged, claim) {
        Ok(()) => Decision::Accept,
        Err(wait) => Decision::Wait(wait),
    }
}

/// The smallest rank is accepted first: emergencies, then by priority, age and name.
fn rank(claim: &Claim) -> (Reverse<DrainClass>, Reverse<i64>, i64, &str) {
    (Reverse(claim.class), Reverse(claim.priority), claim.created, &claim.name)
}

fn judge(snapshot: &CapacitySnapshot, charged: &[&Claim], claim: &Claim) -> Result<(), Wait> {
    let lanes = || claim.lanes.iter().filter_map(|name| snapshot.lanes.get(name).map(|lane| (name, lane)));
    if let Some((name, _)) = lanes().find(|(_, lane)| lane.life == LifecycleStage::UnknownPhase) {
        return Err(Wait {
            code: BlockCode::MissingReference,
            subject: format!("Lane/{name}"),
            message: format!(
                "Lane {name} names a phase that does not exist, so nothing of it is changed: declare the phase."
            ),
        });
    }
    if let Some(breach) = broken_among(snapshot, charged, &costly(snapshot, claim), &claim.lanes).first() {
        return Err(floor_wait(breach));
    }
    let turns: BTreeSet<&Group> = lanes().filter(|(n, l)| takes_turn(snapshot, n, l)).map(|(_, l)| &l.group).collect();
    match charged.iter().find_map(|other| in_turn(snapshot, other, claim, &turns).map(|lane| (other, lane))) {
        None => Ok(()),
        Some((other, lane)) => Err(Wait {
            code: BlockCode::DrainInProgress,
            subject: format!("LaneDrain/{}", other.name),
            message: format!(
                "Lane {lane} of the same service and direction is drained for LaneDrain {}; one lane goes at a time, and this one may be next.",
                other.name
            ),
        }),
    }
}

/// The groups that lose something by this claim: a lane that is closed for good, or held already, costs nothing. To a change, what an
/// emergency holds is not held already: the emergency ends and the change would stay.
fn costly<'a>(snapshot: &'a CapacitySnapshot, claim: &Claim) -> BTreeSet<&'a Group> {
    let held = |lane: &str| match claim.class {
        DrainClass::Change => is_changed(snapshot, lane),
        DrainClass::Emergency => snapshot.accepted.iter().any(|other| other.lanes.contains(lane)),
    };
    let lanes = claim.lanes.iter().filter_map(|name| snapshot.lanes.get(name).map(|lane| (name, lane)));
    lanes.filter(|(name, lane)| serves(lane) && !held(name)).map(|(_, lane)| &lane.group).collect()
}

/// Whether a change holds this lane already.
fn is_changed(snapshot: &CapacitySnapshot, lane: &str) -> bool {
    snapshot.accepted.iter().any(|claim| claim.class == DrainClass::Change && claim.lanes.contains(lane))
}

/// Whether taking this lane may take something from traffic. A lane that is broken or unknown counts: it may be back at any time.
fn serves(lane: &LaneFacts) -> bool {
    lane.life == LifecycleStage::InService && !lane.closed_for_good
}

/// Whether a change of this lane needs the turn of its group. A lane that a change holds already has it; one that an emergency holds
/// does not: when the emergency ends, the change would keep a second lane of the group closed.
fn takes_turn(snapshot: &CapacitySnapshot, name: &str, lane: &LaneFacts) -> bool {
    serves(lane) && !is_changed(snapshot, name)
}

/// A lane that this other claim drains for a change in one of these groups, and that the claim itself does not concern.
fn in_turn<'a>(
    snapshot: &CapacitySnapshot,
    other: &'a Claim,
    claim: &Claim,
    turns: &BTreeSet<&Group>,
) -> Option<&'a String> {
    if other.class != DrainClass::Change || other.name == claim.name {
        return None;
    }
    other
        .lanes
        .iter()
        .filter(|name| !claim.lanes.contains(*name))
        .find(|name| snapshot.lanes.get(*name).is_some_and(|lane| serves(lane) && turns.contains(&lane.group)))
}

/// A wait for a floor names the claim that holds one of its lanes, else a lane that is lost, else the crossing.
fn floor_wait(breach: &Breach) -> Wait {
    let held = breach.lost.iter().find_map(|(_, why)| match why {
        Lost::Held(claim) => Some(format!("LaneDrain/{claim}")),
        _ => None,
    });
    let lost = breach.lost.first().map(|(lane, _)| format!("Lane/{lane}"));
    let subject = held.or(lost).unwrap_or_else(|| format!("Crossing/{}", breach.floor.group.crossing));
    let mut message = format!("{breach}.");
    if breach.lost.is_empty() {
        message.push_str(" Open another lane, lower the floor in Git, or declare an Emergency with its end.");
    } else {
        let lost: Vec<_> = breach.lost.iter().take(8).map(|(lane, why)| format!("{lane} ({why})")).collect();
        message.push_str(&format!(" Not counted: {}. It goes on when enough of them serve again.", lost.join(", ")));
    }
    Wait { code: BlockCode::CapacityFloor, subject, message }
}

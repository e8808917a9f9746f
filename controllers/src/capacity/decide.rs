//! Who may drain next.

use std::cmp::Reverse;
use std::collections::BTreeSet;

use kalong_crds::blocked::BlockCode;
use kalong_crds::lane_drain::DrainClass;

use super::floors::{Lost, broken_among};
use super::{Breach, CapacitySnapshot, Claim, Decision, Group, LaneFacts, Wait};
use crate::kit::life::LifecycleStage;

/// What becomes of this claim now.
///
/// An Emergency is accepted whatever breaks. A Change is accepted when every floor that it touches holds after it and no other lane of
/// the same crossing, service and direction is drained for a change. Claims that wait and go first are charged as if they were accepted
/// already if they could be, so the order of passes decides nothing; but only what really is accepted makes a lane free of charge.
pub fn decide(picture: &CapacitySnapshot, claim: &Claim) -> Decision {
    let mut charged: Vec<&Claim> = picture.accepted.iter().collect();
    if claim.class == DrainClass::Emergency {
        let broken = broken_among(picture, &charged, &costly(picture, claim), &claim.lanes);
        return if broken.is_empty() { Decision::Accept } else { Decision::AcceptBreaking(broken) };
    }
    let mut ahead: Vec<&Claim> =
        picture.waiting.iter().filter(|other| other.name != claim.name && rank(other) < rank(claim)).collect();
    ahead.sort_by_key(|other| rank(other));
    for other in ahead {
        if other.class == DrainClass::Emergency || judge(picture, &charged, other).is_ok() {
            charged.push(other);
        }
    }
    match judge(picture, &charged, claim) {
        Ok(()) => Decision::Accept,
        Err(wait) => Decision::Wait(wait),
    }
}

/// The smallest goes first: emergencies, then by priority, age and name.
fn rank(claim: &Claim) -> (Reverse<DrainClass>, Reverse<i64>, i64, &str) {
    (Reverse(claim.class), Reverse(claim.priority), claim.created, &claim.name)
}

fn judge(picture: &CapacitySnapshot, charged: &[&Claim], claim: &Claim) -> Result<(), Wait> {
    let lanes = || claim.lanes.iter().filter_map(|name| picture.lanes.get(name).map(|lane| (name, lane)));
    if let Some((name, _)) = lanes().find(|(_, lane)| lane.life == LifecycleStage::UnknownPhase) {
        return Err(Wait {
            code: BlockCode::MissingReference,
            subject: format!("Lane/{name}"),
            message: format!(
                "Lane {name} names a phase that does not exist, so nothing of it is changed: declare the phase."
            ),
        });
    }
    if let Some(breach) = broken_among(picture, charged, &costly(picture, claim), &claim.lanes).first() {
        return Err(floor_wait(breach));
    }
    let turns: BTreeSet<&Group> = lanes().filter(|(n, l)| takes_turn(picture, n, l)).map(|(_, l)| &l.group).collect();
    match charged.iter().find_map(|other| in_turn(picture, other, claim, &turns).map(|lane| (other, lane))) {
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

/// The groups that lose something by this claim: a lane that is closed for good, or held already, costs nothing.
fn costly<'a>(picture: &'a CapacitySnapshot, claim: &Claim) -> BTreeSet<&'a Group> {
    let held = |lane: &str| picture.accepted.iter().any(|claim| claim.lanes.contains(lane));
    let lanes = claim.lanes.iter().filter_map(|name| picture.lanes.get(name).map(|lane| (name, lane)));
    lanes.filter(|(name, lane)| serves(lane) && !held(name)).map(|(_, lane)| &lane.group).collect()
}

/// Whether taking this lane may take something from traffic. A lane that is broken or unknown counts: it may be back at any time.
fn serves(lane: &LaneFacts) -> bool {
    lane.life == LifecycleStage::InService && !lane.shut
}

/// Whether a change of this lane needs the turn of its group. A lane that a change holds already has it; one that an emergency holds
/// does not: when the emergency ends, the change would keep a second lane of the group closed.
fn takes_turn(picture: &CapacitySnapshot, name: &str, lane: &LaneFacts) -> bool {
    let changing = picture.accepted.iter().any(|claim| claim.class == DrainClass::Change && claim.lanes.contains(name));
    serves(lane) && !changing
}

/// A lane that this other claim drains for a change in one of these groups, and that the claim itself does not concern.
fn in_turn<'a>(
    picture: &CapacitySnapshot,
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
        .find(|name| picture.lanes.get(*name).is_some_and(|lane| serves(lane) && turns.contains(&lane.group)))
}

/// On whom the wait for a floor is: the claim that holds a lane, else the lane that is lost, else the floor itself.
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

//! Who may touch a device: whoever has claimed its lane and found it empty, one device of a lane at a time.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::blocked::{BlockCode, BlockedBy};
use kalong_crds::device::{Admin, FirmwareStatus, Step};
use kalong_crds::device_model::LaneDrainNeed;
use kalong_crds::units::AgentId;
use kalong_crds::wire::reported::ReportedItem;
use kalong_crds::{ABANDON, Device, Lane, LaneDrain};
use kube::ResourceExt;

use super::disabling;
use super::seen::{Knowledge, Leave, Made, Seen};
use crate::kit::caches;
use crate::kit::life::Life;
use crate::kit::link::Hearing;
use crate::kit::world::World;
use crate::lane::claim::{self, Claim, Purpose, Standing};
use crate::lane_drain::{self, State};

/// Leave that needs no lane lasts this much longer than what the model says that the change takes.
const MARGIN: Duration = Duration::from_secs(3600);

/// How far an attempt is, as far as the lane is concerned.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Stage {
    /// None is under way that needs the device.
    Rests,
    /// It asks for leave.
    Asks,
    /// It has leave, or changes the device already.
    AtWork,
    /// It is over and the lane is given back.
    GivesBack,
}

impl Stage {
    fn of(step: Step) -> Self {
        match step {
            Step::AwaitingDrain => Self::Asks,
            Step::Draining | Step::Drained => Self::AtWork,
            Step::Undraining => Self::GivesBack,
            step if step.touches_device() => Self::AtWork,
            _ => Self::Rests,
        }
    }
}

/// A claim that is wanted for the device.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Wish {
    pub(super) claim: Claim,
    pub(super) upkeep: Upkeep,
}

/// What is done for a wish.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Upkeep {
    /// The claim is made if it is not there.
    Make,
    /// The claim stays if it is there.
    Keep,
}

/// Claims to make and claims to end.
#[derive(Debug, Default)]
pub(super) struct Errands {
    pub(super) make: Vec<Claim>,
    pub(super) release: Vec<Arc<LaneDrain>>,
}

/// What has to happen so that exactly the wanted claims stand. Nothing is ended while nobody can tell how far the device is.
pub(super) fn errands(seen: &Seen) -> Errands {
    let wishes: Vec<Wish> = [change(seen), disabling::wish(seen)].into_iter().flatten().collect();
    let known = match seen.knowledge() {
        Knowledge::Heard(_) => true,
        Knowledge::Silent => seen.report.is_some(),
        Knowledge::Wait => false,
    };
    let gone = seen.former.is_empty() && seen.agent.as_ref().is_none_or(|a| a.annotations().contains_key(ABANDON));
    let over = |made: &&Made| {
        let wanted = wishes.iter().any(|wish| wish.claim.is(&made.drain));
        gone || lapsed(seen, made) || (known && !wanted)
    };
    let heard = matches!(seen.knowledge(), Knowledge::Heard(_));
    let stands = |claim: &Claim| seen.made.iter().any(|made| made.drain.name_any() == claim.name);
    Errands {
        release: seen.made.iter().filter(over).map(|made| made.drain.clone()).collect(),
        make: wishes
            .into_iter()
            .filter(|wish| heard && wish.upkeep == Upkeep::Make && !stands(&wish.claim))
            .map(|wish| wish.claim)
            .collect(),
    }
}

/// Its time is over although nothing was begun: the lane opens again, and the attempt takes its turn anew.
fn lapsed(seen: &Seen, made: &Made) -> bool {
    let working = matches!(stage(seen), Stage::AtWork | Stage::GivesBack);
    made.until.is_some_and(|until| until <= seen.now) && !working
}

fn firmware(report: Option<&ReportedItem>) -> Option<&FirmwareStatus> {
    report?.device.as_ref()?.firmware.as_ref()
}

fn stage(seen: &Seen) -> Stage {
    firmware(seen.report.as_deref()).map_or(Stage::Rests, |f| Stage::of(f.step))
}

fn needs_lane(seen: &Seen) -> bool {
    seen.model.as_ref().is_none_or(|m| m.spec.update.lane_drain == LaneDrainNeed::Needed)
}

/// The claim of the attempt that is under way.
fn change(seen: &Seen) -> Option<Wish> {
    let claim = attempt_claim(seen)?;
    let spec = &seen.device.spec;
    let may_begin = !seen.deleting()
        && seen.life != Life::Planned
        && !seen.moving()
        && spec.firmware.is_some()
        && spec.admin == Admin::Enabled;
    let upkeep = match (stage(seen), seen.life) {
        (Stage::Rests, _) => return None,
        // A claim that somebody deleted under a device at work is made again: the lane must not open on it.
        (Stage::AtWork, _) => Upkeep::Make,
        (Stage::GivesBack, _) | (Stage::Asks, Life::UnknownPhase) => Upkeep::Keep,
        (Stage::Asks, _) if may_begin => Upkeep::Make,
        (Stage::Asks, _) => return None,
    };
    Some(Wish { claim, upkeep })
}

fn attempt_claim(seen: &Seen) -> Option<Claim> {
    let lane = seen.lanes.first().filter(|_| needs_lane(seen))?;
    let attempt = firmware(seen.report.as_deref())?.attempt;
    Some(Claim::new(seen.device.as_ref(), Purpose::Change(attempt), &lane.name_any()))
}

/// What an attempt asks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Nothing: leave that it had is over.
    Nothing,
    /// Leave for this attempt; no other device of the lane may have it meanwhile.
    Leave { attempt: i64, lane: Option<String>, until: Timestamp },
    /// It has to wait.
    Waits(BlockedBy),
}

/// What the attempt that the agent reports asks, and whether it may have it. Leave once given stays until the attempt ended.
pub(super) fn ask(seen: &Seen) -> Ask {
    let Some(attempt) = firmware(seen.report.as_deref()).map(|f| f.attempt) else { return Ask::Nothing };
    let claim = attempt_claim(seen);
    let made = claim.as_ref().and_then(|claim| seen.made.iter().find(|made| claim.is(&made.drain)));
    let lane = claim.as_ref().map(|claim| format!("{}/{}", seen.device.namespace().unwrap_or_default(), claim.lane));
    let until = made.and_then(|made| made.until).unwrap_or_else(|| own_end(seen));
    let leave = Ask::Leave { attempt, lane, until };
    match (stage(seen), claim) {
        (Stage::Rests, _) => Ask::Nothing,
        (Stage::AtWork | Stage::GivesBack, _) => leave,
        (Stage::Asks, _) if seen.leaves() || seen.moving() => Ask::Nothing,
        (Stage::Asks, None) => leave,
        (Stage::Asks, Some(claim)) => match Standing::of(&claim, made.map(|made| made.drain.as_ref()), seen.now) {
            Standing::Waits(block) => Ask::Waits(block),
            Standing::Held if made.is_some_and(|made| lapsed(seen, made)) => Ask::Waits(wait(seen, &claim.lane, None)),
            Standing::Held if seen.busy.is_some() => Ask::Waits(wait(seen, &claim.lane, seen.busy.as_deref())),
            Standing::Held => leave,
        },
    }
}

/// When leave that needs no lane ends.
fn own_end(seen: &Seen) -> Timestamp {
    let takes = seen.model.as_ref().map_or(0, |m| m.spec.update.downtime_seconds * 4 + m.spec.update.soak_seconds);
    let end = seen.now.checked_add(SignedDuration::from_secs(takes)).and_then(|t| t.checked_add(MARGIN));
    end.and_then(|t| Timestamp::from_second(t.as_second())).unwrap_or(seen.now)
}

fn wait(seen: &Seen, lane: &str, other: Option<&str>) -> BlockedBy {
    let (subject, message) = match other {
        Some(other) => (
            format!("Device/{other}"),
            format!("Device {other} of lane {lane} is being changed; this one is next when that is done."),
        ),
        None => {
            (format!("Lane/{lane}"), format!("The time of the claim on lane {lane} is over; it is asked for anew."))
        }
    };
    BlockedBy::new(BlockCode::LaneDrain, subject, message, seen.now)
}

/// Gives leave, or takes back what is over, and says so to the neighbours.
pub(super) fn grant(world: &World, seen: &Seen) -> Leave {
    let uid = seen.device.uid().unwrap_or_default();
    let take_back = || {
        if world.permits.give_back(&uid) {
            wake_neighbours(world, &seen.device, &seen.lanes);
        }
    };
    match ask(seen) {
        Ask::Nothing => {
            take_back();
            Leave::NotAsked
        }
        Ask::Waits(block) => {
            take_back();
            Leave::Waits(block)
        }
        Ask::Leave { attempt, lane, until } => match world.permits.give(&uid, lane.as_deref(), attempt, until) {
            Some(permit) => Leave::Given(permit),
            None => {
                let lane = seen.lanes.first().map(|lane| lane.name_any()).unwrap_or_default();
                let message =
                    format!("Another device of lane {lane} is being changed; this one is next when that is done.");
                Leave::Waits(BlockedBy { message, ..wait(seen, &lane, None) })
            }
        },
    }
}

/// The lane opens again when nobody else needs it empty, and its other devices are next.
fn wake_neighbours(world: &World, device: &Device, lanes: &[Arc<Lane>]) {
    let namespace = device.namespace().unwrap_or_default();
    for lane in lanes {
        world.wakes.lanes.wake(&namespace, &lane.name_any());
        for slot in lane.spec.slots.iter().filter(|slot| slot.device_ref.as_str() != device.name_any()) {
            world.wakes.devices.wake(&namespace, slot.device_ref.as_str());
        }
    }
}

/// What the operator claims for this device.
pub(super) fn made(world: &World, device: &Device, lanes: &[Arc<Lane>]) -> Vec<Made> {
    let namespace = device.namespace().unwrap_or_default();
    let until = |drain: &Arc<LaneDrain>| {
        let lane = lanes.first()?;
        lane_drain::hold(world, lane, std::slice::from_ref(drain))?.until.parse().ok()
    };
    claim::made_for(&world.caches, &namespace, &claim::requester(device))
        .into_iter()
        .map(|drain| Made { until: until(&drain), drain })
        .collect()
}

/// Another device of the lane that is at work; after a start also one that has a claim and whose agent has not
/// said how far it is.
pub(super) fn busy(world: &World, device: &Device, lane: &Lane) -> Option<String> {
    let (namespace, name) = (device.namespace().unwrap_or_default(), device.name_any());
    let others = lane.spec.slots.iter().map(|slot| slot.device_ref.as_str()).filter(|other| *other != name);
    let works = |other: &Device| {
        let Ok(agent) = AgentId::new(&namespace, other.spec.agent_ref.as_str()) else { return false };
        let report = world.link.report(&agent, &other.uid().unwrap_or_default());
        let Some(firmware) = firmware(report.as_deref()) else {
            let unheard = world.link.facts(&agent).hearing() != Hearing::Heard;
            return unheard && has_claim(world, other);
        };
        Stage::of(firmware.step) == Stage::AtWork
    };
    others
        .filter_map(|other| caches::get(&world.caches.devices, &namespace, other))
        .find(|other| works(other))
        .map(|other| other.name_any())
}

/// Whether a change of this device may have leave: its claim was accepted.
fn has_claim(world: &World, device: &Device) -> bool {
    let namespace = device.namespace().unwrap_or_default();
    let made = claim::made_for(&world.caches, &namespace, &claim::requester(device));
    made.iter().any(|drain| {
        let accepted = matches!(lane_drain::state(drain), State::Empties(_) | State::Drained);
        accepted && Purpose::is_change(drain)
    })
}

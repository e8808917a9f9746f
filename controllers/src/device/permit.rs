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
use super::observed::{Knowledge, Leave, Made, Observed};
use crate::kit::caches;
use crate::kit::context::Context;
use crate::kit::life::LifecycleStage;
use crate::kit::link::Liveness;
use crate::lane::claim::{self, Claim, ClaimProgress, Purpose};
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
pub(super) fn errands(observed: &Observed) -> Errands {
    let wishes: Vec<Wish> = [change(observed), disabling::wish(observed)].into_iter().flatten().collect();
    let known = match observed.knowledge() {
        Knowledge::Heard(_) => true,
        Knowledge::Silent => observed.report.is_some(),
        Knowledge::Wait => false,
    };
    let gone = observed.previous_agents.is_empty()
        && observed.agent.as_ref().is_none_or(|a| a.annotations().contains_key(ABANDON));
    let over = |made: &&Made| {
        let wanted = wishes.iter().any(|wish| wish.claim.is(&made.drain));
        gone || lapsed(observed, made) || (known && !wanted)
    };
    let heard = matches!(observed.knowledge(), Knowledge::Heard(_));
    let stands = |claim: &Claim| observed.made.iter().any(|made| made.drain.name_any() == claim.name);
    Errands {
        release: observed.made.iter().filter(over).map(|made| made.drain.clone()).collect(),
        make: wishes
            .into_iter()
            .filter(|wish| heard && wish.upkeep == Upkeep::Make && !stands(&wish.claim))
            .map(|wish| wish.claim)
            .collect(),
    }
}

/// Its time is over although nothing was begun: the lane opens again, and the attempt takes its turn anew.
fn lapsed(observed: &Observed, made: &Made) -> bool {
    let working = matches!(stage(observed), Stage::AtWork | Stage::GivesBack);
    made.until.is_some_and(|until| until <= observed.now) && !working
}

fn firmware(report: Option<&ReportedItem>) -> Option<&FirmwareStatus> {
    report?.device()?.firmware.as_ref()
}

fn stage(observed: &Observed) -> Stage {
    firmware(observed.report.as_deref()).map_or(Stage::Rests, |f| Stage::of(f.step))
}

fn needs_lane(observed: &Observed) -> bool {
    observed.model.as_ref().is_none_or(|m| m.spec.update.lane_drain == LaneDrainNeed::Needed)
}

/// The claim of the attempt that is under way.
fn change(observed: &Observed) -> Option<Wish> {
    let claim = attempt_claim(observed)?;
    let spec = &observed.device.spec;
    let may_begin = !observed.deleting()
        && observed.life != LifecycleStage::Planned
        && !observed.moving()
        && spec.firmware.is_some()
        && spec.admin == Admin::Enabled;
    let upkeep = match (stage(observed), observed.life) {
        (Stage::Rests, _) => return None,
        // A claim that somebody deleted under a device at work is made again: the lane must not open on it.
        (Stage::AtWork, _) => Upkeep::Make,
        (Stage::GivesBack, _) | (Stage::Asks, LifecycleStage::UnknownPhase) => Upkeep::Keep,
        (Stage::Asks, _) if may_begin => Upkeep::Make,
        (Stage::Asks, _) => return None,
    };
    Some(Wish { claim, upkeep })
}

fn attempt_claim(observed: &Observed) -> Option<Claim> {
    let lane = observed.lanes.first().filter(|_| needs_lane(observed))?;
    let attempt = firmware(observed.report.as_deref())?.attempt;
    Some(Claim::new(observed.device.as_ref(), Purpose::Change(attempt), &lane.name_any()))
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
pub(super) fn ask(observed: &Observed) -> Ask {
    let Some(attempt) = firmware(observed.report.as_deref()).map(|f| f.attempt) else { return Ask::Nothing };
    let claim = attempt_claim(observed);
    let made = claim.as_ref().and_then(|claim| observed.made.iter().find(|made| claim.is(&made.drain)));
    let lane =
        claim.as_ref().map(|claim| format!("{}/{}", observed.device.namespace().unwrap_or_default(), claim.lane));
    let until = made.and_then(|made| made.until).unwrap_or_else(|| own_end(observed));
    let leave = Ask::Leave { attempt, lane, until };
    match (stage(observed), claim) {
        (Stage::Rests, _) => Ask::Nothing,
        (Stage::AtWork | Stage::GivesBack, _) => leave,
        (Stage::Asks, _) if observed.leaves() || observed.moving() => Ask::Nothing,
        (Stage::Asks, None) => leave,
        (Stage::Asks, Some(claim)) => {
            match ClaimProgress::of(&claim, made.map(|made| made.drain.as_ref()), observed.now) {
                ClaimProgress::Waits(block) => Ask::Waits(block),
                ClaimProgress::Held if made.is_some_and(|made| lapsed(observed, made)) => {
                    Ask::Waits(wait(observed, &claim.lane, None))
                }
                ClaimProgress::Held if observed.busy.is_some() => {
                    Ask::Waits(wait(observed, &claim.lane, observed.busy.as_deref()))
                }
                ClaimProgress::Held => leave,
            }
        }
    }
}

/// When leave that needs no lane ends.
fn own_end(observed: &Observed) -> Timestamp {
    let takes = observed.model.as_ref().map_or(0, |m| m.spec.update.downtime_seconds * 4 + m.spec.update.soak_seconds);
    let end = observed.now.checked_add(SignedDuration::from_secs(takes)).and_then(|t| t.checked_add(MARGIN));
    end.and_then(|t| Timestamp::from_second(t.as_second())).unwrap_or(observed.now)
}

fn wait(observed: &Observed, lane: &str, other: Option<&str>) -> BlockedBy {
    let (subject, message) = match other {
        Some(other) => (
            format!("Device/{other}"),
            format!("Device {other} of lane {lane} is being changed; this one is next when that is done."),
        ),
        None => {
            (format!("Lane/{lane}"), format!("The time of the claim on lane {lane} is over; it is asked for anew."))
        }
    };
    BlockedBy::new(BlockCode::LaneDrain, subject, message, observed.now)
}

/// Gives leave, or takes back what is over, and says so to the neighbours.
pub(super) fn grant(ctx: &Context, observed: &Observed) -> Leave {
    let uid = observed.device.uid().unwrap_or_default();
    let take_back = || {
        if ctx.permits.give_back(&uid) {
            wake_neighbours(ctx, &observed.device, &observed.lanes);
        }
    };
    match ask(observed) {
        Ask::Nothing => {
            take_back();
            Leave::NotAsked
        }
        Ask::Waits(block) => {
            take_back();
            Leave::Waits(block)
        }
        Ask::Leave { attempt, lane, until } => match ctx.permits.give(&uid, lane.as_deref(), attempt, until) {
            Some(permit) => Leave::Given(permit),
            None => {
                let lane = observed.lanes.first().map(|lane| lane.name_any()).unwrap_or_default();
                let message =
                    format!("Another device of lane {lane} is being changed; this one is next when that is done.");
                Leave::Waits(BlockedBy { message, ..wait(observed, &lane, None) })
            }
        },
    }
}

/// The lane opens again when nobody else needs it empty, and its other devices are next.
fn wake_neighbours(ctx: &Context, device: &Device, lanes: &[Arc<Lane>]) {
    let namespace = device.namespace().unwrap_or_default();
    for lane in lanes {
        ctx.wakes.lanes.wake(&namespace, &lane.name_any());
        for slot in lane.spec.slots.iter().filter(|slot| slot.device_ref.as_str() != device.name_any()) {
            ctx.wakes.devices.wake(&namespace, slot.device_ref.as_str());
        }
    }
}

/// What the operator claims for this device.
pub(super) fn made(ctx: &Context, device: &Device, lanes: &[Arc<Lane>]) -> Vec<Made> {
    let namespace = device.namespace().unwrap_or_default();
    let until = |drain: &Arc<LaneDrain>| {
        let lane = lanes.first()?;
        lane_drain::hold(ctx, lane, std::slice::from_ref(drain))?.until.parse().ok()
    };
    claim::made_for(&ctx.caches, &namespace, &claim::requester(device))
        .into_iter()
        .map(|drain| Made { until: until(&drain), drain })
        .collect()
}

/// Another device of the lane that is at work; after a start also one that has a claim and whose agent has not
/// said how far it is.
pub(super) fn busy(ctx: &Context, device: &Device, lane: &Lane) -> Option<String> {
    let (namespace, name) = (device.namespace().unwrap_or_default(), device.name_any());
    let others = lane.spec.slots.iter().map(|slot| slot.device_ref.as_str()).filter(|other| *other != name);
    let works = |other: &Device| {
        let Ok(agent) = AgentId::new(&namespace, other.spec.agent_ref.as_str()) else { return false };
        let report = ctx.link.report(&agent, &other.uid().unwrap_or_default());
        let Some(firmware) = firmware(report.as_deref()) else {
            let unheard = ctx.link.facts(&agent).liveness() != Liveness::Live;
            return unheard && has_claim(ctx, other);
        };
        Stage::of(firmware.step) == Stage::AtWork
    };
    others
        .filter_map(|other| caches::get(&ctx.caches.devices, &namespace, other))
        .find(|other| works(other))
        .map(|other| other.name_any())
}

/// Whether a change of this device may have leave: its claim was accepted.
fn has_claim(ctx: &Context, device: &Device) -> bool {
    let namespace = device.namespace().unwrap_or_default();
    let made = claim::made_for(&ctx.caches, &namespace, &claim::requester(device));
    made.iter().any(|drain| {
        let accepted = matches!(lane_drain::state(drain), State::Empties(_) | State::Drained);
        accepted && Purpose::is_change(drain)
    })
}

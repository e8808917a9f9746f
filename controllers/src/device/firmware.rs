//! Which firmware facts the status of a Device shows.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use kalong_crds::device::{DeviceStatus, FirmwareStatus, Step};

use super::decide::Decision;
use super::observe::Observed;
use super::permit::PermitState;
use super::stage::firmware;

/// A step of an attempt that lasts longer than this is worth a status write of its own.
const WORTH_SAYING: Duration = Duration::from_secs(10);

/// The firmware facts for the status, and when to look again for a step that is held back now. A step shorter than [`WORTH_SAYING`] is left to
/// metrics and to the agent's journal.
pub(super) fn published(
    observed: &Observed,
    decision: &Decision,
    old: &DeviceStatus,
) -> (Option<FirmwareStatus>, Option<Duration>) {
    let Some(now) = firmware(observed.agent.live_report()).cloned() else { return (old.firmware.clone(), None) };
    let Some(said) = &old.firmware else { return (Some(now), None) };
    if said == &now {
        return (Some(now), None);
    }
    let waits = matches!(now.step, Step::AwaitingRecertification)
        || (now.step == Step::AwaitingDrain && matches!(decision.permit, PermitState::Waits(_)));
    let ended = matches!(now.step, Step::Idle | Step::Failed | Step::Quarantined | Step::Cancelled);
    let begun = now.attempt != said.attempt;
    let turned = now.running != said.running;
    let age =
        now.since.as_deref().and_then(|s| s.parse::<Timestamp>().ok()).map(|since| observed.now.duration_since(since));
    let long = age.is_none_or(|age| age >= SignedDuration::try_from(WORTH_SAYING).unwrap_or_default());
    if waits || ended || begun || turned || long {
        (Some(now), None)
    } else {
        let left = age.and_then(|age| Duration::try_from(age).ok()).and_then(|age| WORTH_SAYING.checked_sub(age));
        (Some(said.clone()), left.map(|l| l + Duration::from_millis(100)))
    }
}

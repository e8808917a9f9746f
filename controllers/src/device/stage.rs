//! How far an attempt at the firmware of a device is, as far as its lane is concerned.

use kalong_crds::device::{FirmwareStatus, Step};
use kalong_crds::wire::reported::ReportedItem;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum AttemptStage {
    /// No attempt needs the device now.
    Idle,
    /// It asks for a permit.
    Asks,
    /// It has a permit, or changes the device already.
    AtWork,
    /// It is over and the lane is given back.
    GivesBack,
}

impl AttemptStage {
    /// By what the agent last reported of the device.
    pub(super) fn of(report: Option<&ReportedItem>) -> Self {
        firmware(report).map_or(Self::Idle, |firmware| Self::of_step(firmware.step))
    }

    pub(super) fn of_step(step: Step) -> Self {
        match step {
            Step::AwaitingDrain => Self::Asks,
            Step::Draining | Step::Drained => Self::AtWork,
            Step::Undraining => Self::GivesBack,
            step if step.touches_device() => Self::AtWork,
            _ => Self::Idle,
        }
    }
}

/// The firmware in a report.
pub(super) fn firmware(report: Option<&ReportedItem>) -> Option<&FirmwareStatus> {
    report?.device()?.firmware.as_ref()
}

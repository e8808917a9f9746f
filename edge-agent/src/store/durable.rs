//! What of a device or lane survives a restart, so that a restart is no news.

use kalong_crds::device::HealthState;
use kalong_crds::units::Digest;
use kalong_crds::wire::order::{LaneHold, LaneInterlock};
use kalong_crds::wire::reported::DrainRefusal;
use serde::{Deserialize, Serialize};

/// What of a device or lane survives a restart. One type for both: the store keeps one row for each uid.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DurableState {
    /// Health that was reported last; none before the first reading.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub health: Option<HealthState>,
    /// Highest security counter that was proven on the device.
    #[serde(default)]
    pub counter: i64,
    /// Version that ran before the last change.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub previous: Option<String>,
    /// The image that runs, of a device that reports no digest: the declared one since its version was first read back. With it the
    /// image can be put back.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<RunningImage>,
    /// Whether the store was lost: then nothing counts as current before a probe.
    #[serde(default)]
    pub doubt: bool,
    /// Of a lane: whether the offline policy holds it closed.
    #[serde(default)]
    pub offline: bool,
    /// Of a lane: the hold on it and what became of it.
    #[serde(rename = "claim", default, skip_serializing_if = "Option::is_none")]
    pub hold: Option<Box<HoldState>>,
    /// Of a lane: interlocks read by this box that were last seen open.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub interlocks: Vec<LaneInterlock>,
    /// Of a lane: names of all interlocks that kept it closed when that was committed.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub open_interlocks: Vec<String>,
}

/// An image that runs, known by the version that the device reports.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RunningImage {
    /// Version that the device reports while it runs.
    pub version: String,
    /// Digest of the release of that version.
    pub digest: Digest,
}

/// What of a hold survives a restart.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HoldState {
    /// The hold as it was ordered.
    pub hold: LaneHold,
    /// When it came, in RFC 3339, by the best clock that there was.
    pub since: String,
    /// Whether the lane was empty under it.
    #[serde(default)]
    pub emptied: bool,
    /// Whether it ended by itself.
    #[serde(default)]
    pub lapsed: bool,
    /// Why the box does not follow it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub refusal: Option<DrainRefusal>,
}

//! What is said of a healthy object in a few words.

use kalong_crds::condition::{ConditionType, Conditioned, Reason};
use kalong_crds::device::Step;
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::{Crossing, Device, EdgeAgent, IGV, Kind, Lane, LaneDrain, Phase};

use super::node::noun;
use crate::site::{ObjectView, Site, named};

/// An object in a few words.
pub(super) fn describe(site: &Site, view: &ObjectView<'_>) -> String {
    let name = view.name();
    let text = match view.kind {
        Kind::Phase => named(&site.phases, name).map(phase),
        Kind::Crossing => named(&site.crossings, name).map(crossing),
        Kind::Lane => named(&site.lanes, name).map(lane),
        Kind::LaneDrain => named(&site.drains, name).map(drain),
        Kind::InspectionStation => named(&site.stations, name)
            .map(|s| format!("{:?}, serves {}", s.spec.kind, noun(Kind::Lane, s.spec.serves_lanes.len()))),
        Kind::IGV => named(&site.igvs, name).map(igv),
        Kind::BilateralLink => named(&site.links, name)
            .map(|l| format!("to {} by {:?}", l.spec.counterpart.country, l.spec.transport.profile)),
        Kind::EdgeAgent => named(&site.agents, name).map(agent),
        Kind::Device => named(&site.devices, name).map(device),
        Kind::DeviceModel => named(&site.models, name).map(|m| format!("{:?}", m.spec.class)),
        Kind::FirmwareRelease => named(&site.releases, name).map(|r| format!("{:?} {}", r.spec.kind, r.spec.version)),
    };
    text.unwrap_or_default()
}

fn phase(phase: &Phase) -> String {
    let wanted = phase.spec.state;
    match phase.status.as_ref().map(|s| s.state).unwrap_or_default() {
        state if state == wanted => state.as_str().to_owned(),
        state => format!("{}, {} asked for", state.as_str(), wanted.as_str()),
    }
}

fn crossing(crossing: &Crossing) -> String {
    let mut text = format!("{:?} by {:?}", crossing.spec.traffic, crossing.spec.transport);
    if let Some(status) = &crossing.status {
        let declared: i64 = status.lanes.iter().map(|l| l.declared - l.planned).sum();
        text.push_str(&format!(", {} of {declared} lanes open", status.open_lanes));
        let hourly: i64 = status.lanes.iter().map(|l| l.open_passages_per_hour).sum();
        if hourly > 0 {
            text.push_str(&format!(", {hourly} passages/h"));
        }
    }
    if crossing.reason(ConditionType::FloorsMet) == Reason::FloorsHold.as_str() {
        text.push_str(", floors hold");
    }
    text
}

/// What a lane is, without what it does.
pub(super) fn lane_class(lane: &Lane) -> String {
    format!("{:?} {:?}", lane.spec.service, lane.spec.direction)
}

/// What a lane does, as its agent said.
pub(super) fn lane_admission(lane: &Lane) -> LaneAdmission {
    lane.status.as_ref().map(|s| s.admission).unwrap_or_default()
}

fn lane(lane: &Lane) -> String {
    let actual = lane_admission(lane);
    let as_wanted = matches!(
        (lane.spec.admission, actual),
        (Admission::Open, LaneAdmission::Open) | (Admission::Closed, LaneAdmission::Closed)
    );
    if as_wanted {
        format!("{} {actual:?}", lane_class(lane))
    } else {
        format!("{} {actual:?}, {:?} wanted", lane_class(lane), lane.spec.admission)
    }
}

fn drain(drain: &LaneDrain) -> String {
    let spec = &drain.spec;
    let how_far = match drain.status.as_ref() {
        Some(status) if status.accepted_at.is_some() && status.remaining == 0 => "empty and held",
        Some(status) if status.accepted_at.is_some() => "being emptied",
        _ => "waits",
    };
    let class = spec.class.as_str();
    format!("{class} of {}/{} for {}, {how_far}", spec.target.kind.as_str(), spec.target.name, spec.requester)
}

fn igv(igv: &IGV) -> String {
    let Some(status) = &igv.status else { return String::new() };
    let mode = status.operating_mode.as_ref().map_or(String::new(), |mode| format!(" {mode}"));
    format!("{:?}{mode}, side {:?}", status.connection, status.side)
}

fn agent(agent: &EdgeAgent) -> String {
    let Some(status) = &agent.status else { return String::new() };
    let version = status.version.as_ref().map_or(String::new(), |version| format!(", version {version}"));
    format!("{}{version}", noun(Kind::Device, usize::try_from(status.devices).unwrap_or_default()))
}

fn device(device: &Device) -> String {
    let mut text = device.spec.model_ref.0.clone();
    if let Some(firmware) = device.status.as_ref().and_then(|s| s.firmware.as_ref()) {
        if !firmware.running.is_empty() {
            text.push_str(&format!(" {}", firmware.running));
        }
        if firmware.step != Step::Idle {
            text.push_str(&format!(", attempt {}", firmware.attempt));
        }
    }
    text
}

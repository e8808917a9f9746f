//! What is reported of a lane. Pure.

use kalong_crds::condition::Reason;
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::order::LaneOrder;
use kalong_crds::wire::reported::{ItemState, LaneReport, ReportBody, ReportedItem};

use super::hold::UnderChange;
use super::reading::LaneReading;
use super::state::LaneState;

impl LaneState {
    pub(super) fn report(&self, under_change: UnderChange, wanted: Option<Admission>) -> ReportedItem {
        let item = &self.stored.item;
        let (state, reason, message) = self.judge(under_change, wanted);
        let closable = self.order.as_ref().is_some_and(|o| o.admission == Admission::Open);
        ReportedItem {
            uid: item.uid.clone(),
            kind: ItemKind::Lane,
            generation: item.generation,
            hash: item.hash.clone(),
            applied: self.applied,
            state,
            reason: reason.map_or_else(String::new, |r| r.as_str().to_owned()),
            message,
            body: Some(ReportBody::Lane(LaneReport {
                admission: self.admission(under_change),
                held_by_offline_policy: self.offline,
                closed_by_interlock: closable && !self.open.is_empty(),
                refusal: self.hold.as_ref().and_then(|h| h.refusal().cloned()),
            })),
        }
    }

    /// The admission to report. Drained only once it was seen closed and empty twice; a lane that is declared closed is Closed.
    fn admission(&self, under_change: UnderChange) -> LaneAdmission {
        let (Some(order), Some((reading, _))) = (&self.order, self.reading) else { return LaneAdmission::Unknown };
        let held = self.is_held() || under_change == UnderChange::Yes;
        if reading.admission != LaneAdmission::Closed || !held {
            return reading.admission;
        }
        match order.admission {
            Admission::Open if self.empty.is_proven() => LaneAdmission::Drained,
            Admission::Closed if reading.occupancy == Some(0) => LaneAdmission::Closed,
            Admission::Open | Admission::Closed => LaneAdmission::Draining,
        }
    }

    fn judge(&self, under_change: UnderChange, wanted: Option<Admission>) -> (ItemState, Option<Reason>, String) {
        let (Some(order), Some(wanted)) = (&self.order, wanted) else {
            let message = "the order cannot be read: bring operator and agent to releases that fit".to_owned();
            return (ItemState::Rejected, Some(Reason::InvalidSpec), message);
        };
        let Some((reading, _)) = self.reading else {
            let message = "the lane's controller was not read yet or does not answer: see its Device".to_owned();
            return (ItemState::Applying, Some(Reason::DeviceUnreachable), message);
        };
        if wanted == order.admission && reading.fulfils() == Some(wanted) {
            return (ItemState::Applied, None, String::new());
        }
        let (reason, message) = self.closing(order, under_change, reading).unwrap_or_else(|| {
            if reading.admission == LaneAdmission::Draining && wanted == Admission::Closed {
                (Reason::Draining, "the lane is being emptied".to_owned())
            } else {
                let message = "the lane's controller was told and does not show it yet".to_owned();
                (Reason::AdmissionPending, message)
            }
        });
        (ItemState::Applying, Some(reason), message)
    }

    /// What keeps a lane closed that is declared open, the strongest first.
    fn closing(&self, order: &LaneOrder, under_change: UnderChange, reading: LaneReading) -> Option<(Reason, String)> {
        if order.admission == Admission::Closed {
            return None;
        }
        if !self.open.is_empty() {
            let message = format!(
                "interlock {} is open: the lane reopens by itself once it is safe; see the station and its device",
                self.open.join(", ")
            );
            return Some((Reason::InterlockOpen, message));
        }
        if self.offline {
            let message = "the offline policy holds the lane closed until the operator is reached";
            return Some((Reason::OfflinePolicyClosed, message.to_owned()));
        }
        if under_change == UnderChange::Yes {
            let message = "the lane stays closed while one of its devices is being changed";
            return Some((Reason::Drained, message.to_owned()));
        }
        let hold = self.hold.as_ref().filter(|h| h.is_active())?.durable();
        let drains = hold.hold.drains.join(", ");
        let divert = hold.hold.divert_to.as_ref().map_or_else(String::new, |to| format!("; traffic is to take {to}"));
        if reading.admission == LaneAdmission::Closed && self.empty.is_proven() {
            let until = &hold.hold.until;
            return Some((Reason::Drained, format!("empty and held for {drains}, at most until {until}{divert}")));
        }
        let by = &hold.hold.empty_by;
        let message =
            format!("being emptied for {drains}; it serves again by itself if it is not empty by {by}{divert}");
        Some((Reason::Draining, message))
    }
}

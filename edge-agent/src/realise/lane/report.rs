//! What is said of a lane. Pure.

use kalong_crds::condition::Reason;
use kalong_crds::lane::{Admission, LaneAdmission};
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::order::LaneOrder;
use kalong_crds::wire::reported::{ItemState, LaneReport, ReportedItem};

use super::super::hold::Work;
use super::{Lane, Seen, admitted};

/// State, reason and sentence.
type Verdict = (ItemState, Option<Reason>, String);

impl Lane {
    pub(super) fn report(&self, work: Work, wish: Option<Admission>) -> ReportedItem {
        let item = &self.held.item;
        let (state, reason, message) = self.judge(work, wish);
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
            device: None,
            lane: Some(LaneReport {
                admission: self.shown(work),
                held_by_offline_policy: self.offline,
                closed_by_interlock: closable && !self.open.is_empty(),
                refusal: self.hold.as_ref().and_then(|h| h.refusal().cloned()),
            }),
            igv: None,
            link: None,
        }
    }

    /// What the lane does. Drained only once it was seen closed and empty twice; a lane that is declared closed is Closed.
    fn shown(&self, work: Work) -> LaneAdmission {
        let (Some(order), Some((seen, _))) = (&self.order, self.seen) else { return LaneAdmission::Unknown };
        let claimed = self.is_claimed() || work == Work::UnderWay;
        if seen.admission != LaneAdmission::Closed || !claimed {
            return seen.admission;
        }
        match order.admission {
            Admission::Open if self.looks.is_empty() => LaneAdmission::Drained,
            Admission::Closed if seen.occupancy == Some(0) => LaneAdmission::Closed,
            Admission::Open | Admission::Closed => LaneAdmission::Draining,
        }
    }

    fn judge(&self, work: Work, wish: Option<Admission>) -> Verdict {
        let (Some(order), Some(wish)) = (&self.order, wish) else {
            let message = "the order cannot be read: bring operator and agent to releases that fit".to_owned();
            return (ItemState::Rejected, Some(Reason::InvalidSpec), message);
        };
        let Some((seen, _)) = self.seen else {
            let message = "the lane's controller was not read yet or does not answer: see its Device".to_owned();
            return (ItemState::Applying, Some(Reason::DeviceUnreachable), message);
        };
        if wish == order.admission && admitted(seen.admission) == Some(wish) {
            return (ItemState::Applied, None, String::new());
        }
        let (reason, message) = self.closing(order, work, seen).unwrap_or_else(|| {
            if seen.admission == LaneAdmission::Draining && wish == Admission::Closed {
                (Reason::Draining, "the lane is being emptied".to_owned())
            } else {
                let message = "the lane's controller was told and does not show it yet".to_owned();
                (Reason::AdmissionPending, message)
            }
        });
        (ItemState::Applying, Some(reason), message)
    }

    /// What keeps a lane closed that is declared open, the strongest first.
    fn closing(&self, order: &LaneOrder, work: Work, seen: Seen) -> Option<(Reason, String)> {
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
        if work == Work::UnderWay {
            let message = "the lane stays closed while one of its devices is being changed";
            return Some((Reason::Drained, message.to_owned()));
        }
        let claim = self.hold.as_ref().filter(|h| h.is_active())?.memory();
        let drains = claim.hold.drains.join(", ");
        let divert = claim.hold.divert_to.as_ref().map_or_else(String::new, |to| format!("; traffic is to take {to}"));
        if seen.admission == LaneAdmission::Closed && self.looks.is_empty() {
            let until = &claim.hold.until;
            return Some((Reason::Drained, format!("empty and held for {drains}, at most until {until}{divert}")));
        }
        let by = &claim.hold.empty_by;
        let message =
            format!("being emptied for {drains}; it serves again by itself if it is not empty by {by}{divert}");
        Some((Reason::Draining, message))
    }
}

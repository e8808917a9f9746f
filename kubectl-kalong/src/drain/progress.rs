//! How far a claim is, in one sentence.

use kalong_crds::LaneDrain;
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::lane::LaneAdmission;

/// How far a claim is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Progress {
    /// The operator has not looked at it.
    Unseen,
    Waits(String),
    /// It was accepted, and lanes still have to become empty.
    Empties(String),
    /// Everything is empty and held.
    Holds(String),
    Ended(String),
    /// A person has to look.
    Stuck(String),
}

impl Progress {
    /// Where a claim is by its status.
    pub(super) fn of(drain: &LaneDrain) -> Self {
        let seen = drain.status.as_ref().filter(|s| s.observed_generation >= drain.metadata.generation.unwrap_or(1));
        let Some(status) = seen else { return Self::Unseen };
        if drain.is(ConditionType::Released) {
            return Self::Ended("it has passed its end and holds nothing any more".to_owned());
        }
        if let Some(stalled) = drain.condition(ConditionType::Stalled).filter(|c| c.status == "True") {
            return Self::Stuck(format!("{}: {}", stalled.reason, stalled.message));
        }
        if drain.is(ConditionType::Drained) {
            return Self::Holds("everything is empty and held".to_owned());
        }
        if status.accepted_at.is_some() {
            let left =
                status.responders.iter().filter(|r| !matches!(r.state, LaneAdmission::Drained | LaneAdmission::Closed));
            let left: Vec<String> = left.map(|r| format!("{} {:?}", r.name, r.state)).collect();
            let by = status.empty_by.as_ref().map_or(String::new(), |by| format!(", empty by {by} or it is given up"));
            return Self::Empties(format!("accepted; {}{by}", left.join(", ")));
        }
        match status.blocked_by.first() {
            Some(wait) => {
                let until = wait.until.as_ref().map_or(String::new(), |until| format!(" until {until}"));
                Self::Waits(format!("waits on {} ({:?}){until}: {}", wait.subject, wait.code, wait.message))
            }
            None => {
                let accepted =
                    drain.condition(ConditionType::Accepted).or_else(|| drain.condition(ConditionType::Ready));
                Self::Waits(accepted.map_or("waits".to_owned(), |c| format!("waits, {}: {}", c.reason, c.message)))
            }
        }
    }

    pub(super) fn sentence(&self) -> &str {
        match self {
            Self::Unseen => "the operator has not looked at it yet; if that stays: `kubectl kalong doctor`",
            Self::Waits(text) | Self::Empties(text) | Self::Holds(text) | Self::Ended(text) | Self::Stuck(text) => text,
        }
    }
}

//! How an object stands: what its conditions say, worst first, in a handful of degrees that people can act on.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kalong_crds::Kind;
use kalong_crds::condition::{ConditionStatus, ConditionType, Reason};
use serde::Serialize;

use crate::site::ObjectView;

/// How an object stands, from good to bad.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub(crate) enum State {
    /// What is declared is in force.
    Well,
    /// It does not serve, on purpose.
    Resting,
    /// Something is under way or is waited for, and goes on by itself.
    Working,
    /// It serves, and something beside that needs a look.
    Warned,
    Unknown,
    /// Something does not hold that should.
    Failing,
    /// A person or a change of spec is needed.
    Stuck,
}

impl State {
    pub(crate) fn is_problem(self) -> bool {
        self >= Self::Warned
    }
}

/// What one condition says that is not plain well-being.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Finding<'a> {
    pub(crate) condition: &'a str,
    pub(crate) status: &'a str,
    pub(crate) reason: &'a str,
    pub(crate) message: &'a str,
    pub(crate) since: Option<Timestamp>,
    pub(crate) state: State,
}

impl Finding<'_> {
    /// The reason, if it is one of the documented words.
    pub(crate) fn word(&self) -> Option<Reason> {
        Reason::parse(self.reason)
    }
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Health<'a> {
    pub(crate) state: State,
    /// What is to be said, worst first; nothing when all is well.
    pub(crate) findings: Vec<Finding<'a>>,
}

impl<'a> Health<'a> {
    /// Judges an object by what its status says.
    pub(crate) fn of(view: &ObjectView<'a>) -> Self {
        let mut findings: Vec<Finding<'a>> = view.conditions.iter().filter_map(|c| finding(view, c)).collect();
        if view.condition(ConditionType::Ready).is_none() {
            findings.push(said(Reason::Initializing, view.meta.creation_timestamp.as_ref().map(|t| t.0)));
        }
        if let Some(at) = view.deleted_at()
            && !findings.iter().any(|f| f.word() == Some(Reason::Terminating))
        {
            findings.push(said(Reason::Terminating, Some(at)));
        }
        // A stable sort keeps Ready before what repeats it.
        findings.sort_by_key(|f| std::cmp::Reverse(f.state));
        let mut once: Vec<Finding<'a>> = Vec::new();
        for finding in findings {
            // One cause shows in several conditions; the first one carries it.
            if !once
                .iter()
                .any(|f| f.reason == finding.reason && (f.message == finding.message || f.state > finding.state))
            {
                once.push(finding);
            }
        }
        let waits = if view.blocked_by.is_empty() { State::Well } else { State::Working };
        let state = once.first().map_or(State::Well, |f| f.state).max(waits);
        Self { state, findings: once }
    }

    /// What is to be said first.
    pub(crate) fn first(&self) -> Option<&Finding<'a>> {
        self.findings.first()
    }

    /// The reason that is to be said first, or an empty text.
    pub(crate) fn reason(&self) -> &'a str {
        self.first().map_or("", |f| f.reason)
    }
}

/// What stands in no condition.
fn said(reason: Reason, since: Option<Timestamp>) -> Finding<'static> {
    let status = ConditionStatus::Unknown.as_str();
    Finding { condition: "Ready", status, reason: word(reason), message: "", since, state: State::Working }
}

fn word(reason: Reason) -> &'static str {
    reason.as_str()
}

fn finding<'a>(view: &ObjectView<'a>, condition: &'a Condition) -> Option<Finding<'a>> {
    let state = judge(view, condition);
    (state > State::Well).then(|| Finding {
        condition: &condition.type_,
        status: &condition.status,
        reason: &condition.reason,
        message: &condition.message,
        since: Some(condition.last_transition_time.0),
        state,
    })
}

fn judge(view: &ObjectView<'_>, condition: &Condition) -> State {
    let Some(kind) = ConditionType::ALL.iter().find(|k| k.as_str() == condition.type_).copied() else {
        return State::Well;
    };
    let reason = Reason::parse(&condition.reason);
    let holds = condition.status == ConditionStatus::True.as_str();
    let unknown = condition.status == ConditionStatus::Unknown.as_str();
    match kind {
        ConditionType::Stalled if holds => State::Stuck,
        ConditionType::Ready if holds => {
            if reason.is_some_and(rests) {
                State::Resting
            } else {
                State::Well
            }
        }
        ConditionType::Ready if reason.is_some_and(progresses) && view.condition(ConditionType::Stalled).is_none() => {
            State::Working
        }
        ConditionType::Ready if reason.is_some_and(suffers) && serves(view) => State::Warned,
        ConditionType::Ready if unknown => State::Unknown,
        // Stalled says the same, and more clearly.
        ConditionType::Ready if view.condition(ConditionType::Stalled).is_some() => State::Stuck,
        ConditionType::Ready => State::Failing,
        // Nobody is contacted for what is only planned, so nothing else can be said of it.
        _ if view.condition(ConditionType::Ready).is_some_and(|c| c.reason == word(Reason::Planned)) => State::Well,
        ConditionType::Late | ConditionType::Revoked if holds => State::Warned,
        _ if holds && reason.is_some_and(warns) => State::Warned,
        _ if holds || !watched(view.kind, kind) => State::Well,
        _ if reason.is_some_and(rests) => State::Resting,
        _ if reason.is_some_and(is_nothing) => State::Well,
        _ if reason.is_some_and(progresses) => State::Working,
        _ if unknown => State::Unknown,
        ConditionType::Available => State::Failing,
        _ => State::Warned,
    }
}

/// The conditions beside Ready that somebody should look at when they do not hold.
fn watched(kind: Kind, condition: ConditionType) -> bool {
    use ConditionType as C;
    let those: &[C] = match kind {
        Kind::Phase => &[C::EntryMet],
        Kind::Crossing => &[C::Available, C::FloorsMet, C::Authorised],
        Kind::Lane => &[C::Available, C::DevicesReady, C::UpToDate],
        Kind::Device => &[C::Available, C::Connected, C::FirmwareUpToDate, C::ConfigApplied, C::Calibrated],
        Kind::InspectionStation => &[C::Available, C::InterlocksSafe, C::Licensed, C::Calibrated],
        Kind::IGV => &[C::Available, C::Connected, C::Localised, C::MapsCurrent, C::FirmwareUpToDate],
        Kind::BilateralLink => &[C::Available, C::PeerReachable, C::ClockSynchronised],
        Kind::EdgeAgent => {
            &[C::Available, C::Connected, C::Synced, C::ClockTrusted, C::CertificateValid, C::OutboxHealthy]
        }
        Kind::FirmwareRelease => &[C::Verified, C::Mirrored],
        Kind::LaneDrain | Kind::DeviceModel => &[],
    };
    those.contains(&condition)
}

/// Reasons of those with whom nothing is wrong but a part.
fn suffers(reason: Reason) -> bool {
    matches!(reason, Reason::DeviceNotReady | Reason::LaneNotReady)
}

fn serves(view: &ObjectView<'_>) -> bool {
    view.condition(ConditionType::Available).is_some_and(|c| c.status == ConditionStatus::True.as_str())
}

/// Reasons of those who do not serve, on purpose.
fn rests(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Planned
            | Reason::Commissioning
            | Reason::Suspended
            | Reason::Disabled
            | Reason::DryRun
            | Reason::Closed
            | Reason::DrainLapsed
            | Reason::DrainHolds
            | Reason::NothingToDrain
    )
}

/// Reasons of what is not there and need not be.
fn is_nothing(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::NotDeclared
            | Reason::NothingDeclared
            | Reason::NotExchanging
            | Reason::NoAuthority
            | Reason::NoCounterpart
            | Reason::NoFloor
            | Reason::NoLicence
            | Reason::NoInterlock
            | Reason::NoAgreement
            | Reason::PhaseNotOpen
            | Reason::NotSafeToChange
            | Reason::GateFailed
    )
}

/// Reasons of what holds and will not for long.
fn warns(reason: Reason) -> bool {
    matches!(reason, Reason::LicenceEnding | Reason::CertificateEnding | Reason::FallbackServes | Reason::GateVoided)
}

/// Reasons of what goes on by itself.
fn progresses(reason: Reason) -> bool {
    matches!(
        reason,
        Reason::Initializing
            | Reason::Applying
            | Reason::OutOfSync
            | Reason::Verifying
            | Reason::Downloading
            | Reason::Staged
            | Reason::AwaitingDrain
            | Reason::Draining
            | Reason::Drained
            | Reason::Transferring
            | Reason::Installing
            | Reason::Activating
            | Reason::Probation
            | Reason::Committing
            | Reason::RollingBack
            | Reason::AdmissionPending
            | Reason::Fetching
            | Reason::Terminating
            | Reason::PhaseClosing
            | Reason::CapacityFloor
            | Reason::DrainInProgress
            | Reason::DrainAccepted
            | Reason::DrainTimedOut
    )
}

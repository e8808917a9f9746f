//! Where readiness is judged: an ordered chain of small checks; the first that fails gives reason and message.

use std::fmt::Display;

use kalong_crds::condition::{ConditionStatus, ConditionType, ConditionUpdate, Conditioned, Reason};

/// Why an object is not Ready, or why it is Ready without being in force.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Readiness {
    /// Ready on purpose without serving: Planned, Suspended, Disabled.
    Resting(Reason),
    /// Work is under way, or something that heals by itself is awaited.
    Converging(Reason, String),
    /// A person or a change of spec is needed.
    Stuck(Reason, String),
    /// Not known until the agent is heard again.
    Unknown(Reason, String),
}

/// Names that one message lists.
pub const LISTED: usize = 8;

/// The first of these names, as a message lists them.
pub fn listed<T: Display>(names: impl IntoIterator<Item = T>) -> String {
    names.into_iter().take(LISTED).map(|name| name.to_string()).collect::<Vec<_>>().join(", ")
}

/// An object that this field names does not exist.
pub fn missing(kind: &str, name: &str, field: &str) -> Readiness {
    let say = format!("{kind} {name} does not exist in this namespace: declare it, or correct `{field}`.");
    Readiness::Stuck(Reason::MissingReference, say)
}

/// The first objection, if there is one.
pub fn first(checks: impl IntoIterator<Item = Option<Readiness>>) -> Option<Readiness> {
    checks.into_iter().flatten().next()
}

/// Ready, Reconciling and Stalled as one consistent set.
pub fn ready(objection: Option<&Readiness>) -> [ConditionUpdate; 3] {
    use ConditionType::{Ready, Reconciling, Stalled};
    let off = |kind| ConditionUpdate::no(kind, Reason::InForce, "");
    let on = |kind, reason: &Reason, message: &String| ConditionUpdate {
        kind,
        status: ConditionStatus::True,
        reason: *reason,
        message: message.clone(),
    };
    match objection {
        None => [ConditionUpdate::yes(Ready, Reason::InForce), off(Reconciling), off(Stalled)],
        Some(Readiness::Resting(reason)) => [ConditionUpdate::yes(Ready, *reason), off(Reconciling), off(Stalled)],
        Some(Readiness::Converging(reason, message)) => {
            [ConditionUpdate::no(Ready, *reason, message), on(Reconciling, reason, message), off(Stalled)]
        }
        Some(Readiness::Stuck(reason, message)) => {
            [ConditionUpdate::no(Ready, *reason, message), off(Reconciling), on(Stalled, reason, message)]
        }
        Some(Readiness::Unknown(reason, message)) => {
            [ConditionUpdate::unknown(Ready, *reason, message), off(Reconciling), off(Stalled)]
        }
    }
}

/// Ready, Reconciling and Stalled of an object in commissioning: Ready on purpose, with what is still missing as its message. A wrong
/// declaration stays Stalled, and an object that is being removed stays Reconciling.
pub fn commissioning(objection: Option<&Readiness>) -> [ConditionUpdate; 3] {
    let wrong = |reason: &Reason| {
        matches!(
            reason,
            Reason::InvalidSpec | Reason::MissingReference | Reason::SlotConflict | Reason::IdentityTooLong
        )
    };
    let missing = match objection {
        Some(Readiness::Stuck(reason, _)) if wrong(reason) => return ready(objection),
        Some(Readiness::Converging(Reason::Terminating, _)) => return ready(objection),
        Some(Readiness::Converging(_, say) | Readiness::Stuck(_, say) | Readiness::Unknown(_, say)) => say.clone(),
        Some(Readiness::Resting(_)) | None => String::new(),
    };
    let [mut is_ready, reconciling, stalled] = ready(Some(&Readiness::Resting(Reason::Commissioning)));
    is_ready.message = missing;
    [is_ready, reconciling, stalled]
}

/// A condition as it was last written, while nothing new can be said.
pub fn carried(object: &impl Conditioned, kind: ConditionType) -> ConditionUpdate {
    let old = object.condition(kind).and_then(|old| Some((old, Reason::parse(&old.reason)?)));
    let Some((old, reason)) = old else { return ConditionUpdate::unknown(kind, Reason::Initializing, "") };
    let status =
        [ConditionStatus::True, ConditionStatus::False].into_iter().find(|status| status.as_str() == old.status);
    ConditionUpdate { kind, status: status.unwrap_or(ConditionStatus::Unknown), reason, message: old.message.clone() }
}

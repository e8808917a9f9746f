//! What a claim on a lane is for: a label, so that programs need not read names.

use kube::ResourceExt;
use strum::IntoStaticStr;

use crate::LaneDrain;

/// On a LaneDrain: what it is for, as one word of [`Purpose`].
pub const PURPOSE_LABEL: &str = "kalong.dev/purpose";
/// On an object: which program made it and may delete it again.
pub const MADE_BY_LABEL: &str = "kalong.dev/made-by";
/// The value of [`MADE_BY_LABEL`] on objects of the operator.
pub const OPERATOR: &str = "operator";

/// What a LaneDrain is for. Who asks stands in `spec.requester`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
pub enum Purpose {
    /// One attempt at the firmware of a device.
    Firmware,
    /// Switching a device off.
    Disabling,
    /// Closing a lane as declared.
    Closing,
    /// A person asked with `kubectl kalong drain`.
    Hand,
}

impl Purpose {
    const ALL: [Self; 4] = [Self::Firmware, Self::Disabling, Self::Closing, Self::Hand];

    /// The value of the label.
    pub fn as_str(self) -> &'static str {
        self.into()
    }

    /// The purpose that this value of the label stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|purpose| purpose.as_str() == word)
    }

    /// How names of claims began that carry no label, because an operator or plugin made them before there was one.
    fn unlabelled_prefix(self) -> &'static str {
        match self {
            Self::Firmware => "device-",
            Self::Disabling => "disabling-",
            Self::Closing => "closing-",
            Self::Hand => "by-hand-",
        }
    }

    fn of_unlabelled(drain: &LaneDrain) -> Option<Self> {
        let name = drain.name_any();
        let by_operator = drain.is_made_by_operator();
        let made_so = |purpose: &Self| by_operator != (*purpose == Self::Hand);
        Self::ALL.into_iter().filter(made_so).find(|purpose| name.starts_with(purpose.unlabelled_prefix()))
    }
}

impl LaneDrain {
    /// What the claim is for, by its label; none for a claim that a person declared without one, or with a word that is not known.
    pub fn purpose(&self) -> Option<Purpose> {
        match self.labels().get(PURPOSE_LABEL) {
            Some(word) => Purpose::parse(word),
            None => Purpose::of_unlabelled(self),
        }
    }

    /// Whether the operator made the claim for itself, and may end it.
    pub fn is_made_by_operator(&self) -> bool {
        self.labels().get(MADE_BY_LABEL).is_some_and(|by| by == OPERATOR)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drain(name: &str, labels: &[(&str, &str)]) -> LaneDrain {
        let labels: serde_json::Map<_, _> =
            labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).into())).collect();
        serde_json::from_value(serde_json::json!({
            "apiVersion": "kalong.dev/v1alpha1", "kind": "LaneDrain",
            "metadata": {"name": name, "namespace": "mong-cai", "labels": labels},
            "spec": {"target": {"kind": "Lane", "name": "l1"}, "requester": "Device/cam-1", "reason": "A change."},
        }))
        .unwrap()
    }

    #[test]
    fn purpose_is_what_the_label_says_whatever_the_name_is() {
        for purpose in Purpose::ALL {
            let drain = drain("closing-x", &[(PURPOSE_LABEL, purpose.as_str()), (MADE_BY_LABEL, OPERATOR)]);
            assert_eq!(drain.purpose(), Some(purpose));
        }
        assert_eq!(drain("closing-x", &[(PURPOSE_LABEL, "Unheard"), (MADE_BY_LABEL, OPERATOR)]).purpose(), None);
    }

    #[test]
    fn claims_from_before_the_label_are_recognised_by_their_names() {
        let old = |name| drain(name, &[(MADE_BY_LABEL, OPERATOR)]).purpose();
        assert_eq!(old("device-cam-1-3"), Some(Purpose::Firmware));
        assert_eq!(old("disabling-cam-1"), Some(Purpose::Disabling));
        assert_eq!(old("closing-l1"), Some(Purpose::Closing));
        assert_eq!(old("by-hand-l1-x7k2p"), None);
        assert_eq!(drain("by-hand-l1-x7k2p", &[]).purpose(), Some(Purpose::Hand));
        assert_eq!(
            drain("device-park", &[]).purpose(),
            None,
            "a person's own claim is for nothing that the operator knows"
        );
    }
}

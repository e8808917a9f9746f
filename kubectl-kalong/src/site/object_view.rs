//! What every object has in common, whatever its kind.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kalong_crds::blocked::BlockedBy;
use kalong_crds::condition::ConditionType;
use kalong_crds::{ApiObject, Kind, Reference};

/// An object without what its kind alone has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ObjectView<'a> {
    pub(crate) kind: Kind,
    pub(crate) meta: &'a ObjectMeta,
    pub(crate) conditions: &'a [Condition],
    pub(crate) blocked_by: &'a [BlockedBy],
    pub(crate) phase: Option<&'a str>,
}

impl<'a> ObjectView<'a> {
    pub(crate) fn name(&self) -> &'a str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    pub(crate) fn reference(&self) -> Reference {
        Reference::new(self.kind, self.name())
    }

    /// The condition of this type, if it was ever written.
    pub(crate) fn condition(&self, kind: ConditionType) -> Option<&'a Condition> {
        self.conditions.iter().find(|c| c.type_ == kind.as_str())
    }

    /// Whether somebody has asked for its deletion, and when.
    pub(crate) fn deleted_at(&self) -> Option<Timestamp> {
        self.meta.deletion_timestamp.as_ref().map(|t| t.0)
    }
}

/// An object of any kind as an [`ObjectView`].
pub(crate) trait AsView {
    fn view(&self) -> ObjectView<'_>;
}

impl<K: ApiObject> AsView for K {
    fn view(&self) -> ObjectView<'_> {
        ObjectView {
            kind: K::KIND,
            meta: self.meta(),
            conditions: self.conditions(),
            blocked_by: self.blocked_by(),
            phase: self.phase().map(|phase| phase.as_str()),
        }
    }
}

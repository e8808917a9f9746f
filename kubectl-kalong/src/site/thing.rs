//! What every object has in common, whatever its kind.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, ObjectMeta};
use kalong_crds::blocked::BlockedBy;
use kalong_crds::condition::{ConditionType, Conditioned};
use kalong_crds::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, LaneDrain,
    Phase,
};

use crate::kind::{Kind, Reference};

/// An object without what its kind alone has.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Thing<'a> {
    pub(crate) kind: Kind,
    pub(crate) meta: &'a ObjectMeta,
    pub(crate) conditions: &'a [Condition],
    pub(crate) blocked_by: &'a [BlockedBy],
    pub(crate) phase: Option<&'a str>,
}

impl<'a> Thing<'a> {
    /// Its name.
    pub(crate) fn name(&self) -> &'a str {
        self.meta.name.as_deref().unwrap_or_default()
    }

    /// Its kind and name.
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

/// A kind that can be looked at as a [`Thing`].
pub(crate) trait Viewed: Conditioned {
    /// The object without what its kind alone has.
    fn view(&self) -> Thing<'_>;
}

macro_rules! viewed {
    ($($kind:ident $([$blocked:ident])? $(($phase:ident))?;)+) => {
        $(impl Viewed for $kind {
            fn view(&self) -> Thing<'_> {
                Thing {
                    kind: Kind::$kind,
                    meta: &self.metadata,
                    conditions: self.conditions(),
                    blocked_by: viewed!(@blocked self $($blocked)?),
                    phase: viewed!(@phase self $($phase)?),
                }
            }
        })+
    };
    (@blocked $self:ident) => { &[] };
    (@blocked $self:ident $field:ident) => { $self.status.as_ref().map_or(&[], |s| &s.$field) };
    (@phase $self:ident) => { None };
    (@phase $self:ident $field:ident) => { $self.spec.$field.as_ref().map(|p| p.as_str()) };
}

viewed! {
    Phase [blocked_by];
    Crossing [blocked_by] (phase);
    Lane [blocked_by] (phase);
    LaneDrain [blocked_by];
    InspectionStation [blocked_by] (phase);
    IGV [blocked_by] (phase);
    BilateralLink [blocked_by] (phase);
    EdgeAgent [blocked_by] (phase);
    Device [blocked_by] (phase);
    DeviceModel;
    FirmwareRelease;
}

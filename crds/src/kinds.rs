//! The kinds of `kalong.dev`, listed once. What exists for every kind expands from [`for_each_kind!`](crate::for_each_kind).

use std::fmt;
use std::str::FromStr;

use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Condition;
use kube::core::object::HasStatus;
use kube::{CustomResourceExt, Resource};
use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::blocked::BlockedBy;
use crate::condition::Conditioned;
use crate::units::Name;
use crate::wire::desired::ItemKind;
use crate::{
    BilateralLink, Crossing, Device, DeviceModel, EdgeAgent, FirmwareRelease, IGV, InspectionStation, Lane, LaneDrain,
    Phase,
};

/// Calls a macro once with every kind, from the programme down to the instrument.
///
/// A row is the type, the usual name of a list of its objects, and its facts, which are read in this file alone. A callback
/// matches a row as `$kind:ident { $list:ident $($facts:tt)* }` and reaches the type as `kalong_crds::$kind`:
///
/// ```
/// macro_rules! inventory {
///     ($($kind:ident { $list:ident $($facts:tt)* })+) => {
///         #[derive(Default)]
///         struct Inventory { $($list: Vec<kalong_crds::$kind>,)+ }
///
///         impl Inventory {
///             fn count(&self) -> usize { 0 $(+ self.$list.len())+ }
///         }
///     };
/// }
/// kalong_crds::for_each_kind!(inventory);
/// assert_eq!(Inventory::default().count(), 0);
/// ```
///
/// A callback that uses `self` or a local variable must be defined where those are in scope, inside the function; variables
/// that it makes itself (`let $list = ...`) are visible to nothing but the same expansion.
///
/// `item` is the kind of wire item as which an edge agent realises the object; `phase` and `blocked_by` name the fields of spec
/// and status that carry them; `page` is the place of its page in the documentation, by which CRDs are listed.
#[macro_export]
macro_rules! for_each_kind {
    ($($callback:tt)+) => {
        $($callback)+! {
            Phase { phases, item: [], phase: [], blocked_by: [blocked_by], page: 11 }
            Crossing { crossings, item: [], phase: [phase], blocked_by: [blocked_by], page: 1 }
            Lane { lanes, item: [Lane], phase: [phase], blocked_by: [blocked_by], page: 2 }
            LaneDrain { drains, item: [], phase: [], blocked_by: [blocked_by], page: 10 }
            InspectionStation { stations, item: [], phase: [phase], blocked_by: [blocked_by], page: 7 }
            IGV { igvs, item: [Igv], phase: [phase], blocked_by: [blocked_by], page: 8 }
            BilateralLink { links, item: [Link], phase: [phase], blocked_by: [blocked_by], page: 9 }
            EdgeAgent { agents, item: [Agent], phase: [phase], blocked_by: [blocked_by], page: 5 }
            Device { devices, item: [Device], phase: [phase], blocked_by: [blocked_by], page: 3 }
            DeviceModel { models, item: [], phase: [], blocked_by: [], page: 4 }
            FirmwareRelease { releases, item: [], phase: [], blocked_by: [], page: 6 }
        }
    };
}

/// An object of one of the kinds.
pub trait ApiObject:
    Resource<DynamicType = (), Scope = NamespaceResourceScope>
    + CustomResourceExt
    + HasStatus
    + Conditioned
    + Clone
    + fmt::Debug
    + Serialize
    + DeserializeOwned
    + Send
    + Sync
    + 'static
{
    /// Which kind it is.
    const KIND: Kind;

    /// The Phase that it belongs to. Without one it is always live; some kinds never belong to one.
    fn phase(&self) -> Option<&Name>;

    /// What it waits for, as its status says; empty for kinds that wait for nothing.
    fn blocked_by(&self) -> &[BlockedBy];
}

macro_rules! kinds {
    ($($kind:ident {
        $list:ident,
        item: [$($item:ident)?],
        phase: [$($phase:ident)?],
        blocked_by: [$($blocked_by:ident)?],
        page: $page:literal
    })+) => {
        /// A kind of `kalong.dev`.
        #[allow(clippy::upper_case_acronyms, reason = "the kind is written so in the API")]
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum Kind { $(#[doc = concat!("[`crate::", stringify!($kind), "`]")] $kind,)+ }

        impl Kind {
            /// Every kind, from the programme down to the instrument.
            pub const ALL: &[Self] = &[$(Self::$kind),+];

            /// The kind as it stands in the API, for example `DeviceModel`.
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$kind => stringify!($kind)),+ }
            }

            /// The resource of its objects in paths and RBAC rules, for example `devicemodels`.
            pub fn plural(self) -> String {
                match self { $(Self::$kind => $kind::plural(&()).into_owned()),+ }
            }

            /// The abbreviations that kubectl knows, for example `kmodel`.
            pub fn short_names(self) -> &'static [&'static str] {
                match self { $(Self::$kind => $kind::shortnames()),+ }
            }

            /// The place of its page in the documentation, counted from 1.
            pub(crate) fn page(self) -> u8 {
                match self { $(Self::$kind => $page),+ }
            }

            /// The kind of wire item as which an edge agent realises it; none if only the operator deals with it.
            pub fn item_kind(self) -> Option<ItemKind> {
                match self { $(Self::$kind => None$(.or(Some(ItemKind::$item)))?),+ }
            }
        }

        $(
            impl Conditioned for $kind {
                fn conditions(&self) -> &[Condition] {
                    self.status.as_ref().map_or(&[], |status| &status.conditions)
                }
            }

            impl ApiObject for $kind {
                const KIND: Kind = Kind::$kind;

                fn phase(&self) -> Option<&Name> {
                    None$(.or(self.spec.$phase.as_ref()))?
                }

                fn blocked_by(&self) -> &[BlockedBy] {
                    let field: Option<&[BlockedBy]> = None$(.or(self.status.as_ref().map(|s| s.$blocked_by.as_slice())))?;
                    field.unwrap_or_default()
                }
            }
        )+
    };
}

for_each_kind!(kinds);

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A text that names no kind.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("`{0}` is no kind of Kalong: `kubectl api-resources --api-group kalong.dev` lists them")]
pub struct UnknownKind(pub String);

impl FromStr for Kind {
    type Err = UnknownKind;

    /// Accepts what kubectl accepts, in any case: kind, plural or short name, with or without version and group.
    fn from_str(text: &str) -> Result<Self, UnknownKind> {
        let lower = text.to_lowercase();
        let word = lower.split('.').next().unwrap_or_default();
        let known = |kind: &&Self| {
            kind.as_str().eq_ignore_ascii_case(word) || kind.plural() == word || kind.short_names().contains(&word)
        };
        Self::ALL.iter().find(known).copied().ok_or_else(|| UnknownKind(text.to_owned()))
    }
}

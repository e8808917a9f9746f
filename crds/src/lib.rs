//! What things are: the API types of `kalong.dev/v1alpha1`, conditions, units, and what operator and agent say to each other.
//!
//! No I/O, no runtime, no Kubernetes client: everything here can be judged in a unit test.
#![expect(
    clippy::duplicated_attributes,
    reason = "the columns of a CRD repeat the keys of `kube`, which clippy takes for a mistake"
)]

pub mod bilateral_link;
pub mod blocked;
pub mod category;
pub mod condition;
pub mod crossing;
pub mod device;
pub mod device_model;
pub mod edge_agent;
pub mod field_manager;
pub mod firmware_release;
pub mod igv;
pub mod inspection_station;
pub mod kinds;
pub mod lane;
pub mod lane_drain;
pub mod phase;
pub mod property;
pub mod protocol;
pub mod purpose;
pub mod reference;
pub mod schema;
pub mod units;
pub mod well_known;
pub mod wire;

pub use bilateral_link::BilateralLink;
pub use blocked::{BlockCode, BlockedBy};
pub use category::Category;
pub use condition::{ConditionType, ConditionUpdate, Conditioned, Reason};
pub use crossing::Crossing;
pub use device::Device;
pub use device_model::DeviceModel;
pub use edge_agent::EdgeAgent;
pub use firmware_release::FirmwareRelease;
pub use igv::IGV;
pub use inspection_station::InspectionStation;
pub use kinds::{ApiObject, Kind};
pub use lane::Lane;
pub use lane_drain::LaneDrain;
pub use phase::Phase;
pub use purpose::{MADE_BY_LABEL, OPERATOR, PURPOSE_LABEL, Purpose};
pub use reference::Reference;

/// The API group of every kind.
pub const GROUP: &str = "kalong.dev";
/// The one served and stored version.
pub const VERSION: &str = "v1alpha1";
/// Keeps a Device or Lane until its agent confirmed the signed tombstone.
pub const FINALIZER: &str = "kalong.dev/tombstone";
/// Keeps an EdgeAgent while a Device, IGV or BilateralLink names it.
pub const AGENT_FINALIZER: &str = "kalong.dev/devices";
/// Lets a DELETE of something in service pass the policy: `<name>, <date>, <reason>`.
pub const DELETE_IN_SERVICE: &str = "kalong.dev/delete-in-service";
/// On an EdgeAgent: the box is gone for good; revoke it and release its devices. `<name>, <date>, <reason>`.
pub const ABANDON: &str = "kalong.dev/abandon";
/// On a Device: try the same release once more after a refusal or rollback; the value is the attempt that failed.
pub const RETRY: &str = "kalong.dev/retry";
/// On a Device: ends quarantine after a person looked at it: `<attempt>, <name>`.
pub const RELEASE_QUARANTINE: &str = "kalong.dev/release-quarantine";
/// On an object of an earlier phase that a later one changes: the name of that later Phase.
pub const CHANGED_FOR_PHASE: &str = "kalong.dev/changed-for-phase";
/// The site (a namespace) that an object belongs to, as a label.
pub const SITE_LABEL: &str = "kalong.dev/site";

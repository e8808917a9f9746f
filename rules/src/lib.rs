//! What may be done at a site: rules that depend on nothing but their input.
//!
//! The operator, the kubectl plugin and tests judge by the same functions. The crate has no Kubernetes client, no runtime and no
//! clock: a [`snapshot`] of the site and the moment are given.

pub mod agreement;
pub mod capacity;
pub mod claim;
pub mod day;
pub mod gates;
pub mod lifecycle;
pub mod snapshot;

pub use lifecycle::LifecycleStage;
pub use snapshot::{Relation, SiteObject, SiteSnapshot};

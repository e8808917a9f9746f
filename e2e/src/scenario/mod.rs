//! What the demo and the fault tests share: a whole site on real parts, and ways to look at it and to make trouble.
//!
//! [`LiveSite::start`] brings it up as a person would: Helm, kubectl, `kubectl kalong enrol` and the very command that it prints. What is
//! checked is read from the API server ([`Journal`]), its audit log, the simulator's control port ([`Simulated`]) and
//! the lines between boxes and operator ([`UplinkProxy`]), never from what the operator says of itself.

mod agents;
mod artifact_shelf;
mod author;
mod binaries;
mod cluster;
pub mod existing_cluster;
mod failure;
mod incident;
mod install;
mod journal;
mod live;
mod meter;
mod operator;
mod owner;
pub mod plain_http;
mod program;
mod progress;
mod simulated;
mod traffic;
mod uplink;

pub use agents::Agent;
pub use artifact_shelf::ArtifactShelf;
pub use author::{Flaw, Publication, Published, next_version, publish};
pub use binaries::{Binaries, Binary};
pub use cluster::{Cluster, REQUEST_DEADLINE};
pub use failure::ScenarioError;
pub use incident::{Incident, incident, incidents};
pub use install::{OPERATOR_NAMESPACE, RELEASE, SERVICE_ACCOUNT};
pub use journal::{Journal, Present, Sighting, version};
pub use live::{GRACE, HEARTBEAT, LiveSite};
pub use meter::Meter;
pub use operator::{Listens, Operator, OperatorOrder};
pub use program::Program;
pub use progress::ProgressLog;
pub use simulated::Simulated;
pub use traffic::{ChangeTraffic, ChangesDone, Dial, FaultActor, Set};
pub use uplink::{Destinations, Reconnect, UplinkProxy};

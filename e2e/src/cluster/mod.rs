//! A real control plane on loopback: etcd, kube-apiserver and kube-controller-manager, with kubectl and Helm beside them.
//!
//! [`Assets::obtain`] finds or builds the programs, [`ControlPlane::start`] runs them under a [`supervisor`] that ends them
//! whatever becomes of us. Tests share one control plane a binary ([`ControlPlane::shared`]) and take a namespace each
//! ([`TestNamespace`]). [`AuditLog`] is the counting instrument: what was written to the API, by whom.
//!
//! What is real: TLS with its own CA, RBAC, ServiceAccount tokens, admission with its defaults (ValidatingAdmissionPolicy among
//! them), garbage collection, namespace deletion. What is not there: nodes, so nothing that is created as a Pod runs.

mod assets;
mod audit;
mod command;
mod credentials;
mod directories;
mod failure;
mod go;
mod kubeconfig;
mod namespace;
mod options;
mod plane;
mod port;
mod process;
mod ready;
mod start;
pub mod supervisor;
mod tools;

pub use assets::{ASSETS_VARIABLE, AssetSource, Assets, AssetsError};
pub use audit::{AuditEntry, AuditError, AuditLog, AuditMark};
pub use command::CommandError;
pub use credentials::CredentialError;
pub use directories::{target_directory, workspace_directory};
pub use failure::ControlPlaneError;
pub use go::GoError;
pub use kubeconfig::KubeconfigError;
pub use namespace::TestNamespace;
pub use options::{ApiPort, StartOptions};
pub use plane::ControlPlane;
pub use port::{PortError, free_loopback_port};
pub use supervisor::{Child, ChildError, ChildSpec, Exit, Signal, Supervisor, SupervisorError};
pub use tools::Tool;

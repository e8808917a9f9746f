//! Field managers: who writes what, as the API server records it.

/// Writes the status of every kind.
pub const STATUS: &str = "kalong/status";
/// Applies `spec.firmware` of devices and vehicles, un-forced.
pub const ROLLOUT: &str = "kalong/rollout";
/// Adds and removes finalizers.
pub const FINALIZERS: &str = "kalong/finalizers";
/// Creates certificate requests and the operator's own Secrets.
pub const OPERATOR: &str = "kalong/operator";

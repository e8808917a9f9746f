//! The way of what the operator wants into the agent: handed over once, and answered when it is durable.

use kalong_crds::wire::envelope::Fence;
use tokio::sync::{mpsc, oneshot};

use crate::store::StoreError;
use crate::store::desired::{DesiredMismatch, DesiredUpdate};

/// Updates that may wait; the uplink hands over one at a time.
const QUEUE: usize = 16;

/// Why an update was not applied.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum ApplyError {
    /// It does not fit what the box holds.
    #[error(transparent)]
    #[strum(to_string = "misfit")]
    Mismatch(#[from] DesiredMismatch),
    /// It could not be stored, so nothing was done.
    #[error(transparent)]
    #[strum(transparent)]
    Store(#[from] StoreError),
    /// The agent is shutting down.
    #[error("the box is going down")]
    Ended,
}

pub(super) struct ApplyRequest {
    pub(super) update: DesiredUpdate,
    pub(super) fence: Fence,
    pub(super) answer: oneshot::Sender<Result<(), ApplyError>>,
}

/// Hands updates of the desired set to the dispatcher.
#[derive(Clone)]
pub struct DesiredSink {
    requests: mpsc::Sender<ApplyRequest>,
}

impl std::fmt::Debug for DesiredSink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("DesiredSink")
    }
}

impl DesiredSink {
    pub(super) fn new() -> (Self, mpsc::Receiver<ApplyRequest>) {
        let (requests, inbox) = mpsc::channel(QUEUE);
        (Self { requests }, inbox)
    }

    /// Returns once the update is durable and the rooms that realise it know of it.
    pub async fn apply(&self, update: DesiredUpdate, fence: Fence) -> Result<(), ApplyError> {
        let (answer, done) = oneshot::channel();
        self.requests.send(ApplyRequest { update, fence, answer }).await.map_err(|_| ApplyError::Ended)?;
        done.await.map_err(|_| ApplyError::Ended)?
    }
}

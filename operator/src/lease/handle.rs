//! The Lease as the rest of the process sees it.

use tokio::sync::{mpsc, oneshot, watch};

use crate::client::ApiError;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LeaseState {
    /// Another process leads, or none.
    Waiting,
    /// It leads, under this term.
    Leading(u64),
    /// It led, and must end now; with the cause.
    Lost(String),
    /// It gave the Lease back at its end.
    Released,
}

/// Why a request to the holder of the Lease failed.
#[derive(Debug, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum LeaseError {
    /// This process does not lead.
    #[error("this process does not hold the Lease")]
    NotLeading,
    /// The term that an agent claims is too far ahead to be true.
    #[error(
        "term {claimed} is more than a year ahead of {current}: enrol the agent anew, its store is damaged or forged"
    )]
    #[strum(to_string = "term-implausible")]
    Implausible {
        current: u64,
        /// Term that the agent claims to have verified.
        claimed: u64,
    },
    /// The API server failed, refused or did not answer.
    #[error(transparent)]
    #[strum(transparent)]
    Api(#[from] ApiError),
    #[error("the Lease is held by `{0}`")]
    Foreign(String),
}

/// What the rest of the process asks of the loop that holds the Lease.
pub(super) enum LeaseRequest {
    RaiseAbove(u64, oneshot::Sender<Result<u64, LeaseError>>),
    Release(oneshot::Sender<()>),
}

/// Reads the state of the Lease, and asks for changes. Clones are the same.
#[derive(Clone, Debug)]
pub struct LeaseHandle {
    pub(super) state: watch::Receiver<LeaseState>,
    pub(super) requests: mpsc::Sender<LeaseRequest>,
}

impl LeaseHandle {
    /// Waits until this process leads, and returns the term.
    pub async fn acquired(&self) -> Result<u64, LeaseError> {
        let mut state = self.state.clone();
        let reached = state.wait_for(|s| !matches!(s, LeaseState::Waiting)).await;
        match reached.as_deref() {
            Ok(LeaseState::Leading(term)) => Ok(*term),
            _ => Err(LeaseError::NotLeading),
        }
    }

    /// Waits until the Lease is lost, and returns the cause. Pends while it is held, and after it was given back.
    pub async fn lost(&self) -> String {
        let mut state = self.state.clone();
        loop {
            match &*state.borrow_and_update() {
                LeaseState::Lost(why) => return why.clone(),
                LeaseState::Released => break,
                LeaseState::Waiting | LeaseState::Leading(_) => {}
            }
            if state.changed().await.is_err() {
                return "the task that renews the Lease ended".to_owned();
            }
        }
        std::future::pending().await
    }

    /// Raises the term above one that an agent has verified: the Lease was lost once and began too low.
    pub async fn raise_above(&self, claimed: u64) -> Result<u64, LeaseError> {
        let (answer, raised) = oneshot::channel();
        self.requests.send(LeaseRequest::RaiseAbove(claimed, answer)).await.map_err(|_| LeaseError::NotLeading)?;
        raised.await.map_err(|_| LeaseError::NotLeading)?
    }

    /// Gives the Lease back, so that a successor need not wait for it to expire. Nothing may be sent to agents afterwards.
    pub async fn release(&self) {
        let (answer, released) = oneshot::channel();
        if self.requests.send(LeaseRequest::Release(answer)).await.is_ok() {
            let _ = released.await;
        }
    }
}

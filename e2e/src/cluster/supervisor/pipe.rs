//! The pipe to the supervisor: requests go down, and its reports set the state of each child.

use std::collections::BTreeMap;
use std::io::Write;
use std::process::ChildStdin;
use std::sync::atomic::{AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::failure::SupervisorError;
use super::protocol::{ChildId, Exit, Report, Request};

/// The supervisor's latest report of a child.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum ChildState {
    Asked,
    Running { pid: u32 },
    Failed { message: String },
    Ended { exit: Exit },
}

/// Shared by the supervisor's handle and those of its children.
#[derive(Debug)]
pub(super) struct Pipe {
    down: Mutex<Option<ChildStdin>>,
    children: Mutex<BTreeMap<ChildId, watch::Sender<ChildState>>>,
    next: AtomicU64,
}

impl Pipe {
    pub(super) fn new(down: Option<ChildStdin>) -> Self {
        Self { down: Mutex::new(down), children: Mutex::default(), next: AtomicU64::new(0) }
    }

    /// A number for a child that is about to be started, and its state from now on.
    pub(super) fn register(&self) -> (ChildId, watch::Receiver<ChildState>) {
        let id = self.next.fetch_add(1, Ordering::Relaxed);
        let (sender, state) = watch::channel(ChildState::Asked);
        self.children.lock().insert(id, sender);
        (id, state)
    }

    pub(super) fn send(&self, request: &Request) -> Result<(), SupervisorError> {
        let mut line = serde_json::to_vec(request).map_err(|_| SupervisorError::Gone)?;
        line.push(b'\n');
        // The supervisor always reads, so this waits for no other than the scheduler.
        self.down.lock().as_mut().and_then(|down| down.write_all(&line).ok()).ok_or(SupervisorError::Gone)
    }

    pub(super) fn take(&self, report: Report) {
        let (id, state) = match report {
            Report::Ready { .. } => return,
            Report::Spawned { id, pid } => (id, ChildState::Running { pid }),
            Report::SpawnFailed { id, message } => (id, ChildState::Failed { message }),
            Report::Exited { id, exit } => (id, ChildState::Ended { exit }),
        };
        if let Some(child) = self.children.lock().get(&id) {
            child.send_replace(state);
        }
    }

    /// The end of the supervisor's input: it ends its children, then itself.
    pub(super) fn close(&self) {
        drop(self.down.lock().take());
    }

    /// The supervisor is gone, and every child with it.
    pub(super) fn lost(&self) {
        self.close();
        for child in self.children.lock().values() {
            child.send_if_modified(|state| {
                let ended = matches!(state, ChildState::Ended { .. });
                if !ended {
                    *state = ChildState::Ended { exit: Exit::Unknown };
                }
                !ended
            });
        }
    }
}

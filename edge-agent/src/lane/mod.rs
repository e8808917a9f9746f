//! The lanes whose controllers belong to this box: what each controller is to do, what it does, and which device of a lane may be touched.
//!
//! A lane is open only when it is declared open and nothing speaks against it: no hold, no open interlock, no offline policy, no device being
//! changed. It closes on the box's own judgement, and opens again by itself once the last of these has ended. [`table`] decides that, purely;
//! this module reports it, makes it durable and wakes the controllers.

pub mod hold;
pub mod interlock;
pub mod offline;
pub mod reading;
pub mod safety;
pub mod table;

mod report;
mod state;

#[cfg(test)]
mod tests;

use std::collections::BTreeMap;
use std::sync::Arc;

use kalong_crds::Category;
use kalong_crds::device::Guard;
use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::context::AgentContext;
use table::LaneTable;

/// The lanes of the box, shared by the tasks of their devices.
#[derive(Debug)]
pub struct Lanes {
    agent: Arc<AgentContext>,
    table: Mutex<LaneTable>,
    /// Tasks of devices by uid: any device may become a controller.
    wakers: Mutex<BTreeMap<String, Arc<Notify>>>,
}

impl Lanes {
    /// The service of a box that controls no lanes yet.
    pub fn new(agent: Arc<AgentContext>) -> Self {
        Self { agent, table: Mutex::default(), wakers: Mutex::default() }
    }

    /// Runs a closure on the locked table. A guard would live to the end of its statement, and lock out a second call in it.
    pub fn with<T>(&self, run: impl FnOnce(&mut LaneTable) -> T) -> T {
        run(&mut self.table.lock())
    }

    /// Registers how the task of a device is woken.
    pub fn register(&self, uid: &str, wake: Arc<Notify>) {
        self.wakers.lock().insert(uid.to_owned(), wake);
    }

    /// Forgets a device: its task is not woken any more, and its interlocks count as unread.
    pub fn forget_device(&self, uid: &str) {
        self.wakers.lock().remove(uid);
        self.with(|table| table.forget_device(uid));
    }

    /// Gives a lane or device another uid; what is known of it stays.
    pub fn rename(&self, old: &str, new: &str) {
        let mut wakers = self.wakers.lock();
        if let Some(wake) = wakers.remove(old) {
            wakers.insert(new.to_owned(), wake);
        }
        drop(wakers);
        self.with(|table| table.rename(old, new));
    }

    /// Makes the task of a device visit it at once.
    pub fn wake(&self, uid: &str) {
        let wake = self.wakers.lock().get(uid).cloned();
        if let Some(wake) = wake {
            wake.notify_one();
        }
    }

    /// Reports a lane as it is now, if it is still declared.
    pub fn report(&self, uid: &str) {
        let report = self.with(|table| table.report(uid));
        if let Some(report) = report {
            self.agent.reported.set(report);
        }
    }

    /// Commits what changed of a lane and its events. What cannot be committed is tried again at the next visit: no lane waits for the disk.
    pub async fn save(&self, uid: &str) {
        let unsaved = self.with(|table| table.take_unsaved(uid));
        let Some(transaction) = unsaved else { return };
        if let Err(error) = self.agent.commit(transaction.clone()).await {
            tracing::warn!(lane = uid, category = error.category(), %error, "What changed of a lane could not be committed; the next visit tries again.");
            self.with(|table| table.put_back(transaction));
        }
    }

    /// Takes in the interlocks that a device shows, and has the controllers of the lanes that depend on them act at once.
    pub async fn update_interlocks(&self, uid: &str, name: &str, guards: &[Guard]) {
        let changed = self.with(|table| table.update_interlocks(uid, name, guards));
        for lane in &changed {
            self.wake(&lane.controller);
            self.report(&lane.uid);
        }
        // Only then, so that no lane waits for the disk.
        for lane in &changed {
            self.save(&lane.uid).await;
        }
    }
}

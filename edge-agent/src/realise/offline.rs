//! What happens to the lanes of a box that is cut off. Counted in monotonic time; losing the uplink never opens anything.

use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use kalong_crds::condition::Reason;
use kalong_crds::edge_agent::OfflinePolicy;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::event::EventSeverity;
use tokio::time::Instant;

use super::Site;
use super::lane::Turned;
use crate::store::journal::Memory;
use crate::store::outbox::NewEvent;
use crate::store::{Note, StoreError};

/// How often the time without the operator is looked at.
const LOOK: Duration = Duration::from_secs(1);
/// How long a session must hold before lanes are given back: what changed meanwhile comes first.
const SETTLED: Duration = Duration::from_secs(3);

/// Since when the operator is reached or not.
#[derive(Debug)]
pub struct Contact {
    inner: Mutex<(Link, Instant)>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    Up,
    Down,
}

impl Default for Contact {
    fn default() -> Self {
        Self { inner: Mutex::new((Link::Down, Instant::now())) }
    }
}

impl Contact {
    fn lock(&self) -> MutexGuard<'_, (Link, Instant)> {
        self.inner.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// A session began.
    pub fn up(&self) {
        *self.lock() = (Link::Up, Instant::now());
    }

    /// The session ended.
    pub fn down(&self) {
        let mut inner = self.lock();
        if inner.0 == Link::Up {
            *inner = (Link::Down, Instant::now());
        }
    }

    /// How long the operator has not been reached; zero while it is.
    pub fn silence(&self) -> Duration {
        let inner = self.lock();
        if inner.0 == Link::Up { Duration::ZERO } else { inner.1.elapsed() }
    }

    /// Whether a session has held long enough to be believed.
    pub fn is_settled(&self) -> bool {
        let inner = self.lock();
        inner.0 == Link::Up && inner.1.elapsed() >= SETTLED
    }

    /// Whether the operator was reached within this time.
    pub fn within(&self, limit: Duration) -> bool {
        self.silence() < limit
    }
}

/// What is to be in force now; none leaves things as they are.
pub fn judge(policy: OfflinePolicy, after: Duration, contact: &Contact) -> Option<Option<OfflinePolicy>> {
    if contact.is_settled() {
        Some(None)
    } else if policy != OfflinePolicy::Hold && contact.silence() >= after {
        Some(Some(policy))
    } else {
        None
    }
}

/// Watches the contact for ever.
pub async fn watch(site: Arc<Site>) {
    loop {
        tokio::time::sleep(LOOK).await;
        let Some((policy, after)) = site.offline_settings() else { continue };
        let Some(in_force) = judge(policy, after, &site.contact) else { continue };
        for turned in site.lanes.turned_by(in_force) {
            match remember(&site, &turned).await {
                Ok(()) => {
                    site.lanes.hold(&turned);
                    site.report_lane(&turned.uid);
                    site.wake(&turned.controller);
                }
                Err(error) if turned.held => {
                    // Closing does not wait for the record: the gate comes first.
                    site.lanes.hold(&turned);
                    site.wake(&turned.controller);
                    tracing::error!(lane = turned.name, %error, "the lane is closed by the offline policy and that could not be recorded");
                }
                Err(error) => {
                    tracing::error!(lane = turned.name, %error, "the lane is not given back before that can be recorded")
                }
            }
        }
    }
}

async fn remember(site: &Site, turned: &Turned) -> Result<(), StoreError> {
    let (reason, severity, note) = if turned.held {
        let note = format!("lane {} was closed because the operator was not reached", turned.name);
        (Reason::OfflinePolicyClosed, EventSeverity::Warning, note)
    } else {
        let note = format!("lane {} was given back because the operator is reached again", turned.name);
        (Reason::OfflinePolicyEnded, EventSeverity::Normal, note)
    };
    tracing::info!(lane = turned.name, held = turned.held, "{note}");
    let event =
        NewEvent { kind: ItemKind::Lane, name: turned.name.clone(), uid: turned.uid.clone(), reason, severity, note };
    site.note(Note {
        uid: turned.uid.clone(),
        memory: Some(Memory { offline: turned.held, ..site.lanes.memory(&turned.uid) }),
        events: vec![event],
        ..Note::default()
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    const AFTER: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn policy_takes_effect_after_its_time_and_ends_with_a_settled_session() {
        let contact = Contact::default();
        assert_eq!(judge(OfflinePolicy::SafeClose, AFTER, &contact), None);
        tokio::time::advance(AFTER).await;
        assert_eq!(judge(OfflinePolicy::SafeClose, AFTER, &contact), Some(Some(OfflinePolicy::SafeClose)));
        assert_eq!(judge(OfflinePolicy::Hold, AFTER, &contact), None);
        contact.up();
        assert_eq!(judge(OfflinePolicy::SafeClose, AFTER, &contact), None);
        tokio::time::advance(SETTLED).await;
        assert_eq!(judge(OfflinePolicy::SafeClose, AFTER, &contact), Some(None));
        contact.down();
        assert_eq!(judge(OfflinePolicy::SafeClose, AFTER, &contact), None);
    }

    #[tokio::test(start_paused = true)]
    async fn failed_connects_do_not_restart_the_count() {
        let contact = Contact::default();
        tokio::time::advance(Duration::from_secs(59)).await;
        contact.down();
        tokio::time::advance(Duration::from_secs(1)).await;
        assert_eq!(contact.silence(), AFTER);
    }
}

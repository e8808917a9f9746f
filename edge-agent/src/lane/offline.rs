//! What happens to the lanes of a box that is cut off. Counted in monotonic time; losing the uplink never opens anything.

use std::sync::Arc;
use std::time::Duration;

use kalong_crds::condition::Reason;
use kalong_crds::edge_agent::OfflinePolicy;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::event::EventSeverity;

use super::Lanes;
use super::table::PolicyChange;
use crate::context::AgentContext;
use crate::presence::UplinkPresence;
use crate::store::durable::DurableState;
use crate::store::outbox::NewEvent;
use crate::store::{StoreError, Transaction};

/// How often the time without the operator is compared with the policy.
const INTERVAL: Duration = Duration::from_secs(1);

/// The policy that is to be in force now, or `Some(None)` to end it; `None` leaves things as they are.
pub fn judge(policy: OfflinePolicy, after: Duration, presence: &UplinkPresence) -> Option<Option<OfflinePolicy>> {
    if presence.is_settled() {
        Some(None)
    } else if policy != OfflinePolicy::Hold && presence.silence() >= after {
        Some(Some(policy))
    } else {
        None
    }
}

/// Applies the offline policy to the lanes for as long as the agent runs.
pub async fn enforce(agent: Arc<AgentContext>, lanes: Arc<Lanes>) {
    loop {
        tokio::time::sleep(INTERVAL).await;
        let Some((policy, after)) = agent.offline_policy() else { continue };
        let Some(in_force) = judge(policy, after, &agent.presence) else { continue };
        let changes = lanes.with(|table| table.policy_changes(in_force));
        for change in changes {
            match record(&agent, &lanes, &change).await {
                Ok(()) => {
                    lanes.with(|table| table.apply_policy(&change));
                    lanes.report(&change.uid);
                    lanes.wake(&change.controller);
                }
                Err(error) if change.held => {
                    // Closing does not wait for the record: the gate comes first.
                    lanes.with(|table| table.apply_policy(&change));
                    lanes.wake(&change.controller);
                    tracing::error!(lane = change.name, %error, "The offline policy closed a lane, and that could not be recorded.");
                }
                Err(error) => {
                    tracing::error!(lane = change.name, %error, "A lane is not given back before that can be recorded.");
                }
            }
        }
    }
}

async fn record(agent: &AgentContext, lanes: &Lanes, change: &PolicyChange) -> Result<(), StoreError> {
    let (reason, severity, note) = if change.held {
        let note = format!("lane {} was closed because the operator was not reached", change.name);
        (Reason::OfflinePolicyClosed, EventSeverity::Warning, note)
    } else {
        let note = format!("lane {} was given back because the operator is reached again", change.name);
        (Reason::OfflinePolicyEnded, EventSeverity::Normal, note)
    };
    tracing::info!(lane = change.name, held = change.held, %reason, "The offline policy changed a lane.");
    let event =
        NewEvent { kind: ItemKind::Lane, name: change.name.clone(), uid: change.uid.clone(), reason, severity, note };
    let durable = DurableState { offline: change.held, ..lanes.with(|table| table.durable(&change.uid)) };
    agent
        .commit(Transaction {
            uid: change.uid.clone(),
            durable: Some(durable),
            events: vec![event],
            ..Transaction::default()
        })
        .await
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::presence::SETTLED;

    const AFTER: Duration = Duration::from_secs(60);

    #[tokio::test(start_paused = true)]
    async fn policy_takes_effect_after_its_time_and_ends_with_a_settled_session() {
        let presence = UplinkPresence::default();
        assert_eq!(judge(OfflinePolicy::SafeClose, AFTER, &presence), None);
        tokio::time::advance(AFTER).await;
        assert_eq!(judge(OfflinePolicy::SafeClose, AFTER, &presence), Some(Some(OfflinePolicy::SafeClose)));
        assert_eq!(judge(OfflinePolicy::Hold, AFTER, &presence), None);
        presence.up();
        assert_eq!(judge(OfflinePolicy::SafeClose, AFTER, &presence), None);
        tokio::time::advance(SETTLED).await;
        assert_eq!(judge(OfflinePolicy::SafeClose, AFTER, &presence), Some(None));
        presence.down();
        assert_eq!(judge(OfflinePolicy::SafeClose, AFTER, &presence), None);
    }
}

//! What a Device waits for, as `status.blockedBy` lists it.

use kalong_crds::blocked::{BlockCode, BlockedBy};
use kalong_crds::device::Step;
use kalong_crds::units::AgentId;
use kalong_rules::lifecycle::LifecycleStage;
use kube::ResourceExt;

use super::decide::Decision;
use super::observe::Observed;
use super::permit::PermitState;
use super::{disabling, stage};
use crate::kit::link::{Holding, Liveness};

/// The first is the one to look at.
pub(super) fn blocked_by(observed: &Observed, decision: &Decision) -> Vec<BlockedBy> {
    let spec = &observed.device.spec;
    if observed.life == LifecycleStage::Planned && !observed.deleting() {
        return Vec::new();
    }
    let mut blocked = Vec::new();
    if observed.model.is_none() {
        let say = "Declare the model, or name another one.";
        blocked.push(block(observed, BlockCode::MissingReference, format!("DeviceModel/{}", spec.model_ref), say));
    }
    blocked.extend(by_agent(observed));
    if observed.moving() || observed.deleting() {
        blocked
            .extend(observed.previous_agents.iter().map(|(id, liveness)| by_previous_agent(observed, id, *liveness)));
    }
    if let PermitState::Waits(wait) = &decision.permit {
        blocked.push(wait.clone());
    }
    blocked.extend(disabling::blocked_by(observed));
    let own = format!("Device/{}", observed.device.name_any());
    match stage::firmware(observed.agent.report.as_deref()).map(|firmware| firmware.step) {
        Some(Step::Quarantined) => {
            let say = "Look at the device; when it is sound, set the annotation kalong.dev/release-quarantine to `<attempt>, <name>`.";
            blocked.push(block(observed, BlockCode::Quarantine, own, say));
        }
        Some(Step::AwaitingRecertification) => {
            let say = "The metrology authority has to seal the instrument before it may be used for trade.";
            blocked.push(block(observed, BlockCode::Recertification, own, say));
        }
        _ => {}
    }
    blocked
}

fn block(observed: &Observed, code: BlockCode, subject: String, message: &str) -> BlockedBy {
    BlockedBy::new(code, subject, message, observed.now)
}

fn by_agent(observed: &Observed) -> Option<BlockedBy> {
    let (agent, now) = (&observed.agent, observed.now);
    if let Some(block) = agent.blocks_by_absence(now) {
        return Some(block);
    }
    if observed.moving() {
        return None;
    }
    if agent.liveness() == Liveness::Lost {
        let say = "Look at the box, its power and its uplink; it goes on by itself meanwhile.";
        return Some(agent.blocks(BlockCode::AgentUnreachable, say, now));
    }
    (observed.deleting() && agent.holding != Holding::NotHeld).then(|| {
        let say = "The agent has been told to let go of the device; it confirms when it is reached.";
        agent.blocks(BlockCode::AgentConfirmation, say, now)
    })
}

fn by_previous_agent(observed: &Observed, id: &AgentId, liveness: Liveness) -> BlockedBy {
    let name = id.name();
    let (code, say) = match liveness {
        Liveness::Lost => (
            BlockCode::AgentUnreachable,
            format!(
                "Look at box {name}: it still has the device. When it is gone for good, annotate EdgeAgent {name} with kalong.dev/abandon."
            ),
        ),
        Liveness::Live | Liveness::Pending => (
            BlockCode::AgentConfirmation,
            format!("Agent {name} has been told to let go of the device; it confirms when it is reached."),
        ),
    };
    block(observed, code, format!("EdgeAgent/{name}"), &say)
}

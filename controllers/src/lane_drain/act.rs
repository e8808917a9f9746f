//! What is done for a LaneDrain beside its status: people are told of a decision. Lanes act on the stored acceptance by themselves.

use kalong_crds::LaneDrain;
use kalong_crds::condition::Reason;
use kube::Resource;
use kube_runtime::events::{Event, EventType};

use super::plan::News;
use crate::kit::API_DEADLINE;
use crate::kit::world::World;

pub(super) async fn act(world: &World, drain: &LaneDrain, news: Option<&News>) {
    let Some(news) = news else { return };
    let (type_, reason, note) = match news {
        News::Accepted => (EventType::Normal, Reason::DrainAccepted, None),
        News::Emergency(floors) => (EventType::Warning, Reason::EmergencyAccepted, Some(floors.clone())),
        News::GaveUp(reason, message) => (EventType::Warning, *reason, Some(message.clone())),
    };
    let event = Event { type_, reason: reason.as_str().to_owned(), note, action: "Decide".to_owned(), secondary: None };
    let about = drain.object_ref(&());
    match tokio::time::timeout(API_DEADLINE, world.recorder.publish(&event, &about)).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => {
            tracing::warn!(%error, %reason, "The Event could not be written; the condition says the same.");
        }
        Err(_) => {
            tracing::warn!(%reason, after = ?API_DEADLINE, "The Event was not written in time; the condition says the same.");
        }
    }
}

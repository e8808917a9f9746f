//! What boxes told: Events that carry the place of each incident in its box's own order.

use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;

/// The place of one incident in the order of its box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Incident {
    pub epoch: u64,
    /// Number within the boot, from 1 without a gap.
    pub seq: u64,
}

/// The incident that an Event tells of, when this box told it: its name is `<agent>.<epoch>.<seq>`.
#[must_use]
pub fn incident(event: &Event, agent: &str) -> Option<Incident> {
    let name = event.name_any();
    let (epoch, seq) = name.strip_prefix(agent)?.strip_prefix('.')?.split_once('.')?;
    Some(Incident { epoch: epoch.parse().ok()?, seq: seq.parse().ok()? })
}

/// All incidents of a box, in the order of these Events.
#[must_use]
pub fn incidents(events: &[Event], agent: &str) -> Vec<Incident> {
    events.iter().filter_map(|event| incident(event, agent)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_an_event_says_which_box_told_it_and_where_it_stands() {
        let mut event = Event::default();
        event.metadata.name = Some("mong-cai.bl2-trad-1.3.17".into());
        assert_eq!(incident(&event, "mong-cai.bl2-trad-1"), Some(Incident { epoch: 3, seq: 17 }));
        assert_eq!(incident(&event, "mong-cai.bl2-trad"), None);
        assert_eq!(incident(&event, "mong-cai.bl2"), None);
        event.metadata.name = Some("bl2-trad-1-plc.18ff".into());
        assert_eq!(incident(&event, "mong-cai.bl2-trad-1"), None);
    }
}

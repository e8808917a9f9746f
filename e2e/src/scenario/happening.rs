//! What boxes told: Events that carry the place of each happening in its box's own order.

use k8s_openapi::api::events::v1::Event;
use kube::ResourceExt;

/// The place of one happening in the order of its box.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Happening {
    /// Boot of the box.
    pub epoch: u64,
    /// Number within the boot, from 1 without a gap.
    pub seq: u64,
}

/// The happening that an Event tells of, when this box told it: its name is `<agent>.<epoch>.<seq>`.
#[must_use]
pub fn happening(event: &Event, agent: &str) -> Option<Happening> {
    let name = event.name_any();
    let (epoch, seq) = name.strip_prefix(agent)?.strip_prefix('.')?.split_once('.')?;
    Some(Happening { epoch: epoch.parse().ok()?, seq: seq.parse().ok()? })
}

/// All happenings of a box, in the order of these Events.
#[must_use]
pub fn happenings(events: &[Event], agent: &str) -> Vec<Happening> {
    events.iter().filter_map(|event| happening(event, agent)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_of_an_event_says_which_box_told_it_and_where_it_stands() {
        let mut event = Event::default();
        event.metadata.name = Some("mong-cai.bl2-trad-1.3.17".into());
        assert_eq!(happening(&event, "mong-cai.bl2-trad-1"), Some(Happening { epoch: 3, seq: 17 }));
        assert_eq!(happening(&event, "mong-cai.bl2-trad"), None);
        assert_eq!(happening(&event, "mong-cai.bl2"), None);
        event.metadata.name = Some("bl2-trad-1-plc.18ff".into());
        assert_eq!(happening(&event, "mong-cai.bl2-trad-1"), None);
    }
}

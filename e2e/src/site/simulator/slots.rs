//! The image slots of a simulated device: what runs, what is written, and what a start makes of it.

use std::collections::BTreeSet;

use kalong_crds::device_model::UpdateSlots;
use kalong_crds::units::Digest;

use crate::site::image::Behaviour;
use crate::site::model::Model;

/// An image on the device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct SlotImage {
    /// Version that the device reports while it runs.
    pub version: String,
    /// Absent for the loader that is left after a power cut in the middle of writing.
    pub digest: Option<Digest>,
    pub behaviour: BTreeSet<Behaviour>,
    pub size: usize,
}

impl SlotImage {
    /// What answers on a device with one slot whose image was only half written: a loader that takes a new image.
    fn recovery() -> Self {
        Self { version: RECOVERY_VERSION.into(), digest: None, behaviour: [Behaviour::FailsSelfTest].into(), size: 0 }
    }
}

/// Version of the loader that is left after a power cut in the middle of writing.
pub(super) const RECOVERY_VERSION: &str = "0.0.0-recovery";

#[derive(Clone, Debug)]
pub(super) struct ImageSlots {
    kind: UpdateSlots,
    pub running: SlotImage,
    /// Dual: the other slot. Single: the new image between writing and start.
    pub other: Option<SlotImage>,
    pub committed: bool,
    /// The next start is the first one of the running image.
    trial: bool,
}

/// What an order about images did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Switched {
    /// The device has to start again.
    Restart,
    /// Nothing was to be done.
    Already,
    Impossible,
}

impl ImageSlots {
    /// As they leave the factory.
    pub fn of(model: &Model) -> Self {
        let firmware = model.firmware.as_ref();
        let factory = SlotImage {
            version: model.version().to_owned(),
            digest: firmware.map(|firmware| firmware.digest.clone()),
            behaviour: BTreeSet::new(),
            size: model.image_size(),
        };
        Self::new(model.spec.update.slots, factory)
    }

    fn new(kind: UpdateSlots, factory: SlotImage) -> Self {
        Self { kind, running: factory, other: None, committed: true, trial: false }
    }

    fn runs(&self, digest: &Digest) -> bool {
        self.running.digest.as_ref() == Some(digest)
    }

    pub fn has_written(&self, digest: &Digest) -> bool {
        self.other.as_ref().is_some_and(|o| o.digest.as_ref() == Some(digest))
    }

    pub fn has(&self, digest: &Digest) -> bool {
        self.runs(digest) || self.has_written(digest)
    }

    /// Whether the slot that does not run may be overwritten now: not while it is the way back.
    pub fn may_write(&self) -> bool {
        self.kind != UpdateSlots::Dual || self.committed
    }

    pub fn write(&mut self, image: SlotImage) {
        self.other = Some(image);
    }

    /// The power went while the image was written.
    pub fn spoil(&mut self) {
        match self.kind {
            UpdateSlots::Dual => self.other = None,
            UpdateSlots::Single | UpdateSlots::External => {
                self.running = SlotImage::recovery();
                self.other = None;
            }
        }
    }

    pub fn activate(&mut self, digest: &Digest) -> Switched {
        if self.runs(digest) {
            return Switched::Already;
        }
        if !self.has_written(digest) {
            return Switched::Impossible;
        }
        if self.kind == UpdateSlots::Dual {
            self.swap();
            self.committed = false;
            self.trial = true;
        }
        Switched::Restart
    }

    pub fn roll_back(&mut self) -> Switched {
        match self.kind {
            UpdateSlots::Dual if self.committed => Switched::Already,
            UpdateSlots::Dual => Switched::Restart,
            UpdateSlots::Single | UpdateSlots::External => Switched::Impossible,
        }
    }

    /// The power went during the first start: it counts as a start.
    pub fn lose_trial(&mut self) {
        self.trial = false;
    }

    /// What a start makes of the slots.
    pub fn start(&mut self) {
        match self.kind {
            UpdateSlots::Dual => {
                if !self.committed && !self.trial {
                    self.swap();
                    self.committed = true;
                }
                self.trial = false;
            }
            UpdateSlots::Single | UpdateSlots::External => {
                if let Some(new) = self.other.take() {
                    self.running = new;
                    self.committed = false;
                }
            }
        }
    }

    /// Whether a start would bring the image before back.
    pub fn has_way_back(&self) -> bool {
        self.kind == UpdateSlots::Dual && !self.committed
    }

    fn swap(&mut self) {
        if let Some(other) = &mut self.other {
            std::mem::swap(&mut self.running, other);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(version: &str) -> SlotImage {
        let digest = Some(Digest::of(version.as_bytes()));
        SlotImage { version: version.into(), digest, behaviour: BTreeSet::new(), size: 1 }
    }

    fn slots(kind: UpdateSlots) -> (ImageSlots, Digest) {
        let mut slots = ImageSlots::new(kind, image("a"));
        slots.write(image("b"));
        (slots, Digest::of(b"b"))
    }

    fn seen(slots: &ImageSlots) -> (&str, Option<&str>, bool) {
        (&slots.running.version, slots.other.as_ref().map(|o| o.version.as_str()), slots.committed)
    }

    #[test]
    fn uncommitted_image_does_not_survive_a_second_start() {
        let (mut slots, b) = slots(UpdateSlots::Dual);
        assert_eq!(slots.activate(&b), Switched::Restart);
        slots.start();
        assert_eq!(seen(&slots), ("b", Some("a"), false));
        slots.start();
        assert_eq!(seen(&slots), ("a", Some("b"), true));
    }

    #[test]
    fn committed_image_stays() {
        let (mut slots, b) = slots(UpdateSlots::Dual);
        slots.activate(&b);
        slots.start();
        slots.committed = true;
        slots.start();
        assert_eq!(seen(&slots), ("b", Some("a"), true));
        assert_eq!(slots.roll_back(), Switched::Already);
    }

    #[test]
    fn single_slot_runs_what_was_written_and_cannot_go_back() {
        let (mut slots, b) = slots(UpdateSlots::Single);
        assert_eq!(slots.activate(&b), Switched::Restart);
        slots.start();
        assert_eq!(seen(&slots), ("b", None, false));
        slots.start();
        assert_eq!(seen(&slots), ("b", None, false));
        assert_eq!(slots.roll_back(), Switched::Impossible);
        slots.spoil();
        assert_eq!(slots.running.version, RECOVERY_VERSION);
    }

    #[test]
    fn power_cut_while_writing_leaves_the_running_slot_of_two() {
        let (mut slots, _) = slots(UpdateSlots::Dual);
        slots.spoil();
        assert_eq!(seen(&slots), ("a", None, true));
    }
}

//! How images come onto a simulated device, whatever protocol carries them.

use std::sync::Arc;
use std::time::Instant;

use kalong_crds::units::Digest;

use super::device::{Device, DeviceState, SelfTestState, Upload};
use super::power::Cut;
use super::slots::{ImageSlots, SlotImage, Switched};
use crate::site::image::{self, Behaviour};
use crate::site::report::CutPoint;
use crate::site::traffic::TouchKind;

/// The largest image that a simulated device takes.
pub(super) const LARGEST_IMAGE: usize = 64 * 1024 * 1024;

/// Where the writing of an image stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Install {
    /// It is written and checked.
    Written,
    Writing,
    /// It cannot be written, and why.
    Refused(String),
    /// It cannot be written on this device now or ever, and why.
    Failed(String),
}

/// What became of some bytes of an image.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Receive {
    /// They are held; more are missing.
    More,
    /// The image is whole and good.
    Complete,
    /// The image is whole and no good, and why; it was thrown away.
    Bad(String),
    /// The device lost power or went on to another image.
    Lost,
}

/// Result of the own test.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum TestResult {
    Running,
    Passed,
    Failed(&'static str),
}

impl Device {
    /// Takes the next bytes of an image.
    pub fn receive(self: &Arc<Self>, hex: &str, bytes: &[u8]) -> Receive {
        let mut state = self.state();
        let Some(upload) = state.upload.as_mut().filter(|u| u.hex == hex && u.complete.is_none()) else {
            return Receive::Lost;
        };
        upload.bytes.extend_from_slice(bytes);
        let (have, size) = (upload.bytes.len(), upload.size);
        if have * 2 >= size && self.power_cut_at(CutPoint::Upload, &mut state) == Cut::Yes {
            return Receive::Lost;
        }
        if have < size {
            return Receive::More;
        }
        self.complete(&mut state)
    }

    /// An upload begins, anew unless this very image is already on its way.
    pub fn expect_image(&self, hex: &str, size: usize) {
        let mut state = self.state();
        let goes_on = state.upload.as_ref().is_some_and(|u| u.hex == hex && u.size == size);
        if !goes_on {
            state.upload = Some(Upload { hex: hex.to_owned(), size, bytes: Vec::new(), complete: None });
        }
    }

    fn complete(&self, state: &mut DeviceState) -> Receive {
        let Some(upload) = state.upload.take() else { return Receive::Lost };
        match self.accept(&upload) {
            Ok(image) => {
                state.counts.uploads += 1;
                self.touched(TouchKind::Upload);
                state.upload = Some(Upload { bytes: Vec::new(), complete: Some(image), ..upload });
                Receive::Complete
            }
            Err(why) => Receive::Bad(why),
        }
    }

    fn accept(&self, upload: &Upload) -> Result<SlotImage, String> {
        let digest = Digest::of(&upload.bytes);
        // ONVIF names no digest before it sends.
        if !upload.hex.is_empty() && digest.hex() != upload.hex {
            return Err("the image does not have the digest that it was sent under: send it again".into());
        }
        let header = image::parse(&upload.bytes).map_err(|e| e.to_string())?;
        let model = &self.model().name;
        if header.model != *model {
            return Err(format!(
                "the image is for `{}` and this is a `{model}`: release it for the right model",
                header.model
            ));
        }
        let size = upload.bytes.len();
        let mut version = header.version;
        if header.behaviour.contains(&Behaviour::ReportsWrongVersion) {
            version.push_str("-wrong");
        }
        Ok(SlotImage { version, digest: Some(digest), behaviour: header.behaviour, size })
    }

    /// Writes a complete image into the slot that does not run; to be repeated until it is written.
    pub fn install(self: &Arc<Self>, digest: &Digest) -> Install {
        let mut state = self.state();
        if state.slots.has(digest) {
            return Install::Written;
        }
        let done = match &state.flashing {
            Some((what, done)) if what == digest => *done,
            _ => {
                let whole = state.upload.as_ref().and_then(|u| u.complete.as_ref());
                if whole.is_none_or(|i| i.digest.as_ref() != Some(digest)) {
                    return Install::Refused("no complete image of this digest: upload it first".into());
                }
                if !state.slots.may_write() {
                    return Install::Refused("what runs is not committed: commit it or roll back first".into());
                }
                if self.power_cut_at(CutPoint::Install, &mut state) == Cut::Yes {
                    return Install::Writing;
                }
                let done = Instant::now() + self.timing.flash();
                state.flashing = Some((digest.clone(), done));
                done
            }
        };
        if Instant::now() < done {
            return Install::Writing;
        }
        state.flashing = None;
        self.written(&mut state)
    }

    /// The image that was uploaded is written now.
    fn written(&self, state: &mut DeviceState) -> Install {
        let Some(mut image) = state.upload.take().and_then(|u| u.complete) else {
            return Install::Refused("the uploaded image is gone: upload it again".into());
        };
        if state.faults.flash_error || image.behaviour.contains(&Behaviour::FlashError) {
            return Install::Failed(
                "writing failed at block 17: the flash memory is worn out, replace the instrument".into(),
            );
        }
        if state.faults.wrong_version {
            image.version.clone_from(&state.slots.running.version);
        }
        state.slots.write(image);
        state.counts.installs += 1;
        self.touched(TouchKind::Install);
        Install::Written
    }

    /// Writes what was uploaded and starts it, as a camera does by itself.
    pub fn install_and_restart(self: &Arc<Self>) {
        let device = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(device.timing.flash()).await;
            let mut state = device.state();
            if device.power_cut_at(CutPoint::Install, &mut state) == Cut::No {
                // Success or not, the camera starts again: with the new image, or with the one before.
                let _ = device.written(&mut state);
                device.restart_from(&mut state);
            }
        });
    }

    pub fn activate(self: &Arc<Self>, digest: &Digest) -> Switched {
        let mut state = self.state();
        let switched = state.slots.activate(digest);
        if switched == Switched::Restart && self.power_cut_at(CutPoint::Activate, &mut state) == Cut::No {
            self.leave(&mut state);
        }
        switched
    }

    pub fn roll_back(self: &Arc<Self>) -> Switched {
        let mut state = self.state();
        let switched = state.slots.roll_back();
        if switched == Switched::Restart {
            self.leave(&mut state);
        }
        switched
    }

    pub fn commit(self: &Arc<Self>) -> Cut {
        let mut state = self.state();
        if state.slots.committed {
            return Cut::No;
        }
        if self.power_cut_at(CutPoint::Commit, &mut state) == Cut::Yes {
            return Cut::Yes;
        }
        state.slots.committed = true;
        Cut::No
    }

    /// Restarts once the answer to the order has had time to leave. Until then nothing else is answered: what is asked
    /// meanwhile would be answered by an image that does not run yet.
    pub fn leave(self: &Arc<Self>, state: &mut DeviceState) {
        state.leaving = true;
        self.publish(state);
        let device = Arc::clone(self);
        tokio::spawn(async move {
            tokio::time::sleep(ANSWER_FIRST).await;
            device.restart();
        });
    }

    /// The device's own test: started if none was made since the last start.
    pub fn self_test(&self) -> TestResult {
        let mut state = self.state();
        match state.self_test {
            SelfTestState::NotRun => {
                state.self_test = SelfTestState::RunningUntil(Instant::now() + self.timing.self_test());
                TestResult::Running
            }
            SelfTestState::RunningUntil(end) if Instant::now() < end => TestResult::Running,
            SelfTestState::RunningUntil(_) if state.fails_self_test() => {
                TestResult::Failed("sensor 2 reads 0 mV: check its plug, or put the image before back")
            }
            SelfTestState::RunningUntil(_) => TestResult::Passed,
        }
    }

    /// A technician puts the factory image back by cable and starts the device: the way out of a dead one.
    pub fn service(self: &Arc<Self>) {
        let mut state = self.state();
        state.slots = ImageSlots::of(self.model());
        state.upload = None;
        state.faults = super::device::Faults::default();
        self.restart_from(&mut state);
    }
}

/// An answer has so long to leave before the device goes away.
const ANSWER_FIRST: std::time::Duration = std::time::Duration::from_millis(30);

//! The firmware part of the list: a cut upload, going on, install, activate, way back, proof, commit; each step twice.

use std::path::Path;
use std::time::Duration;

use kalong_crds::device_model::{Rollback, UpdateSlots};
use kalong_crds::protocol::FirmwareTransport;
use kalong_crds::units::Digest;
use kalong_crds::wire::order::DeviceOrder;
use tokio::time::{Instant, sleep, timeout};

use super::relay::Relay;
use super::{Checklist, Outcome, Subject, ask, image_of, words};
use crate::driver::{DeviceIdentity, Driver, SelfTest};

/// Longest time for sending an image.
const TRANSFER_DEADLINE: Duration = Duration::from_secs(1800);
/// Longest time for writing it.
const INSTALL_DEADLINE: Duration = Duration::from_secs(3600);
/// Shortest time that a device is given to come back, whatever its model says.
const MIN_RESTART: Duration = Duration::from_secs(30);
/// Longest time for the device's own test.
const SELF_TEST_DEADLINE: Duration = Duration::from_secs(300);
/// Pause between two looks at the device.
const PAUSE: Duration = Duration::from_millis(300);
/// What the relay may carry before the image itself: requests and headers, in bytes.
const HEADERS: u64 = 2048;

/// What one image is to a device.
struct Trial<'a> {
    subject: &'a Subject,
    order: &'a DeviceOrder,
    /// Whether the protocol shows slots and a probation, as against a bare upload.
    has_slots: bool,
    path: &'a Path,
    digest: Digest,
    size: u64,
    before: DeviceIdentity,
}

pub(super) async fn run(subject: &Subject, order: &DeviceOrder, checklist: &mut Checklist<'_>) {
    const NAME: &str = "firmware goes onto the device";
    let Some(path) = &subject.image else {
        return checklist.add(NAME, Outcome::Skipped("no --image was given".into()));
    };
    let transport = order.protocol.name.abilities().firmware;
    if order.update.slots == UpdateSlots::External || transport == FirmwareTransport::None {
        return checklist
            .add(NAME, Outcome::Skipped("the vendor's own tool writes: `update.slots` is External".into()));
    }
    match begin(subject, order, path).await {
        Err(why) => checklist.add(NAME, Outcome::Failed(why)),
        // The first step that fails ends the part: what follows would only repeat it.
        Ok((trial, mut device)) => drop(trial.steps(device.as_mut(), checklist).await),
    }
}

async fn begin<'a>(
    subject: &'a Subject,
    order: &'a DeviceOrder,
    path: &'a Path,
) -> Result<(Trial<'a>, Box<dyn Driver>), String> {
    let (digest, size) = image_of(path)?;
    let mut device = subject.connect().map_err(words)?;
    let before = ask(device.identify()).await?;
    if before.digest.as_ref() == Some(&digest) {
        return Err("the device runs this image already: give another one".to_owned());
    }
    let has_slots = order.protocol.name.abilities().firmware == FirmwareTransport::Slots;
    if has_slots && !ask(device.slots()).await?.committed {
        return Err("what runs is not committed: restart or commit the device first".to_owned());
    }
    Ok((Trial { subject, order, has_slots, path, digest, size, before }, device))
}

impl Trial<'_> {
    async fn steps(&self, device: &mut dyn Driver, checklist: &mut Checklist<'_>) -> Option<()> {
        if self.has_slots {
            checklist.note("a cut upload leaves the device as it is", self.cut(device).await)?;
        }
        checklist.note("the image is taken, after a cut as well", self.transfer(device).await)?;
        checklist.note("the image is written", self.install(device).await)?;
        checklist.note("the device starts the image", self.activate(device).await)?;
        if self.has_probation() && self.order.update.rollback == Rollback::Supported {
            checklist.note("the device goes back to the image before", self.roll_back(device).await)?;
            checklist.note("and forth again", self.again(device).await)?;
        }
        checklist.note("the device's own test passes", self_test(device).await)?;
        checklist.note("the image becomes permanent", self.commit(device).await)
    }

    /// Sends about half of the image through a cable that is then cut.
    async fn cut(&self, device: &mut dyn Driver) -> Result<(), String> {
        let relay = Relay::start(self.subject.endpoint.clone(), HEADERS + self.size / 2).await;
        let relay = relay.map_err(|error| error.to_string())?;
        let through = Subject { endpoint: relay.address.to_string(), ..self.subject.clone() };
        let mut cut = through.connect().map_err(words)?;
        // A small image fits through before the cut; that is no fault of the device.
        let _ = timeout(TRANSFER_DEADLINE, cut.transfer(self.path, &self.digest, self.size)).await;
        drop(relay);
        let now = ask(device.identify()).await?;
        if now == self.before { Ok(()) } else { Err(format!("it was {:?} and is {now:?}", self.before)) }
    }

    async fn transfer(&self, device: &mut dyn Driver) -> Result<(), String> {
        let times = if self.has_slots { 2 } else { 1 };
        for _ in 0..times {
            timeout(TRANSFER_DEADLINE, device.transfer(self.path, &self.digest, self.size))
                .await
                .map_err(|_| format!("not done within {TRANSFER_DEADLINE:?}"))?
                .map_err(words)?;
        }
        Ok(())
    }

    async fn install(&self, device: &mut dyn Driver) -> Result<(), String> {
        for _ in 0..2 {
            timeout(INSTALL_DEADLINE, device.install(&self.digest))
                .await
                .map_err(|_| format!("not done within {INSTALL_DEADLINE:?}"))?
                .map_err(words)?;
        }
        let slots = ask(device.slots()).await?;
        let held = [slots.running, slots.written].into_iter().flatten().any(|digest| digest == self.digest);
        if held || !self.has_slots { Ok(()) } else { Err("the slots do not show the image".to_owned()) }
    }

    async fn activate(&self, device: &mut dyn Driver) -> Result<(), String> {
        ask(device.activate()).await?;
        self.comes_back(device, "the new image", |now| self.is_new(now)).await?;
        // A call that is repeated after a power cut must not swap back.
        ask(device.activate()).await?;
        let now = ask(device.identify()).await?;
        if !self.is_new(&now) {
            return Err("a second `activate` started the image before again".to_owned());
        }
        let slots = ask(device.slots()).await?;
        if self.has_probation() && slots.committed {
            return Err("`committed` is true before anybody committed".to_owned());
        }
        Ok(())
    }

    async fn roll_back(&self, device: &mut dyn Driver) -> Result<(), String> {
        ask(device.roll_back()).await?;
        let old = |now: &DeviceIdentity| now.digest == self.before.digest && now.version == self.before.version;
        self.comes_back(device, "the image before", old).await?;
        ask(device.roll_back()).await?;
        let slots = ask(device.slots()).await?;
        if slots.running == self.before.digest && slots.committed {
            Ok(())
        } else {
            Err(format!("afterwards the slots are {slots:?}"))
        }
    }

    async fn again(&self, device: &mut dyn Driver) -> Result<(), String> {
        self.transfer(device).await?;
        self.install(device).await?;
        self.activate(device).await
    }

    async fn commit(&self, device: &mut dyn Driver) -> Result<(), String> {
        ask(device.commit()).await?;
        ask(device.commit()).await?;
        let now = ask(device.identify()).await?;
        let slots = ask(device.slots()).await?;
        if self.is_new(&now) && slots.committed {
            Ok(())
        } else {
            Err(format!("afterwards it is {now:?} with {slots:?}"))
        }
    }

    fn has_probation(&self) -> bool {
        self.has_slots && self.order.update.slots == UpdateSlots::Dual
    }

    fn is_new(&self, now: &DeviceIdentity) -> bool {
        match &now.digest {
            Some(digest) => *digest == self.digest,
            None => now.version != self.before.version,
        }
    }

    async fn comes_back(
        &self,
        device: &mut dyn Driver,
        what: &str,
        wanted: impl Fn(&DeviceIdentity) -> bool,
    ) -> Result<(), String> {
        let downtime = Duration::from_secs(u64::try_from(self.order.update.downtime_seconds).unwrap_or_default());
        let limit = (downtime * 3).max(MIN_RESTART);
        let until = Instant::now() + limit;
        loop {
            let seen = ask(device.identify()).await;
            match seen {
                Ok(now) if wanted(&now) => return Ok(()),
                seen if Instant::now() >= until => {
                    let seen = seen.map_or_else(|why| why, |now| format!("it is {now:?}"));
                    return Err(format!("{what} does not run after {limit:?}: {seen}"));
                }
                _ => sleep(PAUSE).await,
            }
        }
    }
}

async fn self_test(device: &mut dyn Driver) -> Result<(), String> {
    let until = Instant::now() + SELF_TEST_DEADLINE;
    loop {
        match ask(device.self_test()).await? {
            SelfTest::Passed => return Ok(()),
            SelfTest::Failed(why) => return Err(why),
            SelfTest::Running if Instant::now() >= until => {
                return Err(format!("not done within {SELF_TEST_DEADLINE:?}"));
            }
            SelfTest::Running => sleep(PAUSE).await,
        }
    }
}

//! With no attempt running: whether one ends for good, begins, or is released from quarantine.

use jiff::Timestamp;
use kalong_crds::condition::Reason;
use kalong_crds::device::{Admin, Step};
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::order::FirmwareOrder;

use super::attempt::{Fault, Mark, Move, Outcome, Record, Running, Target, begins, closed, released};
use super::{Machine, Sight, prove, running};
use crate::realise::Site;
use crate::realise::act::bounded;
use crate::store::journal::{Memory, RunningImage};
use crate::store::{Note, StoreError};

impl Machine {
    /// With no attempt running: whether one ends for good, begins, or is released from quarantine.
    pub(super) async fn consider(
        &mut self,
        site: &Site,
        sight: &mut Sight<'_>,
        wanted: Option<(&FirmwareOrder, Target)>,
    ) -> Result<bool, StoreError> {
        let seen = sight.identity.as_ref().map(running);
        let order = sight.order;
        if let Some(record) = &self.record
            && order.admin == Admin::Enabled
            && self.unreadable.is_none()
            && let Move::Write(next) = closed(record, wanted.as_ref().map(|(_, t)| t), seen.as_ref())
        {
            self.write(site, Some(order), *next).await?;
            return Ok(true);
        }
        let Some(seen) = seen else { return Ok(false) };
        if self.memory.doubt {
            return self.dispel(site, sight, wanted.map(|(_, t)| t), &seen).await;
        }
        let Some((firmware, target)) = wanted else { return Ok(false) };
        if let Some(record) = self.record.clone().filter(|r| r.step == Step::Quarantined) {
            return self.release(site, sight, firmware, record, &seen).await;
        }
        let synced = site.clock.judge() == Clock::Synced;
        let due = synced
            && self
                .record
                .as_ref()
                .and_then(|r| r.retry_at.as_ref())
                .is_some_and(|at| at.parse::<Timestamp>().is_ok_and(|at| at <= Timestamp::now()));
        if !begins(self.record.as_ref(), &target, &seen, firmware.retry, due) {
            return self.recognise(site, &target, &seen).await;
        }
        let mut before = seen;
        if let (None, Some(driver)) = (&before.digest, sight.driver.as_deref_mut()) {
            before.digest = bounded(driver.slots()).await.ok().and_then(|s| s.running);
        }
        if before.digest.is_none() {
            before.digest =
                self.memory.image.as_ref().filter(|i| i.version == before.version).map(|i| i.digest.clone());
        }
        site.downloads.clear_failure(&target.digest);
        if let Some(previous) = &before.digest {
            site.downloads.clear_failure(previous);
        }
        let record = Record::begin(self.record.as_ref(), target, &before, String::new());
        self.write(site, Some(order), record).await?;
        Ok(true)
    }

    /// Remembers which image runs on a device that tells its version only: the declared one, since it runs that version.
    pub(super) async fn recognise(&mut self, site: &Site, target: &Target, seen: &Running) -> Result<bool, StoreError> {
        let image = RunningImage { version: target.version.clone(), digest: target.digest.clone() };
        if seen.digest.is_some() || seen.version != target.version || self.memory.image.as_ref() == Some(&image) {
            return Ok(false);
        }
        let memory = Memory { image: Some(image), ..self.memory.clone() };
        site.note(Note { uid: self.uid.clone(), memory: Some(memory.clone()), ..Note::default() }).await?;
        self.memory = memory;
        Ok(false)
    }

    pub(super) async fn release(
        &mut self,
        site: &Site,
        sight: &mut Sight<'_>,
        firmware: &FirmwareOrder,
        record: Record,
        seen: &Running,
    ) -> Result<bool, StoreError> {
        if firmware.release_quarantine != Some(record.attempt) {
            return Ok(false);
        }
        let Some(driver) = sight.driver.as_deref_mut() else { return Ok(false) };
        let target = seen.is(&record.target).then_some(&record.target);
        // Without a target the probe of identity asks for nothing: the old image is judged by the others.
        let probes = prove::probe(sight.order, target, seen, sight.reading, driver).await;
        match released(&record, seen, &probes) {
            Move::Write(next) => {
                self.write(site, Some(sight.order), *next).await?;
                Ok(true)
            }
            Move::Stay | Move::Do(_) => Ok(false),
        }
    }

    /// The store was lost: what is declared counts as running only after its probes; what does not answer well stays out.
    pub(super) async fn dispel(
        &mut self,
        site: &Site,
        sight: &mut Sight<'_>,
        wanted: Option<Target>,
        seen: &Running,
    ) -> Result<bool, StoreError> {
        let faulty = sight.reading.is_none_or(|r| !prove::faulty(sight.order, r).is_empty());
        let outcome = match (&wanted, sight.driver.as_deref_mut()) {
            (Some(target), Some(driver)) if seen.is(target) => {
                prove::probe(sight.order, Some(target), seen, sight.reading, driver).await
            }
            (Some(_), _) if faulty => Outcome::Failed(Fault::final_(Reason::Quarantined, "the device reports a fault")),
            _ => Outcome::Done,
        };
        match (outcome, wanted) {
            (Outcome::Done, _) => {
                let memory = Memory { doubt: false, ..self.memory.clone() };
                site.note(Note { uid: self.uid.clone(), memory: Some(memory.clone()), ..Note::default() }).await?;
                self.memory = memory;
                Ok(true)
            }
            (Outcome::Failed(fault), Some(target)) => {
                let memory = Memory { doubt: false, ..self.memory.clone() };
                let message = format!("the store of the box was lost and {}: visit the device", fault.message);
                let record = Record {
                    step: Step::Quarantined,
                    mark: Mark::Done,
                    fault: Some(Fault::final_(Reason::Quarantined, message)),
                    ..Record::begin(None, target, seen, String::new())
                };
                self.memory = memory;
                self.write(site, Some(sight.order), record).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

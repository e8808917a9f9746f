//! A visit with no attempt running: one may end for good, begin, or be released from quarantine.

use jiff::Timestamp;
use kalong_crds::condition::Reason;
use kalong_crds::device::{Admin, Step};
use kalong_crds::wire::envelope::Clock;
use kalong_crds::wire::order::FirmwareOrder;

use super::attempt::{Outcome, RunningFirmware, Transition, begins, closed, released};
use super::{FirmwareUpdater, Visit, probes, running};
use crate::driver::call::bounded;
use crate::store::attempt::{Failure, Mark, Record, Target};
use crate::store::durable::{DurableState, RunningImage};
use crate::store::{StoreError, Transaction};

impl FirmwareUpdater {
    /// Returns whether a record was written or the durable state changed.
    pub(super) async fn start(
        &mut self,
        visit: &mut Visit<'_>,
        wanted: Option<(&FirmwareOrder, Target)>,
    ) -> Result<bool, StoreError> {
        let seen = visit.identity.as_ref().map(running);
        let order = visit.order;
        if let Some(record) = &self.record
            && order.admin == Admin::Enabled
            && self.unreadable.is_none()
            && let Transition::Write(next) = closed(record, wanted.as_ref().map(|(_, t)| t), seen.as_ref())
        {
            self.write(Some(order), *next).await?;
            return Ok(true);
        }
        let Some(seen) = seen else { return Ok(false) };
        if self.durable.doubt {
            return self.recheck(visit, wanted.map(|(_, t)| t), &seen).await;
        }
        let Some((firmware, target)) = wanted else { return Ok(false) };
        if let Some(record) = self.record.clone().filter(|r| r.step == Step::Quarantined) {
            return self.release(visit, firmware, record, &seen).await;
        }
        let synced = self.shared.agent.clock.judge() == Clock::Synced;
        let due = synced
            && self
                .record
                .as_ref()
                .and_then(|r| r.retry_at.as_ref())
                .is_some_and(|at| at.parse::<Timestamp>().is_ok_and(|at| at <= Timestamp::now()));
        if !begins(self.record.as_ref(), &target, &seen, firmware.retry, due) {
            return self.identify_running(&target, &seen).await;
        }
        let mut before = seen;
        if let (None, Some(driver)) = (&before.digest, visit.driver.as_deref_mut()) {
            before.digest = bounded(driver.slots()).await.ok().and_then(|s| s.running);
        }
        if before.digest.is_none() {
            before.digest =
                self.durable.image.as_ref().filter(|i| i.version == before.version).map(|i| i.digest.clone());
        }
        self.shared.downloads.clear_failure(&target.digest);
        if let Some(previous) = &before.digest {
            self.shared.downloads.clear_failure(previous);
        }
        let record = Record::begin(self.record.as_ref(), target, &before, String::new());
        self.write(Some(order), record).await?;
        Ok(true)
    }

    /// Remembers which image runs on a device that reports a version only: the declared one, since it runs that version.
    async fn identify_running(&mut self, target: &Target, seen: &RunningFirmware) -> Result<bool, StoreError> {
        let image = RunningImage { version: target.version.clone(), digest: target.digest.clone() };
        if seen.digest.is_some() || seen.version != target.version || self.durable.image.as_ref() == Some(&image) {
            return Ok(false);
        }
        let durable = DurableState { image: Some(image), ..self.durable.clone() };
        self.keep(durable).await?;
        Ok(false)
    }

    /// Commits what of the device survives a restart, then takes it in.
    async fn keep(&mut self, durable: DurableState) -> Result<(), StoreError> {
        let transaction =
            Transaction { uid: self.uid.clone(), durable: Some(durable.clone()), ..Transaction::default() };
        self.shared.agent.commit(transaction).await?;
        self.durable = durable;
        Ok(())
    }

    async fn release(
        &mut self,
        visit: &mut Visit<'_>,
        firmware: &FirmwareOrder,
        record: Record,
        seen: &RunningFirmware,
    ) -> Result<bool, StoreError> {
        if firmware.release_quarantine != Some(record.attempt) {
            return Ok(false);
        }
        let Some(driver) = visit.driver.as_deref_mut() else { return Ok(false) };
        let target = seen.is(&record.target).then_some(&record.target);
        // Without a target the probe of identity asks for nothing: the old image is judged by the others.
        let outcome = probes::run(visit.order, target, seen, visit.reading, driver).await;
        match released(&record, seen, &outcome) {
            Transition::Write(next) => {
                self.write(Some(visit.order), *next).await?;
                Ok(true)
            }
            Transition::Stay | Transition::Do(_) => Ok(false),
        }
    }

    /// After a loss of the store: the declared image counts as running only once its probes pass, else it is quarantined.
    async fn recheck(
        &mut self,
        visit: &mut Visit<'_>,
        wanted: Option<Target>,
        seen: &RunningFirmware,
    ) -> Result<bool, StoreError> {
        let faulty = visit.reading.is_none_or(|r| !probes::faulty(visit.order, r).is_empty());
        let outcome = match (&wanted, visit.driver.as_deref_mut()) {
            (Some(target), Some(driver)) if seen.is(target) => {
                probes::run(visit.order, Some(target), seen, visit.reading, driver).await
            }
            (Some(_), _) if faulty => {
                Outcome::Failed(Failure::permanent(Reason::Quarantined, "the device reports a fault"))
            }
            _ => Outcome::Done,
        };
        match (outcome, wanted) {
            (Outcome::Done, _) => {
                self.keep(DurableState { doubt: false, ..self.durable.clone() }).await?;
                Ok(true)
            }
            (Outcome::Failed(failure), Some(target)) => {
                let durable = DurableState { doubt: false, ..self.durable.clone() };
                let message = format!("the store of the box was lost and {}: visit the device", failure.message);
                let record = Record {
                    step: Step::Quarantined,
                    mark: Mark::Done,
                    failure: Some(Failure::permanent(Reason::Quarantined, message)),
                    ..Record::begin(None, target, seen, String::new())
                };
                self.durable = durable;
                self.write(Some(visit.order), record).await?;
                Ok(true)
            }
            _ => Ok(false),
        }
    }
}

//! What is reported of a device.

use kalong_crds::condition::Reason;
use kalong_crds::device::{Admin, Health};
use kalong_crds::units::Value;
use kalong_crds::well_known;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::order::DeviceOrder;
use kalong_crds::wire::reported::{DeviceReport, ItemState, ReportBody, ReportedItem};

use super::{DeviceTask, SettingsState, plan};
use crate::lane::interlock;

impl DeviceTask {
    /// Reports the device as it is now; an orphan is not reported.
    pub(super) fn report(&self, order: Option<&DeviceOrder>) {
        let item = &self.stored.item;
        if !self.stored.adopted && !self.stored.leaving {
            self.shared.agent.reported.remove(&item.uid);
            return;
        }
        let disabled = order.is_some_and(|o| o.admin == Admin::Disabled) && !self.updater.is_writing();
        let connected = !disabled && self.reading.is_some();
        let (state, reason, message) = if disabled {
            (ItemState::Applied, Some(Reason::Disabled.as_str().to_owned()), String::new())
        } else {
            self.judge(connected)
        };
        self.shared.agent.reported.set(ReportedItem {
            uid: item.uid.clone(),
            kind: ItemKind::Device,
            generation: item.generation,
            hash: item.hash.clone(),
            applied: if disabled { item.generation } else { self.applied },
            state,
            reason: reason.unwrap_or_default(),
            message,
            body: Some(ReportBody::Device(self.facts(connected, order))),
        });
    }

    fn judge(&self, connected: bool) -> (ItemState, Option<String>, String) {
        let word = |reason: Reason| Some(reason.as_str().to_owned());
        let in_force = self.applied == self.stored.item.generation;
        match &self.config {
            SettingsState::Invalid(reason, message) => (ItemState::Rejected, word(*reason), message.clone()),
            SettingsState::Failed(message) if connected || !in_force => {
                (ItemState::Failed, word(Reason::FailedOnDevice), message.clone())
            }
            _ if !connected && !in_force => (
                ItemState::Applying,
                word(Reason::DeviceUnreachable),
                "the device does not answer: check power, cabling and `connection.endpoint`".to_owned(),
            ),
            SettingsState::Differs | SettingsState::Unknown if !in_force => (
                ItemState::Applying,
                word(Reason::Applying),
                "the device is watched and not changed now: see `spec.admin` and its firmware attempt".to_owned(),
            ),
            _ => match self.updater.last_failure() {
                Some((state, fault)) => (state, Some(fault.reason.clone()), fault.message.clone()),
                None => (ItemState::Applied, None, String::new()),
            },
        }
    }

    fn facts(&self, connected: bool, order: Option<&DeviceOrder>) -> DeviceReport {
        let health: Option<Health> = match (order, &self.reading, connected) {
            (Some(order), Some(reading), true) => Some(plan::health(order, reading)),
            _ => None,
        };
        let calibrated = match self.reading.as_ref().and_then(|r| r.properties.get(well_known::CALIBRATED_UNTIL)) {
            Some(Value::Text(day)) if !day.is_empty() => Some(day.clone()),
            _ => None,
        };
        DeviceReport {
            connected,
            health,
            firmware: self.updater.status(),
            running_digest: self.updater.running_digest(),
            calibrated_until: calibrated,
            guards: order.map_or_else(Vec::new, |o| interlock::guards(o, self.reading.as_ref().filter(|_| connected))),
        }
    }
}

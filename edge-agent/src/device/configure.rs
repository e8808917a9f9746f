//! What a visit does about the settings of a device, and what it reports of its health.

use kalong_crds::Category;
use kalong_crds::condition::Reason;
use kalong_crds::device::HealthState;
use kalong_crds::wire::desired::ItemKind;
use kalong_crds::wire::event::EventSeverity;
use kalong_crds::wire::order::DeviceOrder;
use tokio::time::Instant;

use super::{DeviceTask, SettingsState, plan};
use crate::driver::call::configure;
use crate::store::Transaction;
use crate::store::durable::DurableState;
use crate::store::outbox::NewEvent;

impl DeviceTask {
    /// Sets the settings that differ and no others, and reads back.
    pub(super) async fn configure(&mut self, order: &DeviceOrder) {
        if matches!(self.config, SettingsState::Invalid(Reason::InvalidConfig, _)) && plan::check(order).is_err() {
            return;
        }
        let (Some(driver), Some(reading)) = (self.driver.as_mut(), self.reading.as_ref()) else { return };
        let settings = match plan::next(order, reading, self.updater.is_writing()) {
            plan::SettingsStep::InForce => {
                self.config = SettingsState::InForce;
                self.applied = self.stored.item.generation;
                self.refused.reset();
                return;
            }
            plan::SettingsStep::Watch => {
                self.config = SettingsState::Differs;
                return;
            }
            plan::SettingsStep::Configure(settings) => settings,
        };
        if self.refused_until.is_some_and(|until| Instant::now() < until) {
            return;
        }
        let names: Vec<_> = settings.keys().map(String::as_str).collect();
        tracing::info!(device = self.stored.item.name, settings = names.join(","), "Settings differ and are set.");
        match configure(driver.as_mut(), &settings).await {
            Ok(reading) => {
                let left = reading.differing(&order.config);
                self.reading = Some(reading);
                if left.is_empty() {
                    self.config = SettingsState::InForce;
                    self.applied = self.stored.item.generation;
                    self.refused.reset();
                    return;
                }
                let names: Vec<_> = left.keys().map(String::as_str).collect();
                let message = format!("the device took {} and shows another value: check the device", names.join(", "));
                self.config = SettingsState::Failed(message);
            }
            Err(error) => self.config = SettingsState::Failed(error.to_string()),
        }
        self.refused_until = Some(Instant::now() + self.refused.wait());
    }

    /// Commits an event for health that changed, in one transaction with the health itself, so that it is sent once.
    pub(super) async fn note_health(&mut self, order: &DeviceOrder) {
        let Some(reading) = &self.reading else { return };
        let health = plan::health(order, reading);
        let before = self.updater.durable().health;
        if before == Some(health.state) {
            return;
        }
        let event = match (before, health.state) {
            (None, HealthState::OK) => None,
            (_, HealthState::OK) => {
                Some((Reason::DeviceRecovered, EventSeverity::Normal, "the device serves again".to_owned()))
            }
            (_, HealthState::Degraded) => Some((
                Reason::DeviceDegraded,
                EventSeverity::Warning,
                format!("the device reports {}", health.codes.join(", ")),
            )),
            (_, HealthState::Faulty) => Some((
                Reason::DeviceFaulty,
                EventSeverity::Warning,
                format!("the device reports {}", health.codes.join(", ")),
            )),
        };
        let durable = DurableState { health: Some(health.state), ..self.updater.durable().clone() };
        let item = &self.stored.item;
        let event = event.map(|(reason, severity, note)| NewEvent {
            kind: ItemKind::Device,
            name: item.name.clone(),
            uid: item.uid.clone(),
            reason,
            severity,
            note,
        });
        let transaction = Transaction {
            uid: item.uid.clone(),
            durable: Some(durable.clone()),
            events: event.into_iter().collect(),
            ..Transaction::default()
        };
        match self.shared.agent.commit(transaction).await {
            Ok(()) => self.updater.remember(durable),
            // The next visit tries again: the change is late, not lost.
            Err(error) => {
                tracing::warn!(device = item.name, category = error.category(), %error, "Changed health could not be committed; the next visit tries again.")
            }
        }
    }
}

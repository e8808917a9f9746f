//! Counters of the uplink and the collector of telemetry.

use std::sync::Weak;

use prometheus::{IntCounter, IntCounterVec, Opts, Registry};

use super::Uplink;
use super::counters::DroppedCounters;
use super::telemetry::{TelemetryCollector, UplinkSlot};

/// Registered once for each process.
#[derive(Debug)]
pub struct UplinkMetrics {
    undecodable: IntCounterVec,
    stale: IntCounterVec,
    missing: IntCounter,
    mismatches: IntCounterVec,
    resyncs: IntCounter,
    coalesced: IntCounter,
    refused: IntCounterVec,
    events: IntCounterVec,
    desired: IntCounterVec,
    telemetry: UplinkSlot,
}

impl UplinkMetrics {
    /// Registers the counters, and a collector for the telemetry of agents.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let vec = |name: &str, help: &str, label: &str| -> Result<IntCounterVec, prometheus::Error> {
            let made = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let one = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let made = IntCounter::new(name, help)?;
            registry.register(Box::new(made.clone()))?;
            Ok(made)
        };
        let telemetry = UplinkSlot::default();
        registry.register(Box::new(TelemetryCollector::new(telemetry.clone())?))?;
        Ok(Self {
            telemetry,
            undecodable: vec("kalong_uplink_undecodable_total", "Messages that could not be read, by topic.", "topic")?,
            stale: vec(
                "kalong_uplink_stale_total",
                "Messages dropped because a newer one was there, by topic.",
                "topic",
            )?,
            missing: one("kalong_uplink_missing_total", "Sequence numbers of agents that were never seen.")?,
            mismatches: vec(
                "kalong_uplink_misfits_total",
                "Reports that did not fit what was held, by cause.",
                "cause",
            )?,
            resyncs: one("kalong_uplink_resyncs_total", "Times an agent was asked for its whole.")?,
            coalesced: one("kalong_uplink_coalesced_total", "Wake-ups that were waiting already.")?,
            refused: vec("kalong_uplink_refused_total", "Reported items and events that were not believed.", "cause")?,
            events: vec("kalong_uplink_events_total", "Events of agents, by what became of them.", "result")?,
            desired: vec("kalong_uplink_desired_total", "Desired messages sent, by form.", "form")?,
        })
    }

    pub(super) fn undecodable(&self, topic: &str) {
        self.undecodable.with_label_values(&[topic]).inc();
    }

    pub(super) fn stale(&self, topic: &str) {
        self.stale.with_label_values(&[topic]).inc();
    }

    pub(super) fn missing(&self, count: u64) {
        self.missing.inc_by(count);
    }

    pub(super) fn mismatch(&self, cause: &str) {
        self.mismatches.with_label_values(&[cause]).inc();
    }

    pub(super) fn resync(&self) {
        self.resyncs.inc();
    }

    pub(super) fn coalesced(&self) {
        self.coalesced.inc();
    }

    pub(super) fn refused(&self, cause: &str) {
        self.refused.with_label_values(&[cause]).inc();
    }

    pub(super) fn dropped(&self, dropped: DroppedCounters) {
        let DroppedCounters { unbound, beyond, unsound } = dropped;
        let of = [("telemetry-not-bound", unbound), ("telemetry-too-many", beyond), ("telemetry-unsound", unsound)];
        for (cause, count) in of.into_iter().filter(|(_, count)| *count > 0) {
            self.refused.with_label_values(&[cause]).inc_by(count);
        }
    }

    /// Lets the collector find the uplink.
    pub(super) fn attach(&self, uplink: Weak<Uplink>) {
        // A second uplink over one set of metrics exists only in tests; the first one stays.
        let _ = self.telemetry.set(uplink);
    }

    /// Items, events and counters that were refused so far, for this cause.
    pub fn refusals(&self, cause: &str) -> u64 {
        self.refused.with_label_values(&[cause]).get()
    }

    pub(super) fn event(&self, result: &str) {
        self.events.with_label_values(&[result]).inc();
    }

    pub(super) fn desired(&self, form: &str) {
        self.desired.with_label_values(&[form]).inc();
    }

    /// Requests for an agent's whole so far.
    pub fn resyncs(&self) -> u64 {
        self.resyncs.get()
    }
}

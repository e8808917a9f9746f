//! Counters of the gateway, with labels from enums.

use prometheus::{IntCounter, IntCounterVec, IntGauge, Opts, Registry};
use strum::IntoStaticStr;

use crate::transport::EndReason;

/// How an attempt to connect went.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum Handshake {
    /// A session began.
    Accepted,
    /// A deadline of the handshake or of CONNECT passed.
    Timeout,
    /// TLS or the certificate was not accepted.
    Tls,
    /// The certificate names no agent.
    Identity,
    /// CONNECT was missing or not acceptable.
    Connect,
    /// The identity may not talk.
    Refused,
    /// The admittance was not decided in time.
    Undecided,
    /// The limit of sessions is reached.
    Full,
}

impl Handshake {
    fn as_str(self) -> &'static str {
        self.into()
    }
}

/// What access control turned down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, IntoStaticStr)]
#[strum(serialize_all = "kebab-case")]
pub enum DeniedAction {
    /// A PUBLISH outside of the access list.
    Publish,
    /// A filter of a SUBSCRIBE.
    Subscribe,
    /// Client id, will, version or keep-alive in CONNECT.
    Connect,
    /// A payload that spoke for another agent.
    Payload,
}

impl DeniedAction {
    fn as_str(self) -> &'static str {
        self.into()
    }
}

/// Registered once for each process.
#[derive(Debug)]
pub struct GatewayMetrics {
    connected: IntGauge,
    handshakes: IntCounterVec,
    denials: IntCounterVec,
    ends: IntCounterVec,
    takeovers: IntCounter,
    throttled: IntCounter,
}

impl GatewayMetrics {
    /// Makes the counters and registers them.
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
        let connected = IntGauge::new("kalong_gateway_connected_agents", "Sessions of edge agents now.")?;
        registry.register(Box::new(connected.clone()))?;
        Ok(Self {
            connected,
            handshakes: vec("kalong_gateway_handshakes_total", "Attempts to connect, by result.", "result")?,
            denials: vec("kalong_gateway_denials_total", "What access control turned down.", "action")?,
            ends: vec("kalong_gateway_sessions_ended_total", "Ended sessions, by reason.", "reason")?,
            takeovers: one("kalong_gateway_takeovers_total", "Sessions that a newer one of the same identity ended.")?,
            throttled: one("kalong_gateway_throttled_total", "Frames that had to wait for their rate limit.")?,
        })
    }

    pub(super) fn handshake(&self, result: Handshake) {
        self.handshakes.with_label_values(&[result.as_str()]).inc();
    }

    pub(super) fn denied(&self, what: DeniedAction) {
        self.denials.with_label_values(&[what.as_str()]).inc();
    }

    pub(super) fn began(&self) {
        self.connected.inc();
    }

    pub(super) fn ended(&self, reason: EndReason) {
        self.connected.dec();
        self.ends.with_label_values(&[reason.as_str()]).inc();
    }

    pub(super) fn taken_over(&self) {
        self.takeovers.inc();
    }

    pub(super) fn throttled(&self) {
        self.throttled.inc();
    }

    /// Number of sessions at this moment.
    pub fn connected(&self) -> i64 {
        self.connected.get()
    }

    /// Connections with this result so far.
    pub fn handshakes(&self, result: Handshake) -> u64 {
        self.handshakes.with_label_values(&[result.as_str()]).get()
    }

    /// Denials of this kind so far.
    pub fn denials(&self, what: DeniedAction) -> u64 {
        self.denials.with_label_values(&[what.as_str()]).get()
    }

    /// Sessions that ended for this reason so far.
    pub fn ends(&self, reason: EndReason) -> u64 {
        self.ends.with_label_values(&[reason.as_str()]).get()
    }
}

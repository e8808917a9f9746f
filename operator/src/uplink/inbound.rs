//! Frames of an agent: decoded, checked for sender and order, and applied.

use std::collections::BTreeSet;

use bytes::Bytes;
use kalong_crds::units::AgentId;
use kalong_crds::wire::control::Renewal;
use kalong_crds::wire::envelope::{Beat, Envelope, EnvelopeError};
use kalong_crds::wire::event::Events;
use kalong_crds::wire::reported::Reported;
use kalong_crds::wire::telemetry::Telemetry;
use kalong_crds::wire::topic::Up;
use serde::Deserialize;

use super::agent::{AgentState, Effects, Sequences, StepContext};
use super::metrics::UplinkMetrics;
use super::reported::{MergeResult, ReportChanges};
use super::sanitize;
use super::sequence::{Freshness, MessageSequence};
use crate::transport::FrameResult;

/// A term so far ahead is a lie or a damaged store, not a lost Lease; in seconds, as terms are.
const IMPLAUSIBLE_TERM: u64 = 366 * 24 * 3600;
/// Events of one message beyond these are ignored.
const MAX_EVENTS: usize = 512;

/// The envelope names another agent than the session.
struct WrongSender;

impl AgentState {
    pub fn frame(
        &mut self,
        context: &StepContext<'_>,
        topic: Up,
        payload: &Bytes,
        effects: &mut Effects,
    ) -> FrameResult {
        self.heard = Some(context.now);
        match self.decode_and_apply(context, topic, payload, effects) {
            Ok(()) => FrameResult::Continue,
            Err(WrongSender) => FrameResult::Close,
        }
    }

    fn decode_and_apply(
        &mut self,
        context: &StepContext<'_>,
        topic: Up,
        payload: &Bytes,
        effects: &mut Effects,
    ) -> Result<(), WrongSender> {
        let metrics = context.metrics;
        match topic {
            Up::Beat => match Beat::parse(payload) {
                Some(beat) => self.on_beat(context, &beat),
                None => metrics.undecodable(label(topic)),
            },
            Up::Reported => {
                if let Some(envelope) = decode::<Reported>(metrics, topic, payload, &self.id)? {
                    self.on_reported(context, envelope, effects);
                }
            }
            Up::Event => {
                if let Some(envelope) = decode::<Events>(metrics, topic, payload, &self.id)?
                    && newer(metrics, topic, &mut self.sequences.event, &mut self.sequences.all, &envelope)
                {
                    let mut events = envelope.body;
                    events.events.truncate(MAX_EVENTS);
                    effects.events = Some(events);
                }
            }
            Up::Telemetry => {
                if let Some(envelope) = decode::<Telemetry>(metrics, topic, payload, &self.id)? {
                    self.on_telemetry(context, envelope);
                }
            }
            Up::Csr => {
                if let Some(envelope) = decode::<Renewal>(metrics, topic, payload, &self.id)?
                    && newer(metrics, topic, &mut self.sequences.csr, &mut self.sequences.all, &envelope)
                    && !std::mem::replace(&mut self.renewing, true)
                {
                    effects.renewal = Some(envelope.body);
                }
            }
        }
        Ok(())
    }

    fn on_beat(&mut self, context: &StepContext<'_>, beat: &Beat) {
        // Several beats may carry one number: nothing was sent in between.
        let older = self.sequences.beat.take(beat.epoch, beat.seq) == Freshness::Stale
            && self.sequences.beat != MessageSequence::at(beat.epoch, beat.seq);
        if older {
            return context.metrics.stale(label(Up::Beat));
        }
        self.clock = beat.clock;
        let agreed = self.reported.rev() == Some(&beat.reported) && self.reported.desired() == Some(&beat.desired);
        if agreed {
            self.delivery.confirm(&beat.desired, None);
        } else {
            self.resync.need(context.now);
        }
    }

    /// Wakes no controller: counters are read when they are scraped.
    fn on_telemetry(&mut self, context: &StepContext<'_>, envelope: Envelope<Telemetry>) {
        let Sequences { telemetry, all, .. } = &mut self.sequences;
        if newer(context.metrics, Up::Telemetry, telemetry, all, &envelope) {
            context.metrics.dropped(self.counters.take(envelope.body));
        }
    }

    fn on_reported(&mut self, context: &StepContext<'_>, envelope: Envelope<Reported>, effects: &mut Effects) {
        if !newer(context.metrics, Up::Reported, &mut self.sequences.reported, &mut self.sequences.all, &envelope) {
            return;
        }
        self.check_term(context, envelope.body.term, effects);
        let orphans = self.orphans();
        match self.reported.merge(envelope.body) {
            MergeResult::Incomplete => {}
            MergeResult::Rejected(mismatch) => {
                let cause = mismatch.as_str();
                context.metrics.mismatch(cause);
                tracing::info!(agent = %self.id, cause, "A report did not fit what is known; the agent is asked for its whole.");
                self.resync.need(context.now);
            }
            MergeResult::Applied(changes) => {
                let held = changes.uids.iter().cloned().chain(orphans).chain(self.orphans());
                for uid in held.collect::<BTreeSet<_>>() {
                    context.holders.note(&self.id, &uid, self.reported.holds(&uid));
                }
                self.on_applied(context, changes, effects);
            }
        }
    }

    fn orphans(&self) -> Vec<String> {
        self.reported.orphans().iter().map(|orphan| orphan.uid.clone()).collect()
    }

    fn check_term(&mut self, context: &StepContext<'_>, said: u64, effects: &mut Effects) {
        let ahead = said.saturating_sub(context.signer.term());
        self.term_implausible = ahead >= IMPLAUSIBLE_TERM;
        if ahead > 0 && !self.term_implausible {
            effects.higher_term = Some(said);
        }
    }

    fn on_applied(&mut self, context: &StepContext<'_>, changes: ReportChanges, effects: &mut Effects) {
        if changes.whole {
            self.resync.answered();
            if let Some(live) = &mut self.live
                && !std::mem::replace(&mut live.greeted, true)
            {
                self.delivery.greeted();
            }
        }
        if let Some(said) = self.reported.desired() {
            self.delivery.confirm(said, Some(self.reported.fence()));
        }
        if changes.want_whole {
            self.delivery.want_whole();
        }
        for uid in &changes.uids {
            self.refresh(uid);
            match self.object(uid) {
                Some(object) => {
                    effects.wakes.insert(object.clone());
                    if self.report(uid).is_none() && self.reported.item(uid).is_some() {
                        context.metrics.refused("wrong-kind");
                    }
                }
                // Not declared for this agent. It may be later, so the reported state keeps it.
                None if self.reported.item(uid).is_some() => context.metrics.refused("not-bound"),
                None => {}
            }
        }
    }
}

/// The envelope, or nothing if it cannot be read, which is logged and counted.
fn decode<B: for<'de> Deserialize<'de>>(
    metrics: &UplinkMetrics,
    topic: Up,
    payload: &Bytes,
    agent: &AgentId,
) -> Result<Option<Envelope<B>>, WrongSender> {
    let parsed = if sanitize::is_shallow(payload) { Some(Envelope::parse(payload, agent)) } else { None };
    match parsed {
        Some(Ok(envelope)) => Ok(Some(envelope)),
        Some(Err(EnvelopeError::WrongAgent(..))) => Err(WrongSender),
        Some(Err(error)) => {
            metrics.undecodable(label(topic));
            tracing::warn!(%agent, topic = label(topic), %error, "A message cannot be read.");
            Ok(None)
        }
        None => {
            metrics.undecodable(label(topic));
            tracing::warn!(%agent, topic = label(topic), "A message is nested too deeply to be read.");
            Ok(None)
        }
    }
}

/// Whether the message is newer than all before it on its topic; counts it otherwise, and counts gaps over all topics.
fn newer<B>(
    metrics: &UplinkMetrics,
    topic: Up,
    sequence: &mut MessageSequence,
    all: &mut MessageSequence,
    envelope: &Envelope<B>,
) -> bool {
    metrics.missing(all.missing(envelope.epoch, envelope.seq));
    all.take(envelope.epoch, envelope.seq);
    let newer = sequence.take(envelope.epoch, envelope.seq) == Freshness::Newer;
    if !newer {
        metrics.stale(label(topic));
    }
    newer
}

fn label(topic: Up) -> &'static str {
    match topic {
        Up::Reported => "reported",
        Up::Beat => "beat",
        Up::Event => "event",
        Up::Csr => "csr",
        Up::Telemetry => "telemetry",
    }
}

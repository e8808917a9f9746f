//! What comes from an agent: decoded, held against its identity and its order, and applied.

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

use super::admission;
use super::agent::{AgentState, Context, Effects, Sequences};
use super::image::{Changes, Place, Sequence, Taken};
use super::metrics::UplinkMetrics;
use crate::transport::FrameResult;

/// A term so far ahead is a lie or a broken store, not a lost Lease.
const IMPLAUSIBLE_TERM: u64 = 366 * 24 * 3600;
/// Events of one message that are looked at.
const MAX_EVENTS: usize = 512;

impl AgentState {
    /// Takes one frame in.
    pub fn frame(&mut self, context: &Context<'_>, topic: Up, payload: &Bytes, effects: &mut Effects) -> FrameResult {
        self.heard = Some(context.now);
        match topic {
            Up::Beat => match Beat::parse(payload) {
                Some(beat) => self.beat(context, &beat),
                None => context.metrics.undecodable(word(topic)),
            },
            Up::Reported => match decode::<Reported>(context.metrics, topic, payload, &self.id) {
                Ok(Some(envelope)) => self.reported(context, envelope, effects),
                Ok(None) => {}
                Err(Foreign) => return FrameResult::Close,
            },
            Up::Event => match decode::<Events>(context.metrics, topic, payload, &self.id) {
                Ok(Some(envelope)) => {
                    if newer(context.metrics, topic, &mut self.sequences.event, &mut self.sequences.all, &envelope) {
                        let mut events = envelope.body;
                        events.events.truncate(MAX_EVENTS);
                        effects.events = Some(events);
                    }
                }
                Ok(None) => {}
                Err(Foreign) => return FrameResult::Close,
            },
            Up::Telemetry => match decode::<Telemetry>(context.metrics, topic, payload, &self.id) {
                Ok(Some(envelope)) => self.telemetry(context, envelope),
                Ok(None) => {}
                Err(Foreign) => return FrameResult::Close,
            },
            Up::Csr => match decode::<Renewal>(context.metrics, topic, payload, &self.id) {
                Ok(Some(envelope)) => {
                    let fresh =
                        newer(context.metrics, topic, &mut self.sequences.csr, &mut self.sequences.all, &envelope);
                    if fresh && !std::mem::replace(&mut self.renewing, true) {
                        effects.renewal = Some(envelope.body);
                    }
                }
                Ok(None) => {}
                Err(Foreign) => return FrameResult::Close,
            },
        }
        FrameResult::Continue
    }

    fn beat(&mut self, context: &Context<'_>, beat: &Beat) {
        // Several beats may carry one number: nothing was sent in between.
        let older = self.sequences.beat.take(beat.epoch, beat.seq) == Place::Stale
            && self.sequences.beat != Sequence::at(beat.epoch, beat.seq);
        if older {
            return context.metrics.stale(word(Up::Beat));
        }
        self.clock = beat.clock;
        let agreed = self.image.rev() == Some(&beat.reported) && self.image.desired() == Some(&beat.desired);
        if agreed {
            self.delivery.confirm(&beat.desired, None);
        } else {
            self.resync.need(context.now);
        }
    }

    /// Counters wake nobody: they are read when somebody scrapes.
    fn telemetry(&mut self, context: &Context<'_>, envelope: Envelope<Telemetry>) {
        let Sequences { telemetry, all, .. } = &mut self.sequences;
        if newer(context.metrics, Up::Telemetry, telemetry, all, &envelope) {
            context.metrics.dropped(self.counters.take(envelope.body));
        }
    }

    fn reported(&mut self, context: &Context<'_>, envelope: Envelope<Reported>, effects: &mut Effects) {
        if !newer(context.metrics, Up::Reported, &mut self.sequences.reported, &mut self.sequences.all, &envelope) {
            return;
        }
        self.judge_term(context, envelope.body.term, effects);
        let orphans = self.orphans();
        match self.image.take(envelope.body) {
            Taken::Partial => {}
            Taken::Unfit(misfit) => {
                context.metrics.misfit(misfit.as_str());
                tracing::info!(agent = %self.id, cause = misfit.as_str(), "a report did not fit; the whole is asked for");
                self.resync.need(context.now);
            }
            Taken::Applied(changes) => {
                let held = changes.uids.iter().cloned().chain(orphans).chain(self.orphans());
                for uid in held.collect::<BTreeSet<_>>() {
                    context.holders.note(&self.id, &uid, self.image.holds(&uid));
                }
                self.applied(context, changes, effects);
            }
        }
    }

    fn orphans(&self) -> Vec<String> {
        self.image.orphans().iter().map(|orphan| orphan.uid.clone()).collect()
    }

    fn judge_term(&mut self, context: &Context<'_>, said: u64, effects: &mut Effects) {
        let ahead = said.saturating_sub(context.sealer.term());
        self.term_implausible = ahead >= IMPLAUSIBLE_TERM;
        if ahead > 0 && !self.term_implausible {
            effects.higher_term = Some(said);
        }
    }

    fn applied(&mut self, context: &Context<'_>, changes: Changes, effects: &mut Effects) {
        if changes.whole {
            self.resync.answered();
            if let Some(live) = &mut self.live
                && !std::mem::replace(&mut live.greeted, true)
            {
                self.delivery.greeted();
            }
        }
        if let Some(said) = self.image.desired() {
            self.delivery.confirm(said, Some(self.image.fence()));
        }
        if changes.want_whole {
            self.delivery.want_whole();
        }
        for uid in &changes.uids {
            self.look(uid);
            match self.named(uid) {
                Some(named) => {
                    effects.wakes.insert(named.clone());
                    if self.report(uid).is_none() && self.image.item(uid).is_some() {
                        context.metrics.refused("wrong-kind");
                    }
                }
                // Not declared for this agent; it may be later, so the image keeps it.
                None if self.image.item(uid).is_some() => context.metrics.refused("not-bound"),
                None => {}
            }
        }
    }
}

struct Foreign;

fn decode<B: for<'de> Deserialize<'de>>(
    metrics: &UplinkMetrics,
    topic: Up,
    payload: &Bytes,
    agent: &AgentId,
) -> Result<Option<Envelope<B>>, Foreign> {
    let parsed = if admission::shallow(payload) { Some(Envelope::parse(payload, agent)) } else { None };
    match parsed {
        Some(Ok(envelope)) => Ok(Some(envelope)),
        Some(Err(EnvelopeError::WrongAgent(..))) => Err(Foreign),
        Some(Err(error)) => {
            metrics.undecodable(word(topic));
            tracing::warn!(%agent, topic = word(topic), %error, "a message could not be read");
            Ok(None)
        }
        None => {
            metrics.undecodable(word(topic));
            tracing::warn!(%agent, topic = word(topic), "a message was nested too deeply to be read");
            Ok(None)
        }
    }
}

fn newer<B>(
    metrics: &UplinkMetrics,
    topic: Up,
    sequence: &mut Sequence,
    all: &mut Sequence,
    envelope: &Envelope<B>,
) -> bool {
    metrics.missing(all.missing(envelope.epoch, envelope.seq));
    all.take(envelope.epoch, envelope.seq);
    let newer = sequence.take(envelope.epoch, envelope.seq) == Place::Newer;
    if !newer {
        metrics.stale(word(topic));
    }
    newer
}

fn word(topic: Up) -> &'static str {
    match topic {
        Up::Reported => "reported",
        Up::Beat => "beat",
        Up::Event => "event",
        Up::Csr => "csr",
        Up::Telemetry => "telemetry",
    }
}

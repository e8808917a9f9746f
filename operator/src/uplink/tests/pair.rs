//! The state of one agent against a model agent, over a link that loses what the test likes.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use jiff::Timestamp;
use kalong_controllers::kit::link::{Admittance, Presence};
use kalong_crds::units::AgentId;
use kalong_crds::wire::desired::Item;
use kalong_crds::wire::signature::Signer;
use kalong_crds::wire::topic::{Down, Up};
use prometheus::Registry;
use tokio::time::Instant;

use super::super::agent::{AgentState, Effects, StepContext};
use super::super::holders::Holders;
use super::super::metrics::UplinkMetrics;
use super::super::signer::MessageSigner;
use super::model::Model;
use super::session::RecordedSession;
use crate::transport::Session;

const GRACE: Duration = Duration::from_secs(90);

pub struct Pair {
    pub state: AgentState,
    pub model: Model,
    pub session: Arc<RecordedSession>,
    pub signer: MessageSigner,
    pub metrics: UplinkMetrics,
    pub holders: Holders,
    pub start: Instant,
    pub now: Instant,
    pub opened: bool,
    pub grace: Duration,
    pub down: VecDeque<(Down, Bytes)>,
    pub up: VecDeque<(Up, Bytes)>,
    pub sessions: u64,
    pub woken: Vec<String>,
}

impl Pair {
    pub fn new() -> Self {
        let id: AgentId = "mong-cai.a1".parse().unwrap();
        let signer = Signer::from_pkcs8("k", &Signer::generate().unwrap()).unwrap();
        let model = Model::new(id.clone(), vec![signer.public()]);
        let mut state = AgentState::new(id);
        state.admittance = Some(Admittance::Admitted);
        let now = Instant::now();
        let mut pair = Self {
            state,
            model,
            session: RecordedSession::new(0),
            signer: MessageSigner::new(signer, 7),
            metrics: UplinkMetrics::register(&Registry::new()).unwrap(),
            holders: Holders::default(),
            start: now,
            now,
            opened: true,
            grace: GRACE,
            down: VecDeque::new(),
            up: VecDeque::new(),
            sessions: 0,
            woken: Vec::new(),
        };
        pair.connect();
        pair
    }

    /// One step of the agent's state, with its conclusions.
    pub fn act<R>(&mut self, step: impl FnOnce(&mut AgentState, &StepContext<'_>, &mut Effects) -> R) -> R {
        let context = StepContext {
            now: self.now,
            opened: self.opened,
            signer: &self.signer,
            metrics: &self.metrics,
            holders: &self.holders,
            grace: self.grace,
            start: self.start,
            start_wall: Timestamp::UNIX_EPOCH,
        };
        let mut effects = Effects::default();
        let result = step(&mut self.state, &context, &mut effects);
        self.state.conclude(&context, &mut effects);
        self.state.pump(&context);
        self.woken.extend(effects.wakes.into_iter().map(|(_, wake)| wake.name));
        self.down.extend(self.session.take());
        let reported = &self.state.reported;
        let held =
            reported.held().map(|(uid, _, _)| uid).chain(reported.orphans().iter().map(|orphan| orphan.uid.as_str()));
        assert_eq!(self.holders.all(), held.map(str::to_owned).collect(), "who holds what is known at every step");
        result
    }

    /// A new session; the agent reports its whole.
    pub fn connect(&mut self) {
        self.down.clear();
        self.up.clear();
        self.sessions += 1;
        self.session = RecordedSession::new(self.sessions);
        let session: Arc<dyn Session> = self.session.clone();
        self.act(|state, context, _| state.session_started(context, session));
        self.model.connected();
        self.report();
    }

    pub fn want(&mut self, item: Item) {
        self.act(|state, _, _| state.want(item));
    }

    pub fn remove(&mut self, uid: &str, generation: i64) {
        self.act(|state, _, _| state.remove(uid, generation));
    }

    pub fn report(&mut self) {
        let messages = self.model.report();
        self.up.extend(messages.into_iter().map(|m| (Up::Reported, Bytes::from(m))));
    }

    pub fn beat(&mut self) {
        let beat = Bytes::from(self.model.beat());
        self.up.push_back((Up::Beat, beat));
    }

    pub fn deliver_up(&mut self) {
        if let Some((topic, payload)) = self.up.pop_front() {
            self.act(|state, context, effects| state.frame(context, topic, &payload, effects));
        }
    }

    pub fn deliver_down(&mut self) {
        if let Some((topic, message)) = self.down.pop_front()
            && self.model.receive(topic, &message)
        {
            self.report();
        }
    }

    pub fn advance(&mut self, seconds: u64) {
        self.now += Duration::from_secs(seconds);
        self.act(|_, _, _| ());
    }

    /// Delivers everything until both sides are quiet.
    pub fn calm(&mut self) {
        for _ in 0..200 {
            if self.up.is_empty() && self.down.is_empty() {
                return;
            }
            self.deliver_up();
            self.deliver_down();
        }
        panic!("the two sides never stop talking");
    }

    /// Heartbeats and time, without loss, until both sides must agree; then compares them.
    pub fn agree(&mut self, wanted: &BTreeMap<String, Item>) {
        for _ in 0..20 {
            self.beat();
            self.calm();
            self.advance(34);
            self.calm();
        }
        assert_eq!(&self.model.items, wanted);
        for (uid, said) in self.model.reported() {
            assert_eq!(**self.state.reported.item(&uid).unwrap(), said);
        }
        assert_eq!(self.state.reported.desired(), Some(&kalong_crds::wire::desired::rev_of(wanted.values())));
    }

    pub fn presence(&mut self) -> Presence {
        self.act(|state, context, _| state.facts(context).presence)
    }

    pub fn synced(&mut self) -> bool {
        self.act(|state, context, _| state.facts(context).synced)
    }
}

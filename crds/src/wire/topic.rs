//! The few topics there are. Nothing else may be published or subscribed.

use crate::units::AgentId;

/// Retained by the operator for all agents: whether an operator is there, and its term. A hint, never believed.
pub const OPERATOR_STATE: &str = "kalong/v1/_op/state";

/// Topics from the operator to one agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Down {
    /// What the agent must realise.
    Desired,
    /// Questions, acknowledgements and certificates.
    Ctl,
}

/// Topics from one agent to the operator.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Up {
    /// What is.
    Reported,
    /// I am here, and these are my digests.
    Beat,
    /// The ordered stream of the outbox.
    Event,
    /// A request for a new certificate.
    Csr,
    /// Cumulative counters.
    Telemetry,
}

impl Down {
    /// Every topic of this direction.
    pub const ALL: [Self; 2] = [Self::Desired, Self::Ctl];

    /// The whole topic of this agent.
    pub fn of(self, agent: &AgentId) -> String {
        let last = match self {
            Self::Desired => "desired",
            Self::Ctl => "ctl",
        };
        format!("kalong/v1/{agent}/{last}")
    }
}

impl Up {
    /// Every topic of this direction.
    pub const ALL: [Self; 5] = [Self::Reported, Self::Beat, Self::Event, Self::Csr, Self::Telemetry];

    /// The whole topic of this agent.
    pub fn of(self, agent: &AgentId) -> String {
        let last = match self {
            Self::Reported => "reported",
            Self::Beat => "beat",
            Self::Event => "event",
            Self::Csr => "csr",
            Self::Telemetry => "telemetry",
        };
        format!("kalong/v1/{agent}/{last}")
    }

    /// Which topic of this agent the text names, if it names one exactly.
    pub fn parse(agent: &AgentId, topic: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|up| up.of(agent) == topic)
    }
}

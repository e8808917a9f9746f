//! Access control of MQTT packets: an exact list of topics for each agent. Nothing that is not on the list reaches the router.

use std::time::Duration;

use kalong_crds::units::AgentId;
use kalong_crds::wire::MAX_MESSAGE;
use kalong_crds::wire::topic::{Down, OPERATOR_STATE, Up};
use rumqttc::{Connect, ConnectReturnCode, Protocol, Publish, QoS};

use super::limits::{MAX_BEAT, MAX_TOPIC};

/// Why a packet is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Denial {
    #[error("only MQTT 3.1.1 is spoken here")]
    Version,
    /// Without keep-alive a dead agent is never noticed.
    #[error("a keep-alive of 0 is refused")]
    KeepAlive,
    /// The client id is not the identity.
    #[error("the client id must be the name in the certificate")]
    ClientId,
    /// No will has a use here.
    #[error("a will is refused: presence is judged from heartbeats")]
    Will,
    /// Not one of the agent's own topics.
    #[error("the topic is none of this agent's own")]
    Topic,
    /// Empty, or larger than its topic allows.
    #[error("the payload is empty or too large for its topic")]
    Payload,
    #[error("quality of service 2 is not offered")]
    Qos,
}

impl Denial {
    pub fn code(self) -> ConnectReturnCode {
        match self {
            Self::Version => ConnectReturnCode::RefusedProtocolVersion,
            Self::ClientId => ConnectReturnCode::BadClientId,
            _ => ConnectReturnCode::NotAuthorized,
        }
    }
}

/// Checks CONNECT; returns how long the session may be silent, one and a half keep-alive intervals (MQTT 3.1.1, section 3.1.2.10).
pub fn connect(agent: &AgentId, packet: &Connect) -> Result<Duration, Denial> {
    if packet.protocol != Protocol::V4 {
        return Err(Denial::Version);
    }
    if packet.client_id != agent.as_str() {
        return Err(Denial::ClientId);
    }
    if packet.last_will.is_some() {
        return Err(Denial::Will);
    }
    if packet.keep_alive == 0 {
        return Err(Denial::KeepAlive);
    }
    Ok(Duration::from_secs(packet.keep_alive.into()) * 3 / 2)
}

/// Checks a PUBLISH against the topics of its sender; returns which of them it is.
pub fn publish(agent: &AgentId, packet: &Publish) -> Result<Up, Denial> {
    if packet.qos == QoS::ExactlyOnce {
        return Err(Denial::Qos);
    }
    if packet.topic.len() > MAX_TOPIC || !packet.topic.is_ascii() {
        return Err(Denial::Topic);
    }
    let up = Up::parse(agent, &packet.topic).ok_or(Denial::Topic)?;
    let most = if up == Up::Beat { MAX_BEAT } else { MAX_MESSAGE };
    if packet.payload.is_empty() || packet.payload.len() > most {
        return Err(Denial::Payload);
    }
    Ok(up)
}

/// A topic that an agent may subscribe to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Grant {
    /// One of the agent's own topics.
    Own(Down),
    /// The retained message for all agents.
    OperatorState,
}

/// Checks one filter of SUBSCRIBE: exact names only, no wildcard.
pub fn subscribe(agent: &AgentId, filter: &str) -> Option<Grant> {
    if filter == OPERATOR_STATE {
        return Some(Grant::OperatorState);
    }
    Down::ALL.into_iter().find(|down| down.of(agent) == filter).map(Grant::Own)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn me() -> AgentId {
        "mong-cai.a1".parse().unwrap()
    }

    #[test]
    fn only_own_topics_in_their_size_may_be_published() {
        let judge = |topic: &str, size: usize| publish(&me(), &Publish::new(topic, QoS::AtLeastOnce, vec![b'x'; size]));
        assert_eq!(judge("kalong/v1/mong-cai.a1/reported", 1), Ok(Up::Reported));
        assert_eq!(judge("kalong/v1/mong-cai.a1/reported", MAX_MESSAGE), Ok(Up::Reported));
        assert_eq!(judge("kalong/v1/mong-cai.a1/reported", MAX_MESSAGE + 1), Err(Denial::Payload));
        assert_eq!(judge("kalong/v1/mong-cai.a1/event", 0), Err(Denial::Payload));
        assert_eq!(judge("kalong/v1/mong-cai.a1/telemetry", MAX_MESSAGE), Ok(Up::Telemetry));
        assert_eq!(judge("kalong/v1/mong-cai.a1/telemetry", MAX_MESSAGE + 1), Err(Denial::Payload));
        assert_eq!(judge("kalong/v1/mong-cai.a1/telemetry", 0), Err(Denial::Payload));
        assert_eq!(judge("kalong/v1/mong-cai.a1/beat", 80), Ok(Up::Beat));
        assert_eq!(judge("kalong/v1/mong-cai.a1/beat", 81), Err(Denial::Payload));
        for topic in [
            "kalong/v1/mong-cai.a2/reported",
            "kalong/v1/mong-cai.a2/telemetry",
            "kalong/v1/mong-cai.a1/desired",
            "kalong/v1/_op/state",
            "đèn/1",
            "kalong/v1/mong-cai.a1/reported/x",
            "",
        ] {
            assert_eq!(judge(topic, 1), Err(Denial::Topic), "{topic}");
        }
        let twice = Publish::new("kalong/v1/mong-cai.a1/event", QoS::ExactlyOnce, "x");
        assert_eq!(publish(&me(), &twice), Err(Denial::Qos));
    }

    #[test]
    fn only_exact_names_may_be_subscribed() {
        assert_eq!(subscribe(&me(), "kalong/v1/mong-cai.a1/desired"), Some(Grant::Own(Down::Desired)));
        assert_eq!(subscribe(&me(), "kalong/v1/mong-cai.a1/ctl"), Some(Grant::Own(Down::Ctl)));
        assert_eq!(subscribe(&me(), OPERATOR_STATE), Some(Grant::OperatorState));
        for filter in
            ["#", "kalong/v1/+/desired", "kalong/v1/mong-cai.a2/desired", "$share/g/kalong/v1/mong-cai.a1/ctl"]
        {
            assert_eq!(subscribe(&me(), filter), None, "{filter}");
        }
    }

    #[test]
    fn connect_needs_own_name_keep_alive_and_no_will() {
        let good = || Connect::new("mong-cai.a1");
        assert_eq!(connect(&me(), &good()), Ok(Duration::from_secs(15)));
        let judge = |change: fn(&mut Connect)| {
            let mut packet = good();
            change(&mut packet);
            connect(&me(), &packet)
        };
        assert_eq!(judge(|c| c.keep_alive = 0), Err(Denial::KeepAlive));
        assert_eq!(judge(|c| c.client_id = "mong-cai.a2".into()), Err(Denial::ClientId));
        assert_eq!(judge(|c| c.protocol = Protocol::V5), Err(Denial::Version));
        assert_eq!(
            judge(|c| c.last_will = Some(rumqttc::LastWill::new("x", "y", QoS::AtMostOnce, false))),
            Err(Denial::Will)
        );
    }
}

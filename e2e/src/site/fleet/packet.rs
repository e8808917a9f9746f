//! MQTT 3.1.1 on the wire (OASIS standard of 2014), as much as a fleet's broker needs. Nothing of it is shared with the agent.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

/// The largest message that is taken: VDA 5050 states and factsheets stay far below.
const LARGEST: usize = 256 * 1024;
const LEVEL: u8 = 4;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MqttMessage {
    pub topic: String,
    pub payload: Bytes,
    /// Delivery at most once (0) or at least once (1).
    pub qos: u8,
    /// Whether the broker keeps it.
    pub retain: bool,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Packet {
    Connect(ConnectPacket),
    Publish {
        message: MqttMessage,
        id: Option<u16>,
    },
    /// The other side confirms; nothing follows from it.
    Confirmed,
    Subscribe {
        id: u16,
        filters: Vec<(String, u8)>,
    },
    Unsubscribe {
        id: u16,
        filters: Vec<String>,
    },
    Ping,
    Disconnect,
    /// Not of this version, or not of the standard.
    Broken,
}

/// How a client presents itself.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ConnectPacket {
    pub client: String,
    /// In seconds; 0 means that it promises nothing.
    pub keep_alive: u16,
    pub will: Option<MqttMessage>,
    pub level: u8,
}

impl ConnectPacket {
    pub fn is_understood(&self) -> bool {
        self.level == LEVEL
    }
}

pub(super) async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Packet> {
    let head = stream.read_u8().await?;
    let mut length = 0_usize;
    for place in 0..4_u32 {
        let byte = stream.read_u8().await?;
        length |= usize::from(byte & 0x7f) << (7 * place);
        if byte & 0x80 == 0 {
            break;
        }
    }
    if length > LARGEST {
        return Ok(Packet::Broken);
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).await?;
    Ok(parse(head, &body).unwrap_or(Packet::Broken))
}

fn parse(head: u8, body: &[u8]) -> Option<Packet> {
    let mut rest = Rest(body);
    match head >> 4 {
        1 => connect(&mut rest).map(Packet::Connect),
        3 => {
            let qos = (head >> 1) & 3;
            let topic = rest.text()?;
            let id = if qos > 0 { Some(rest.number()?) } else { None };
            let payload = Bytes::copy_from_slice(rest.0);
            // QoS 2 is no part of VDA 5050.
            (qos < 2)
                .then_some(Packet::Publish { message: MqttMessage { topic, payload, qos, retain: head & 1 == 1 }, id })
        }
        4 => Some(Packet::Confirmed),
        8 => {
            let id = rest.number()?;
            let mut filters = Vec::new();
            while !rest.0.is_empty() {
                filters.push((rest.text()?, rest.byte()?.min(1)));
            }
            Some(Packet::Subscribe { id, filters })
        }
        10 => {
            let id = rest.number()?;
            let mut filters = Vec::new();
            while !rest.0.is_empty() {
                filters.push(rest.text()?);
            }
            Some(Packet::Unsubscribe { id, filters })
        }
        12 => Some(Packet::Ping),
        14 => Some(Packet::Disconnect),
        _ => None,
    }
}

fn connect(rest: &mut Rest<'_>) -> Option<ConnectPacket> {
    let _protocol = rest.text()?;
    let level = rest.byte()?;
    let flags = rest.byte()?;
    let keep_alive = rest.number()?;
    let client = rest.text()?;
    let will = if flags & 4 == 0 {
        None
    } else {
        let topic = rest.text()?;
        let payload = Bytes::copy_from_slice(rest.bytes()?);
        Some(MqttMessage { topic, payload, qos: ((flags >> 3) & 3).min(1), retain: flags & 0x20 != 0 })
    };
    Some(ConnectPacket { client, keep_alive, will, level })
}

/// What of a packet was not read yet.
struct Rest<'a>(&'a [u8]);

impl<'a> Rest<'a> {
    fn byte(&mut self) -> Option<u8> {
        let (first, rest) = self.0.split_first()?;
        self.0 = rest;
        Some(*first)
    }

    fn number(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes([self.byte()?, self.byte()?]))
    }

    fn bytes(&mut self) -> Option<&'a [u8]> {
        let length = usize::from(self.number()?);
        let (taken, rest) = (self.0.get(..length)?, self.0.get(length..)?);
        self.0 = rest;
        Some(taken)
    }

    fn text(&mut self) -> Option<String> {
        String::from_utf8(self.bytes()?.to_vec()).ok()
    }
}

/// Why a client is not let in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Welcome {
    Accepted,
    WrongVersion,
}

pub(super) fn connected(welcome: Welcome) -> Vec<u8> {
    vec![0x20, 2, 0, if welcome == Welcome::Accepted { 0 } else { 1 }]
}

pub(super) fn confirmed(id: u16) -> Vec<u8> {
    framed(0x40, &id.to_be_bytes())
}

pub(super) fn subscribed(id: u16, granted: &[u8]) -> Vec<u8> {
    framed(0x90, &[id.to_be_bytes().as_slice(), granted].concat())
}

pub(super) fn unsubscribed(id: u16) -> Vec<u8> {
    framed(0xb0, &id.to_be_bytes())
}

pub(super) fn pong() -> Vec<u8> {
    vec![0xd0, 0]
}

/// A message on its way to a client; the identifier is used where it is to be confirmed.
pub(super) fn published(message: &MqttMessage, id: u16) -> Vec<u8> {
    let retain = u8::from(message.retain);
    let mut body = Vec::with_capacity(message.topic.len() + message.payload.len() + 4);
    body.extend_from_slice(&u16::try_from(message.topic.len()).unwrap_or_default().to_be_bytes());
    body.extend_from_slice(message.topic.as_bytes());
    if message.qos > 0 {
        body.extend_from_slice(&id.to_be_bytes());
    }
    body.extend_from_slice(&message.payload);
    framed(0x30 | message.qos << 1 | retain, &body)
}

fn framed(head: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = vec![head];
    let mut length = body.len();
    loop {
        let low = u8::try_from(length & 0x7f).unwrap_or_default();
        length >>= 7;
        packet.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            break;
        }
    }
    packet.extend_from_slice(body);
    packet
}

/// Whether a topic is one of those that the filter asks for (section 4.7).
pub(super) fn matches(filter: &str, topic: &str) -> bool {
    if topic.starts_with('$') && !filter.starts_with('$') {
        return false;
    }
    let mut levels = topic.split('/');
    for wanted in filter.split('/') {
        match (wanted, levels.next()) {
            ("#", _) => return true,
            ("+", Some(_)) => {}
            (wanted, Some(level)) if wanted == level => {}
            _ => return false,
        }
    }
    levels.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_match_as_the_standard_says() {
        let cases = [
            ("a/b", "a/b", true),
            ("a/b", "a/b/c", false),
            ("a/+/c", "a/b/c", true),
            ("a/+", "a", false),
            ("a/#", "a", true),
            ("a/#", "a/b/c", true),
            ("#", "a/b", true),
            ("#", "$SYS/x", false),
            ("+/b", "/b", true),
        ];
        for (filter, topic, wanted) in cases {
            assert_eq!(matches(filter, topic), wanted, "{filter} {topic}");
        }
    }

    #[tokio::test]
    async fn long_message_comes_back_as_it_was_sent() {
        let message = MqttMessage { topic: "a/b".into(), payload: vec![7; 20_000].into(), qos: 1, retain: true };
        let wire = published(&message, 9);
        assert_eq!(read(&mut wire.as_slice()).await.unwrap(), Packet::Publish { message, id: Some(9) });
    }

    #[tokio::test]
    async fn connect_with_a_will_is_understood() {
        let text = |t: &str| [u16::try_from(t.len()).unwrap().to_be_bytes().as_slice(), t.as_bytes()].concat();
        let body = [text("MQTT"), vec![4, 0b0010_1110, 0, 60], text("me"), text("w/t"), text("gone")].concat();
        let Packet::Connect(connect) = read(&mut framed(0x10, &body).as_slice()).await.unwrap() else { panic!() };
        let will = MqttMessage { topic: "w/t".into(), payload: "gone".into(), qos: 1, retain: true };
        assert_eq!(connect, ConnectPacket { client: "me".into(), keep_alive: 60, will: Some(will), level: 4 });
    }

    #[tokio::test]
    async fn nonsense_is_broken_and_not_a_panic() {
        for wire in [vec![0x00, 0], vec![0x10, 1, 0], vec![0x34, 3, 0, 1, b'a'], vec![0x82, 5, 0, 1, 0, 9, b'a']] {
            assert_eq!(read(&mut wire.as_slice()).await.unwrap(), Packet::Broken, "{wire:?}");
        }
    }
}

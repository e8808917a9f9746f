use rumqttc::SubscribeFilter;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::*;

const WILL: (&str, &str) = ("w/t", "gone");

fn text(text: &str) -> Vec<u8> {
    [u16::try_from(text.len()).unwrap().to_be_bytes().as_slice(), text.as_bytes()].concat()
}

/// A CONNECT of this level of the protocol, byte by byte as the standard has it, with a will that is kept and of QoS 1.
fn connect(level: u8) -> Vec<u8> {
    let body = [text("MQTT"), vec![level, 0b0010_1110, 0, 60], text("me"), text(WILL.0), text(WILL.1)].concat();
    [&[0x10, u8::try_from(body.len()).unwrap()], body.as_slice()].concat()
}

/// A connection over which this was sent, and the four bytes of its CONNACK.
async fn connected(broker: &TestBroker, connect: &[u8]) -> (TcpStream, [u8; 4]) {
    let mut stream = TcpStream::connect(&broker.address).await.unwrap();
    stream.write_all(connect).await.unwrap();
    let mut answer = [0; 4];
    stream.read_exact(&mut answer).await.unwrap();
    (stream, answer)
}

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
        ("#", "\u{111}", false),
    ];
    for (filter, topic, wanted) in cases {
        assert_eq!(fits(topic, filter), wanted, "{filter} {topic}");
    }
}

#[tokio::test]
async fn long_message_comes_back_as_it_was_sent() {
    let broker = TestBroker::start().await.unwrap();
    let mut wire = Framed::new(TcpStream::connect(&broker.address).await.unwrap(), CODEC);
    let sent = Publish { pkid: 9, ..message("a/b".into(), vec![7; 20_000], QoS::AtLeastOnce, Retain::Yes) };
    let mut subscribe = Subscribe::new_many([SubscribeFilter::new("a/+".into(), QoS::AtLeastOnce)]);
    subscribe.pkid = 10;
    for packet in [Packet::Connect(Connect::new("me")), Packet::Publish(sent.clone()), Packet::Subscribe(subscribe)] {
        wire.send(packet).await.unwrap();
    }
    let mut heard = vec![];
    while heard.len() < 4 {
        heard.push(wire.next().await.unwrap().unwrap());
    }
    let granted = SubAck::new(10, vec![SubscribeReasonCode::Success(QoS::AtLeastOnce)]);
    let wanted = [
        Packet::ConnAck(ConnAck::new(ConnectReturnCode::Success, false)),
        Packet::PubAck(PubAck::new(9)),
        Packet::SubAck(granted),
        Packet::Publish(Publish { pkid: 1, ..sent }),
    ];
    assert_eq!(heard, wanted);
}

#[tokio::test]
async fn connect_with_a_will_is_understood() {
    let broker = TestBroker::start().await.unwrap();
    let (_stream, answer) = connected(&broker, &connect(4)).await;
    assert_eq!(answer, [0x20, 2, 0, 0]);
    let will = LastWill::new(WILL.0, WILL.1, QoS::AtLeastOnce, true);
    let wanted = Connect { keep_alive: 60, last_will: Some(will), ..Connect::new("me") };
    assert_eq!(broker.sent_by("me"), [Packet::Connect(wanted)]);
}

#[tokio::test]
async fn other_version_of_the_protocol_is_refused_with_a_word() {
    let broker = TestBroker::start().await.unwrap();
    for level in [3, 5] {
        assert_eq!(connected(&broker, &connect(level)).await.1, [0x20, 2, 0, 1], "{level}");
    }
}

#[tokio::test]
async fn nonsense_is_broken_and_not_a_panic() {
    let broker = TestBroker::start().await.unwrap();
    let nonsense: [&[u8]; 6] = [
        &[0x00, 0],
        &[0x10, 1, 0],
        &[0x34, 3, 0, 1, b'a'],
        // QoS 2, and whole.
        &[0x34, 5, 0, 1, b'a', 0, 1],
        &[0x82, 5, 0, 1, 0, 9, b'a'],
        // Longer than any length that is taken.
        &[0x30, 0xff, 0xff, 0xff, 0x7f],
    ];
    for wire in nonsense {
        let (mut stream, answer) = connected(&broker, &connect(4)).await;
        assert_eq!(answer, [0x20, 2, 0, 0]);
        stream.write_all(wire).await.unwrap();
        assert_eq!(stream.read(&mut [0]).await.unwrap(), 0, "{wire:?} ends the session");
        let mut hello = TcpStream::connect(&broker.address).await.unwrap();
        hello.write_all(wire).await.unwrap();
        assert_eq!(hello.read(&mut [0]).await.unwrap(), 0, "{wire:?} is no hello");
    }
}

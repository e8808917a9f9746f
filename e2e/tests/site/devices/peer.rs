//! The gateway of the other country: it counts who calls, and has a clock of its own.

use std::net::SocketAddr;

use kalong_e2e::site::report::{PeerOrder, PeerReport, Switch};

use super::bench::{bench, connect, http, layout};

#[tokio::test(flavor = "multi_thread")]
async fn every_call_is_counted_and_the_clock_may_be_wrong() {
    let bench = bench().await;
    let address = SocketAddr::from(layout().peer_endpoint(bench.site.network()).unwrap().unwrap());
    assert_eq!(bench.control.peer().await.unwrap(), PeerReport::default(), "nobody called yet");
    let answer = http(address, "GET /", "", b"").unwrap();
    assert_eq!(answer.status, 200);
    assert!(answer.head.to_lowercase().contains("date: "), "{}", answer.head);
    let now: jiff::Timestamp = answer.json()["time"].as_str().unwrap().parse().unwrap();

    bench.control.peer_behaves(PeerOrder { state: Switch::On, ahead_seconds: 7200 }).await.unwrap();
    let answer = http(address, "GET /", "", b"").unwrap();
    let ahead: jiff::Timestamp = answer.json()["time"].as_str().unwrap().parse().unwrap();
    assert!((7200..7300).contains(&ahead.duration_since(now).as_secs()));
    assert_eq!(bench.control.peer().await.unwrap(), PeerReport { connections: 2, requests: 2 });

    bench.control.peer_behaves(PeerOrder { state: Switch::Off, ahead_seconds: 0 }).await.unwrap();
    let mut stream = connect(address);
    let read = std::io::Read::read(&mut stream, &mut [0; 8]);
    assert!(!matches!(read, Ok(n) if n > 0), "it hangs up");
    assert_eq!(bench.control.peer_calls().await.unwrap(), 3);
}

//! The weighing stream by hand.

use std::io::Read;
use std::net::TcpStream;

use kalong_e2e::site::report::{Load, Motion};

use super::bench::{bench, connect};

const BRIDGE: &str = "tb-trad-1-weighbridge";
const FRAME: usize = 18;

fn frame(stream: &mut TcpStream) -> [u8; FRAME] {
    let mut frame = [0; FRAME];
    stream.read_exact(&mut frame).unwrap();
    frame
}

/// The first frame that is as wanted; about seven come a second.
fn until(stream: &mut TcpStream, wanted: impl Fn(&[u8; FRAME]) -> bool) -> [u8; FRAME] {
    (0..100).map(|_| frame(stream)).find(wanted).expect("no such frame among a hundred")
}

fn checks(frame: &[u8; FRAME]) -> bool {
    frame.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)) & 0x7F == 0
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_come_unasked_with_weight_tare_and_checksum() {
    let bench = bench().await;
    let mut stream = connect(bench.address(BRIDGE).await);
    let empty = frame(&mut stream);
    assert_eq!((empty[0], empty[16]), (0x02, 0x0D));
    assert_eq!(&empty[4..16], b"000000000000");
    assert_eq!((empty[1] & 7, empty[1] & 0x20, empty[2], empty[3]), (2, 0x20, 0x30, 0x20), "gross, kg, at rest");
    assert!(checks(&empty));

    let load = Load { kilograms: 38_420, tare_kilograms: 0, motion: Motion::Moving };
    bench.control.load(BRIDGE, load).await.unwrap();
    let moving = until(&mut stream, |f| &f[4..10] == b"038420");
    assert_eq!(moving[2], 0x38, "motion");
    let load = Load { kilograms: 38_420, tare_kilograms: 14_000, motion: Motion::Stable };
    bench.control.load(BRIDGE, load).await.unwrap();
    let net = until(&mut stream, |f| &f[4..16] == b"024420014000");
    assert_eq!(net[2], 0x31, "net, at rest");
    assert!(checks(&net));
}

#[tokio::test(flavor = "multi_thread")]
async fn trouble_shows_in_the_status_bytes() {
    let bench = bench().await;
    let mut stream = connect(bench.address(BRIDGE).await);
    bench.control.health(BRIDGE, &["OverCapacity"]).await.unwrap();
    until(&mut stream, |f| f[2] & 0b110 == 0b100);
    bench.control.health(BRIDGE, &["UnderZero"]).await.unwrap();
    until(&mut stream, |f| f[2] & 0b110 == 0b110);
    bench.control.health(BRIDGE, &["ZeroNotCaptured"]).await.unwrap();
    until(&mut stream, |f| f[2] & 0x40 != 0);
    bench.control.health(BRIDGE, &["LineNoise"]).await.unwrap();
    until(&mut stream, |f| !checks(f));
    bench.control.health(BRIDGE, &[]).await.unwrap();
    until(&mut stream, |f| checks(f) && f[2] == 0x30);
}

//! The indicator of a weighbridge: Toledo continuous output, about seven frames a second to whoever is connected.

use std::time::Duration;

use tokio::io::AsyncWriteExt;
use tokio::net::TcpStream;

use super::device::{Device, DeviceState};
use crate::site::report::{Motion, Power};

const FRAME_EVERY: Duration = Duration::from_millis(140);
const STX: u8 = 0x02;
const CR: u8 = 0x0D;
/// Digits without a decimal point (2), in steps of 20 kg (2 on bits 3 and 4), and the bit that is always set.
const STATUS_A: u8 = 0b0011_0010;
const ALWAYS: u8 = 0b0010_0000;
const NEGATIVE: u8 = 0b0000_0010;
const NET: u8 = 0b0000_0001;
const OUT_OF_RANGE: u8 = 0b0000_0100;
const MOTION: u8 = 0b0000_1000;
const KILOGRAMS: u8 = 0b0001_0000;
const ZERO_NOT_CAPTURED: u8 = 0b0100_0000;
/// With code `LineNoise` every so manieth frame is broken.
const NOISE_EVERY: u64 = 5;

/// Sends frames until the client goes.
pub(super) async fn serve(device: &Device, mut stream: TcpStream) {
    let mut ticks = tokio::time::interval(FRAME_EVERY);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    for number in 1_u64.. {
        ticks.tick().await;
        let Some(mut bytes) = frame(&device.state()) else { continue };
        let noisy = device.state().codes.contains("LineNoise") && number % NOISE_EVERY == 0;
        if let Some(sum) = bytes.last_mut().filter(|_| noisy) {
            *sum ^= 0x55;
        }
        if stream.write_all(&bytes).await.is_err() {
            return;
        }
    }
}

/// The frame of now; none while the indicator is silent.
fn frame(state: &DeviceState) -> Option<Vec<u8>> {
    let has = |code: &str| state.codes.contains(code);
    if state.power != Power::On || has("NoSignal") {
        return None;
    }
    let load = state.load;
    let shown = load.kilograms - load.tare_kilograms;
    let mut status_b = ALWAYS | KILOGRAMS;
    let mut mark = |bit: u8, set: bool| status_b |= if set { bit } else { 0 };
    mark(NET, load.tare_kilograms != 0);
    mark(NEGATIVE, shown < 0 || has("UnderZero"));
    mark(OUT_OF_RANGE, has("OverCapacity") || has("UnderZero"));
    mark(MOTION, load.motion == Motion::Moving);
    mark(ZERO_NOT_CAPTURED, has("ZeroNotCaptured"));
    let digits =
        format!("{:06}{:06}", shown.unsigned_abs() % 1_000_000, load.tare_kilograms.unsigned_abs() % 1_000_000);
    let mut bytes = vec![STX, STATUS_A, status_b, ALWAYS];
    bytes.extend_from_slice(digits.as_bytes());
    bytes.push(CR);
    let sum = bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte));
    bytes.push((sum & 0x7F).wrapping_neg() & 0x7F);
    Some(bytes)
}

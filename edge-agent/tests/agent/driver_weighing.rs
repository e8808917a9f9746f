//! The weighbridge driver on a socket, as behind a serial device server.

use std::collections::BTreeSet;
use std::time::Duration;

use kalong_crds::units::Value;
use kalong_edge_agent::driver::{self, Driver, DriverError};
use tokio::io::AsyncWriteExt;
use tokio::net::{TcpListener, TcpStream};

use crate::driver_order;

const DEADLINE: Duration = Duration::from_secs(20);
const BRIDGE: &str = "
class: Weighbridge
protocol: { name: ToledoContinuous }
properties:
  - { name: weight, type: Integer, unit: kg }
  - { name: validWeight, type: Integer, unit: kg }
  - { name: motion, type: Enumeration, values: [Stable, Moving] }
  - { name: weightState, type: Enumeration, values: [Empty, Settling, Valid, AwaitingZero] }
healthCodes:
  - { name: NoSignal, severity: Faulty }
  - { name: OverCapacity, severity: Degraded }
  - { name: LineNoise, severity: Degraded }
";

const KG: u8 = 0b11_0000;
const OUT_OF_RANGE: u8 = 0b100;

fn frame(swb: u8, weight: &str) -> Vec<u8> {
    let mut bytes = vec![2, 0b10_0010, swb, 0b10_0000];
    bytes.extend(weight.bytes());
    bytes.extend(b"000000\r");
    let sum: u32 = bytes.iter().map(|byte| u32::from(*byte)).sum();
    bytes.push(u8::try_from((128 - sum % 128) % 128).unwrap());
    bytes
}

struct Bridge {
    listener: TcpListener,
    device: Box<dyn Driver>,
}

impl Bridge {
    async fn new(model: &str) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let order = driver_order::order(model, listener.local_addr().unwrap(), &[]);
        Self { device: driver::connect(&order, None).unwrap(), listener }
    }

    /// The first reading, for which the driver connects, while the indicator sends this.
    async fn first(&mut self, bytes: &[u8]) -> (TcpStream, Result<driver::Reading, DriverError>) {
        let accept = async {
            let (mut stream, _) = self.listener.accept().await.unwrap();
            stream.write_all(bytes).await.unwrap();
            stream
        };
        let both = async { tokio::join!(accept, self.device.read()) };
        tokio::time::timeout(DEADLINE, both).await.unwrap()
    }
}

fn word<'a>(reading: &'a driver::Reading, name: &str) -> Option<&'a Value> {
    reading.properties.get(name)
}

#[tokio::test]
async fn a_vehicle_is_weighed_from_frames_that_came_between_readings() {
    let mut bridge = Bridge::new(BRIDGE).await;
    let (mut line, reading) = bridge.first(&frame(KG, "000000")).await;
    let reading = reading.unwrap();
    assert_eq!((word(&reading, "weightState"), word(&reading, "validWeight")), (Some(&"Empty".into()), None));
    line.write_all(&frame(KG, "032480").repeat(10)).await.unwrap();
    let reading = loop {
        let reading = bridge.device.read().await.unwrap();
        if word(&reading, "weightState") == Some(&"Valid".into()) {
            break reading;
        }
        line.write_all(&frame(KG, "032480")).await.unwrap();
    };
    assert_eq!(word(&reading, "validWeight"), Some(&Value::Integer(32_480)));
    assert_eq!(word(&reading, "motion"), Some(&"Stable".into()));
    assert_eq!(reading.health, BTreeSet::new());
}

#[tokio::test]
async fn overload_is_a_health_code_and_no_weight() {
    let mut bridge = Bridge::new(BRIDGE).await;
    let (_line, reading) = bridge.first(&frame(KG | OUT_OF_RANGE, "      ")).await;
    let reading = reading.unwrap();
    assert_eq!(word(&reading, "weight"), None);
    assert!(reading.health.contains("OverCapacity"));
}

#[tokio::test]
async fn silence_on_an_open_line_is_no_signal_and_tells_no_value() {
    let mut bridge = Bridge::new(BRIDGE).await;
    let (_line, reading) = bridge.first(b"").await;
    let reading = reading.unwrap();
    assert_eq!((reading.properties.len(), reading.health), (0, BTreeSet::from(["NoSignal".to_owned()])));
}

#[tokio::test]
async fn silence_is_an_error_where_the_model_has_no_code_for_it() {
    let mut bridge = Bridge::new("{ class: Weighbridge, protocol: { name: ToledoContinuous } }").await;
    let (_line, reading) = bridge.first(b"").await;
    assert!(matches!(reading, Err(DriverError::Timeout(..))));
}

#[tokio::test]
async fn a_flood_of_garbage_ends_the_reading_in_time() {
    let mut bridge = Bridge::new(BRIDGE).await;
    let flood = async {
        let (mut stream, _) = bridge.listener.accept().await.unwrap();
        while stream.write_all(&[0x02, 0x2a, 0xff].repeat(1000)).await.is_ok() {}
    };
    let both = async { tokio::join!(flood, bridge.device.read()).1 };
    let reading = tokio::time::timeout(DEADLINE, both).await.unwrap().unwrap();
    assert!(reading.health.contains("NoSignal") && reading.health.contains("LineNoise"));
}

#[tokio::test]
async fn a_line_that_was_cut_is_connected_again() {
    let mut bridge = Bridge::new(BRIDGE).await;
    let (line, reading) = bridge.first(&frame(KG, "000000")).await;
    assert!(reading.is_ok());
    drop(line);
    let (_line, reading) = bridge.first(&frame(KG, "000040")).await;
    assert_eq!(word(&reading.unwrap(), "weight"), Some(&Value::Integer(40)));
}

#[tokio::test]
async fn an_indicator_takes_neither_settings_nor_firmware() {
    let mut bridge = Bridge::new(BRIDGE).await;
    let values = [("weight".to_owned(), Value::Integer(0))].into();
    assert!(matches!(bridge.device.set(&values).await, Err(DriverError::Invalid(_))));
    assert!(matches!(bridge.device.commit().await, Err(DriverError::Unsupported(_))));
}

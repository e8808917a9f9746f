//! Modbus/TCP by hand, from the map of the checked-in models.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::LazyLock;

use kalong_crds::protocol::RegisterTable;
use kalong_e2e::site::{Layout, Preset};

use super::bench::{bench, connect};

const PLC: &str = "tb-trad-1-plc";

fn exchange(stream: &mut TcpStream, unit: u8, pdu: &[u8]) -> Vec<u8> {
    let length = u16::try_from(pdu.len() + 1).unwrap().to_be_bytes();
    let frame = [&[0x12, 0x34, 0, 0, length[0], length[1], unit], pdu].concat();
    stream.write_all(&frame).unwrap();
    let mut head = [0; 7];
    stream.read_exact(&mut head).unwrap();
    assert_eq!((&head[..4], head[6]), ([0x12, 0x34, 0, 0].as_slice(), unit));
    let mut answer = vec![0; usize::from(u16::from_be_bytes([head[4], head[5]])) - 1];
    stream.read_exact(&mut answer).unwrap();
    answer
}

pub fn once(address: SocketAddr, pdu: &[u8]) -> Vec<u8> {
    exchange(&mut connect(address), 1, pdu)
}

/// Address of a property in the model, and its words, as two bytes each.
pub fn place(model: &str, name: &str, table: RegisterTable) -> ([u8; 2], [u8; 2]) {
    static SITE: LazyLock<Layout> = LazyLock::new(|| Layout::read(&Preset::L1.source()).unwrap());
    let spec = &SITE.model(model).unwrap().spec;
    let register = spec.protocol.registers.iter().find(|r| r.name == name).unwrap();
    assert_eq!(register.table, table, "{name}");
    let two = |n: i64| u16::try_from(n).unwrap().to_be_bytes();
    (two(register.address), two(register.words))
}

pub fn read(function: u8, (address, words): ([u8; 2], [u8; 2])) -> Vec<u8> {
    [&[function], address.as_slice(), words.as_slice()].concat()
}

#[tokio::test(flavor = "multi_thread")]
async fn identity_stands_where_the_model_says() {
    let bench = bench().await;
    let report = bench.device(PLC).await;
    let address = bench.address(PLC).await;
    let mut stream = connect(address);
    let mut text = |name| {
        let answer = exchange(&mut stream, 1, &read(4, place("lane-plc", name, RegisterTable::InputRegister)));
        assert_eq!(answer[0], 4);
        answer[2..].to_vec()
    };
    let serial = text("serialNumber");
    assert_eq!(serial.len(), 16);
    assert_eq!(String::from_utf8(serial).unwrap().trim_end_matches('\0'), report.serial);
    assert_eq!(&text("firmwareVersion")[..6], b"3.2.0\0");
    let digest: String = text("imageDigest").iter().map(|b| format!("{b:02x}")).collect();
    assert_eq!(digest, report.digest.unwrap().hex());
    assert_eq!(text("bootCount"), u32::try_from(report.boot_count).unwrap().to_be_bytes());
}

#[tokio::test(flavor = "multi_thread")]
async fn settings_are_written_read_back_and_counted() {
    let bench = bench().await;
    let address = bench.address(PLC).await;
    let (at, words) = place("lane-plc", "clearanceMillis", RegisterTable::HoldingRegister);
    let write = [&[6], at.as_slice(), &3000_u16.to_be_bytes()].concat();
    assert_eq!(once(address, &write), write, "function 6 answers with an echo");
    assert_eq!(once(address, &read(3, (at, words)))[2..], 3000_u16.to_be_bytes());

    let (coil, _) = place("lane-plc", "guideLights", RegisterTable::Coil);
    let on = [&[5], coil.as_slice(), &[0xFF, 0]].concat();
    assert_eq!(once(address, &on), on);
    assert_eq!(once(address, &read(1, (coil, [0, 1]))), [1, 1, 1]);

    let report = bench.device(PLC).await;
    assert_eq!((report.counts.writes, report.counts.setting_writes), (2, 2));
    assert_eq!(report.settings["clearanceMillis"], 3000.into());
    assert_eq!(report.settings["guideLights"], "On".into());
    assert_eq!(bench.control.counts().await.unwrap().writes, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn long_numbers_take_two_registers_and_keep_their_bounds() {
    let bench = bench().await;
    let barrier = "tb-trad-1-entry-barrier";
    let address = bench.address(barrier).await;
    let (at, words) = place("barrier", "holdOpenMillis", RegisterTable::HoldingRegister);
    assert_eq!(words, [0, 2]);
    assert_eq!(once(address, &read(3, (at, words)))[2..], 90_000_u32.to_be_bytes());
    let write = |n: u32| [&[16], at.as_slice(), &[0, 2, 4], &n.to_be_bytes()].concat();
    assert_eq!(once(address, &write(100_000)), [&[16], at.as_slice(), &[0, 2]].concat());
    assert_eq!(once(address, &write(500_000)), [0x90, 3], "beyond the model's bounds");
    assert_eq!(bench.device(barrier).await.settings["holdOpenMillis"], 100_000.into());
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_there_is_answered_with_an_exception() {
    let bench = bench().await;
    let address = bench.address(PLC).await;
    assert_eq!(once(address, &[3, 0x40, 0, 0, 1]), [0x83, 2], "no such register");
    assert_eq!(once(address, &[0x2B, 14, 1, 0]), [0xAB, 1], "no such function");
    assert_eq!(once(address, &[4, 0, 100, 0, 126]), [0x84, 3], "more than fit into one answer");
    assert_eq!(once(address, &[6, 0, 0, 0, 7]), [0x86, 3], "no such word of the enumeration");
    assert_eq!(exchange(&mut connect(address), 9, &[3, 0, 0, 0, 1]), [0x83, 11], "no such unit");
    let broken = connect(address).write_all(b"GET / HTTP/1.1\r\n\r\n");
    assert!(broken.is_ok());
}

#[tokio::test(flavor = "multi_thread")]
async fn lane_drains_until_nobody_is_inside() {
    let bench = bench().await;
    let address = bench.address(PLC).await;
    let (admission, _) = place("lane-plc", "admission", RegisterTable::HoldingRegister);
    let state = read(4, place("lane-plc", "admissionState", RegisterTable::InputRegister));
    let say = |n: u8| [&[6], admission.as_slice(), &[0, n]].concat();
    let now = || once(address, &state)[3];
    assert_eq!(now(), 0, "new lanes are closed");
    once(address, &say(1));
    assert_eq!(now(), 1);
    bench.control.occupancy(PLC, 2).await.unwrap();
    once(address, &say(0));
    assert_eq!(now(), 2, "draining");
    bench.control.occupancy(PLC, 0).await.unwrap();
    assert_eq!(now(), 0);
    let counts = bench.device(PLC).await.counts;
    assert_eq!((counts.writes, counts.admission_writes, counts.setting_writes), (2, 2, 0));
}

#[tokio::test(flavor = "multi_thread")]
async fn health_codes_stand_as_bits() {
    let bench = bench().await;
    let address = bench.address(PLC).await;
    let bits = read(4, place("lane-plc", "healthBits", RegisterTable::InputRegister));
    bench.control.health(PLC, &["EmergencyStop"]).await.unwrap();
    assert_eq!(once(address, &bits)[2..], 2_u32.to_be_bytes());
    bench.control.health(PLC, &[]).await.unwrap();
    assert_eq!(once(address, &bits)[2..], 0_u32.to_be_bytes());
    assert!(bench.control.health(PLC, &["LensDirty"]).await.is_err());
}

//! Interlocks and seals: seen in the protocol of the instrument that has them.

use kalong_crds::protocol::RegisterTable;
use kalong_e2e::site::report::InterlockState;
use kalong_e2e::site::{Preset, SiteOptions, SiteProcess};
use serde_json::json;

use super::bench::{basic, bench, http};
use super::modbus::{once, place, read};

#[tokio::test(flavor = "multi_thread")]
async fn interlock_and_seal_of_modbus_instruments_are_bits() {
    let bench = bench().await;
    let cases = [
        ("tb-quarantine-spray-entry", "disinfection", "doorInterlock"),
        ("tb-trad-1-power", "power-meter", "housingSeal"),
    ];
    for (device, model, name) in cases {
        let address = bench.address(device).await;
        let ask = read(2, place(model, name, RegisterTable::DiscreteInput));
        for (state, bit) in [(InterlockState::Safe, 0), (InterlockState::Open, 1), (InterlockState::Safe, 0)] {
            if name == "housingSeal" {
                bench.control.seal(device, state).await.unwrap();
            } else {
                bench.control.interlock(device, state).await.unwrap();
            }
            assert_eq!(once(address, &ask), [2, 1, bit], "{device} {state:?}");
        }
    }
    let refused = bench.control.interlock("tb-trad-1-plc", InterlockState::Open).await.unwrap_err();
    assert!(refused.to_string().contains("has no Interlock"), "{refused}");
}

#[tokio::test(flavor = "multi_thread")]
async fn interlock_of_the_scanner_is_told_over_the_contract() {
    let binary = Some(env!("CARGO_BIN_EXE_kalong-site").into());
    let options = SiteOptions { preset: Preset::L1, binary, ..Default::default() };
    let site = SiteProcess::start_on_free_network(options).await.unwrap();
    let scanner = "bl2-xray-scanner";
    let address = site.control().device(scanner).await.unwrap().endpoint.parse().unwrap();
    for (state, shown) in [(InterlockState::Open, "Open"), (InterlockState::Safe, "Closed")] {
        site.control().interlock(scanner, state).await.unwrap();
        let told = http(address, "GET /kalong/v1/interlocks", &basic(), b"").unwrap();
        assert_eq!(told.json(), json!({ "doorInterlock": shown }));
        let properties = http(address, "GET /kalong/v1/properties", &basic(), b"").unwrap();
        assert_eq!(properties.json()["doorInterlock"], json!(shown));
    }
}

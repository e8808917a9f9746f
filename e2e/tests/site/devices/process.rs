//! The process: its ready line, its end, and what it says when an address is taken.

use std::collections::BTreeSet;
use std::net::TcpStream;
use std::time::Instant;

use kalong_e2e::site::{Layout, Preset, SiteError, SiteOptions, SiteProcess};

use super::bench::{PATIENCE, bench};

fn options(preset: Preset, network: u8) -> SiteOptions {
    let binary = Some(env!("CARGO_BIN_EXE_kalong-site").into());
    SiteOptions { preset, network, binary, ..Default::default() }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_device_of_l1_listens_and_nothing_was_done_to_it() {
    let site = SiteProcess::start_on_free_network(options(Preset::L1, 0)).await.unwrap();
    let reports = site.control().devices().await.unwrap();
    let layout = Layout::read(&Preset::L1.source()).unwrap();
    assert_eq!(site.devices(), layout.devices.len());
    let live: BTreeSet<_> = layout.live().map(|d| d.name.as_str()).collect();
    assert_eq!(live.len(), 311);
    assert_eq!(reports.iter().filter(|r| live.contains(r.name.as_str())).count(), 311);
    for report in &reports {
        assert_eq!(report.counts, Default::default(), "{}", report.name);
        assert!(TcpStream::connect(&report.endpoint).is_ok(), "{}", report.name);
    }
    let serials: BTreeSet<_> = reports.iter().map(|r| r.serial.as_str()).collect();
    assert_eq!(serials.len(), reports.len());
}

#[tokio::test(flavor = "multi_thread")]
async fn taken_address_is_named_with_its_device_and_what_to_do() {
    let bench = bench().await;
    let second = SiteProcess::start(options(Preset::L0, bench.site.network())).await;
    let Err(SiteError::Ended(said)) = second else { panic!("{second:?}") };
    let address = bench.address("tb-trad-1-plc").await.to_string();
    for word in ["tb-trad-1-plc", address.as_str(), "--network"] {
        assert!(said.contains(word), "{said}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn dropping_the_site_frees_its_addresses() {
    let bench = bench().await;
    let address = bench.address("tb-trad-1-plc").await;
    drop(bench);
    let end = Instant::now() + PATIENCE;
    while TcpStream::connect(address).is_ok() {
        assert!(Instant::now() < end, "still there");
    }
}

use kalong_crds::Kind;

use super::chain::{Shown, chain};
use super::*;
use crate::golden;
use crate::site::fixture;

fn why(site: &Site, object: &str, language: Language, format: Option<Format>) -> String {
    let now = "2026-11-22T10:12:00Z".parse().unwrap();
    explain(site, &object.parse().unwrap(), language, format, &Screen::pipe(), now).unwrap()
}

#[test]
fn answers_in_both_languages_are_as_agreed() {
    let site = fixture::site("ill");
    for object in [
        "device/bl2-out-01-plate",
        "lane/bl2-out-03",
        "lane/bl2-in-01",
        "lane/bl2-trad-04",
        "lane/bl2-out-04",
        "phase/phase-2",
        "igv/igv-05",
        "bilaterallink/mong-cai-dongxing",
        "crossing/bac-luan-2",
        "lane/bl2-out-02",
    ] {
        let file = object.replace('/', "-");
        golden::compare(&format!("why-{file}.en.txt"), &why(&site, object, Language::En, None));
        golden::compare(&format!("why-{file}.vi.txt"), &why(&site, object, Language::Vi, None));
    }
    let plate = "device/bl2-out-01-plate";
    golden::compare("why-device-bl2-out-01-plate.en.json", &why(&site, plate, Language::En, Some(Format::Json)));
    golden::compare("why-device-bl2-out-01-plate.vi.yaml", &why(&site, plate, Language::Vi, Some(Format::Yaml)));
}

/// The first cause of each step.
fn way(site: &Site, object: &str) -> Vec<String> {
    let chain = chain(site, &object.parse().unwrap());
    let mut way = Vec::new();
    let mut at = Some(&chain);
    while let Some(step) = at {
        way.push(step.object.to_string());
        at = step.causes.first();
    }
    way
}

#[test]
fn the_chain_leads_from_a_camera_over_its_claim_to_the_silent_box_of_another_lane() {
    let site = fixture::site("ill");
    let camera = "device/bl2-out-01-plate";
    let expected = [
        "Device/bl2-out-01-plate",
        "LaneDrain/device-bl2-out-01-plate-2",
        "Lane/bl2-out-03",
        "EdgeAgent/bl2-out-03-box",
    ];
    assert_eq!(way(&site, camera), expected);
    let chain = chain(&site, &camera.parse().unwrap());
    let roots: Vec<String> = chain.roots().into_iter().map(|r| r.object.to_string()).collect();
    assert_eq!(roots, ["EdgeAgent/bl2-out-03-box"]);
}

#[test]
fn a_floor_without_one_culprit_leads_over_the_crossing_to_those_who_took_the_capacity() {
    let site = fixture::changed("ill", |item| {
        if matches!(item["kind"].as_str(), Some("LaneDrain" | "Device"))
            && item["status"]["blockedBy"][0]["subject"] == "Lane/bl2-out-03"
        {
            item["status"]["blockedBy"][0]["subject"] = "Crossing/bac-luan-2".into();
        }
    });
    let expected = [
        "Device/bl2-out-01-plate",
        "LaneDrain/device-bl2-out-01-plate-2",
        "Crossing/bac-luan-2",
        "Lane/bl2-out-03",
        "EdgeAgent/bl2-out-03-box",
    ];
    assert_eq!(way(&site, "device/bl2-out-01-plate"), expected);
}

#[test]
fn a_claim_that_waits_for_its_turn_leads_to_the_claim_before_it() {
    let site = fixture::changed("ill", |item| {
        if let Some(wait) = item.pointer_mut("/status/blockedBy/0").filter(|wait| wait["code"] == "CapacityFloor") {
            wait["code"] = "DrainInProgress".into();
            wait["subject"] = "LaneDrain/by-hand-bl2-trad-04-x7k2p".into();
        }
    });
    let expected =
        ["Device/bl2-out-01-plate", "LaneDrain/device-bl2-out-01-plate-2", "LaneDrain/by-hand-bl2-trad-04-x7k2p"];
    assert_eq!(way(&site, "device/bl2-out-01-plate")[..3], expected);
}

#[test]
fn a_lane_behind_an_open_interlock_leads_over_its_station_to_the_door() {
    let site = fixture::site("ill");
    let expected = ["Lane/bl2-in-01", "InspectionStation/bl2-xray", "Device/bl2-xray-scanner"];
    assert_eq!(way(&site, "lane/bl2-in-01"), expected);
    let text = why(&site, "lane/bl2-in-01", Language::En, None);
    assert!(text.contains("1. Device/bl2-xray-scanner: Go to the station"), "{text}");
}

#[test]
fn a_circle_of_blame_ends() {
    let site = fixture::changed("ill", |item| {
        if item["metadata"]["name"] == "bl2-out-03-box" && item["kind"] == "EdgeAgent" {
            item["status"]["blockedBy"][0]["subject"] = "Lane/bl2-out-03".into();
        }
    });
    let chain = chain(&site, &"lane/bl2-out-03".parse().unwrap());
    let agent = chain.causes.first().unwrap();
    assert_eq!(agent.object.kind, Kind::EdgeAgent);
    assert_eq!(agent.causes.first().unwrap().shown, Shown::Above);
}

#[test]
fn a_missing_object_is_a_root() {
    let site = fixture::changed("ill", |item| {
        if item["metadata"]["name"] == "bl2-out-03-box" {
            item["kind"] = "Gone".into();
        }
    });
    let text = why(&site, "lane/bl2-out-03", Language::En, None);
    assert!(text.contains("EdgeAgent/bl2-out-03-box does not exist"), "{text}");
    assert!(text.contains("1. EdgeAgent/bl2-out-03-box: Declare the named object"), "{text}");
}

#[test]
fn devices_that_suffer_alike_are_told_once() {
    let site = fixture::changed("well", |item| {
        let name = item["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        if item["kind"] == "Lane" && name == "bl2-out-01" {
            item["status"]["conditions"][0]["status"] = "False".into();
            item["status"]["conditions"][0]["reason"] = "DeviceNotReady".into();
        }
        if item["kind"] == "Device" && name.starts_with("bl2-out-01-") {
            item["status"]["conditions"][0]["status"] = "False".into();
            item["status"]["conditions"][0]["reason"] = "DeviceUnreachable".into();
        }
    });
    let chain = chain(&site, &"lane/bl2-out-01".parse().unwrap());
    assert_eq!(chain.causes.len(), 1);
    assert_eq!(chain.causes.first().unwrap().alike.len(), 3);
}

#[test]
fn nothing_blocks_a_healthy_object() {
    let site = fixture::site("well");
    assert!(why(&site, "lane/bl2-out-01", Language::En, None).contains("Nothing blocks it."));
    assert!(why(&site, "lane/bl2-out-01", Language::Vi, None).contains("Không có gì cản trở."));
}

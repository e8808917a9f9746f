use kalong_crds::Category;

use super::*;
use crate::golden;
use crate::site::fixture;

const NOW: &str = "2026-11-22T10:12:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn site(name: &str, form: Option<Form>) -> String {
    of_sites(&[fixture::site(name)], form, &Screen::pipe(), now()).unwrap()
}

fn object(name: &str, object: &str, form: Option<Form>) -> String {
    let scope = Scope::Site("mong-cai".into());
    of_object(&[fixture::site(name)], &object.parse().unwrap(), &scope, form, &Screen::pipe(), now()).unwrap()
}

#[test]
fn a_healthy_site_of_fourteen_lanes_fits_forty_lines() {
    let text = site("well", None);
    assert!(text.lines().count() <= 40, "{text}");
    assert!(text.contains("no problem"), "{text}");
    golden::compare("status-well.txt", &text);
    golden::compare("status-well-wide.txt", &site("well", Some(Form::Wide)));
}

#[test]
fn problems_stand_first_and_what_follows_is_counted() {
    let text = site("ill", None);
    golden::compare("status-ill.txt", &text);
    let place = |word: &str| text.find(word).unwrap_or_else(|| panic!("{word} in {text}"));
    assert!(place("Phase/phase-2") < place("EdgeAgent/bl2-out-03-box"), "stuck before unknown");
    assert!(place("follow from these") < place("├─"));
    // A lane with a silent box is not a problem of its own.
    let head = text.split("\n\n").next().unwrap();
    assert!(!head.contains("Lane/bl2-out-03"), "{head}");
    golden::compare("status-ill-wide.txt", &site("ill", Some(Form::Wide)));
    golden::compare("status-ill.json", &site("ill", Some(Form::Json)));
    golden::compare("status-ill.yaml", &site("ill", Some(Form::Yaml)));
}

#[test]
fn a_window_cuts_lines_and_a_pipe_does_not() {
    let cut = of_sites(&[fixture::site("ill")], None, &Screen::window(80), now()).unwrap();
    assert!(cut.lines().all(|line| line.chars().count() <= 80), "{cut}");
    assert!(cut.contains('…'));
    assert!(site("ill", None).lines().any(|line| line.chars().count() > 120));
}

#[test]
fn one_object_shows_its_neighbours() {
    for name in [
        "lane/bl2-out-01",
        "device/bl2-out-01-plate",
        "edgeagent/bl2-out-03-box",
        "inspectionstation/bl2-xray",
        "phase/phase-1",
        "phase/phase-2",
        "crossing/bac-luan-2",
        "lanedrain/device-bl2-out-01-plate-2",
        "igv/igv-05",
        "bilaterallink/mong-cai-dongxing",
        "devicemodel/plate-camera",
        "firmwarerelease/plate-camera-2.1.0",
    ] {
        let file = name.replace('/', "-");
        golden::compare(&format!("status-{file}.txt"), &object("ill", name, None));
    }
    golden::compare("status-lane-bl2-out-01.json", &object("ill", "lane/bl2-out-01", Some(Form::Json)));
}

#[test]
fn an_object_that_is_not_there_is_said() {
    let scope = Scope::Site("mong-cai".into());
    let missing = "lane/x".parse().unwrap();
    let error = of_object(&[fixture::site("well")], &missing, &scope, None, &Screen::pipe(), now()).unwrap_err();
    assert_eq!(error.category(), "absent");
    assert!(error.to_string().contains("Lane/x") && error.to_string().contains("mong-cai"));
}

#[test]
fn equal_lanes_share_a_line_until_one_differs() {
    let text = site("well", None);
    assert!(text.contains("4 lanes Smart Outbound Open"), "{text}");
    let one_closed = fixture::changed("well", |item| {
        if item["metadata"]["name"] == "bl2-out-02" && item["kind"] == "Lane" {
            item["status"]["conditions"][1]["status"] = "False".into();
            item["status"]["conditions"][1]["reason"] = "DeviceNotAvailable".into();
        }
    });
    let text = of_sites(&[one_closed], None, &Screen::pipe(), now()).unwrap();
    assert!(text.contains("3 lanes Smart Outbound Open"), "{text}");
    assert!(text.contains("Lane/bl2-out-02  Smart Outbound Open  DeviceNotAvailable"), "{text}");
}

#[test]
fn five_declared_and_four_seen_says_who_is_missing() {
    assert!(site("ill", None).contains("IGVs: 5 declared, 4 seen: igv-05 not seen"));
}

#[test]
fn objects_of_an_unknown_phase_are_not_lost() {
    let lost = fixture::changed("well", |item| {
        if item["metadata"]["name"] == "bl2-in-02" && item["kind"] == "Lane" {
            item["spec"]["phase"] = "phase-9".into();
        }
    });
    let text = of_sites(&[lost], None, &Screen::pipe(), now()).unwrap();
    assert!(text.contains("Phase/phase-9  does not exist"), "{text}");
    assert!(text.contains("Lane/bl2-in-02"), "{text}");
}

#[test]
fn an_object_that_nobody_has_judged_is_said_to_begin() {
    let fresh = fixture::changed("well", |item| {
        if item["kind"] == "IGV" && item["metadata"]["name"] == "igv-01" {
            item["status"] = serde_json::json!({"observedGeneration": -1});
        }
    });
    let text = of_sites(&[fresh], None, &Screen::pipe(), now()).unwrap();
    assert!(text.contains("IGV/igv-01  Initializing"), "{text}");
}

use clap::{Args, Command, FromArgMatches};
use kalong_crds::lane_drain::DrainClass;
use kalong_crds::{Category, Lane, LaneDrain};

use super::list::{Columns, Drains, Row, lines};
use super::progress::Progress;
use super::*;
use crate::golden;
use crate::output;
use crate::screen::Screen;
use crate::site::{Scope, Site, fixture};

fn now() -> Timestamp {
    "2026-11-22T10:12:00Z".parse().unwrap()
}

fn ask(words: &[&str]) -> AskArguments {
    let command = AskArguments::augment_args(Command::new("drain").no_binary_name(true));
    AskArguments::from_arg_matches(&command.try_get_matches_from(words).unwrap()).unwrap()
}

fn made(words: &[&str]) -> Result<LaneDrain, DrainError> {
    let arguments = ask(words);
    let target = Reference::of_words(&arguments.target)?;
    Ok(ask::object("mong-cai", &target, ask::spec(&arguments, &target, now())?))
}

fn drain(site: &Site, name: &str) -> LaneDrain {
    crate::site::named(&site.drains, name).unwrap().clone()
}

#[test]
fn a_claim_is_made_as_it_is_asked_for() {
    let change = made(&["lane", "bl2-out-01", "--reason", "barrier arm is bent", "--timeout", "10m"]).unwrap();
    golden::compare("drain-change.yaml", &output::yaml(&change).unwrap());
    let words = ["crossing/bac-luan-2", "--reason", "flood", "--emergency", "--for", "6h", "--yes"];
    golden::compare("drain-emergency.yaml", &output::yaml(&made(&words).unwrap()).unwrap());
}

#[test]
fn an_emergency_has_an_end_in_the_future() {
    let refused = |words: &[&str]| made(words).unwrap_err().category();
    assert_eq!(refused(&["lane/a", "--reason", "x", "--emergency"]), "end");
    assert_eq!(refused(&["lane/a", "--reason", "x", "--emergency", "--until", "2026-11-22T10:00:00Z"]), "end");
    assert_eq!(refused(&["device/a", "--reason", "x"]), "object");
}

#[test]
fn an_emergency_names_the_floors_that_break() {
    let site = fixture::site("ill");
    let said = |target: &str, class| ask::cost(&site, &target.parse().unwrap(), class).join("\n") + "\n";
    golden::compare("drain-cost-emergency.txt", &said("crossing/bac-luan-2", DrainClass::Emergency));
    golden::compare("drain-cost-change.txt", &said("lane/bl2-out-02", DrainClass::Change));
    assert_eq!(said("lane/bl2-trad-01", DrainClass::Emergency), "No floor breaks by this emergency.\n");
    // A lane that serves nobody costs nothing.
    assert_eq!(said("lane/bl2-out-03", DrainClass::Emergency), "No floor breaks by this emergency.\n");
}

#[test]
fn the_list_says_what_each_claim_waits_for() {
    let site = fixture::site("ill");
    let here = Scope::Site("mong-cai".into());
    let drains: Vec<LaneDrain> = site.drains.objects().cloned().collect();
    let text = |scope: &Scope, columns| Screen::pipe().text(&lines(&drains, scope, columns, now()));
    golden::compare("drain-list.txt", &text(&here, Columns::Usual));
    golden::compare("drain-list-wide.txt", &text(&Scope::Everywhere, Columns::Wide));
    let drains = Drains { drains: site.drains.objects().map(Row::of).collect() };
    golden::compare("drain-list.json", &output::document(Format::Json, &drains).unwrap());
}

#[test]
fn progress_follows_the_status() {
    let site = fixture::site("ill");
    let waiting = drain(&site, "device-bl2-out-01-plate-2");
    assert!(matches!(Progress::of(&waiting), Progress::Waits(text) if text.contains("Lane/bl2-out-03")));
    let mut held = drain(&site, "by-hand-bl2-trad-04-x7k2p");
    assert!(matches!(Progress::of(&held), Progress::Holds(_)));
    held.metadata.generation = Some(2);
    assert_eq!(Progress::of(&held), Progress::Unseen);
    held.status = None;
    assert_eq!(Progress::of(&held), Progress::Unseen);
    let mut empties = waiting.clone();
    let status = empties.status.as_mut().unwrap();
    status.accepted_at = Some("2026-11-22T10:10:00Z".into());
    assert!(matches!(Progress::of(&empties), Progress::Empties(text) if text.contains("bl2-out-01 Open")));
}

#[test]
fn only_a_persons_claim_is_released_by_a_person() {
    let site = fixture::site("ill");
    let operators = drain(&site, "device-bl2-out-01-plate-2");
    assert_eq!(release::releasable(&operators).unwrap_err().category(), "operator-made");
    let own = drain(&site, "by-hand-bl2-trad-04-x7k2p");
    assert!(release::releasable(&own).is_ok());
    let lanes: Vec<Lane> = site.lanes.objects().cloned().collect();
    assert_eq!(release::after(&own, &lanes), ["Lane/bl2-trad-04 reopens."]);
}

#[test]
fn words_of_a_claim_are_judged_at_the_desk() {
    for bad in ["", "nguyen van", "-a"] {
        assert!(requester(bad).is_err(), "{bad}");
    }
    assert!(timeout("5s").is_err() && timeout("5h").is_err() && timeout("10m").is_ok());
    assert!(reason("  ").is_err() && reason(&"x".repeat(257)).is_err());
}

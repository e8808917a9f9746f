//! Which agreements are in force today, in the zone of the crossing. Pure.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use kalong_crds::bilateral_link::Agreement;
use kalong_crds::units::Name;
use kalong_crds::{BilateralLink, Crossing};

use crate::kit::clock::{beginning, ending, until_next, zone_of};

/// What can be said of the agreements today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum AgreementState {
    /// None is declared.
    NotDeclared,
    /// At least one is in force; these.
    InForce(Vec<Name>),
    /// None is yet; the next one begins on this day.
    Begins(Name, Date),
    /// The last one ended with this day.
    Ended(Name, Date),
    /// A day of this one is no day of the calendar.
    NoDay(Name),
    /// The crossing or its zone is not known, and so not what day it is there.
    NoZone,
}

fn days(agreement: &Agreement) -> Option<(Date, Date)> {
    Some((agreement.valid_from.parse().ok()?, agreement.valid_until.parse().ok()?))
}

pub(super) fn agreement_state(link: &BilateralLink, crossing: Option<&Crossing>, now: Timestamp) -> AgreementState {
    let agreements = &link.spec.agreements;
    if agreements.is_empty() {
        return AgreementState::NotDeclared;
    }
    if let Some(wrong) = agreements.iter().find(|agreement| days(agreement).is_none()) {
        return AgreementState::NoDay(wrong.name.clone());
    }
    let Some(zone) = zone_of(crossing) else { return AgreementState::NoZone };
    let today = now.to_zoned(zone).date();
    let dated = || agreements.iter().filter_map(|agreement| Some((&agreement.name, days(agreement)?)));
    let current: Vec<Name> =
        dated().filter(|(_, (from, until))| (*from..=*until).contains(&today)).map(|(name, _)| name.clone()).collect();
    if !current.is_empty() {
        return AgreementState::InForce(current);
    }
    if let Some((name, (from, _))) = dated().filter(|(_, (from, _))| *from > today).min_by_key(|(_, (from, _))| *from) {
        return AgreementState::Begins(name.clone(), from);
    }
    dated()
        .max_by_key(|(_, (_, until))| *until)
        .map_or(AgreementState::NotDeclared, |(name, (_, until))| AgreementState::Ended(name.clone(), until))
}

/// When the last of the agreements that are in force now ends.
pub(super) fn ends(link: &BilateralLink, crossing: Option<&Crossing>, now: Timestamp) -> Option<Timestamp> {
    let AgreementState::InForce(current) = agreement_state(link, crossing, now) else { return None };
    let zone = zone_of(crossing)?;
    let agreements = link.spec.agreements.iter().filter(|agreement| current.contains(&agreement.name));
    agreements.filter_map(|agreement| ending(days(agreement)?.1, &zone)).max()
}

/// When what can be said of the agreements changes, if that is soon.
pub(super) fn turns_in(link: &BilateralLink, crossing: Option<&Crossing>, now: Timestamp) -> Option<Duration> {
    let zone = zone_of(crossing)?;
    let turns = link.spec.agreements.iter().filter_map(days);
    let turns = turns.flat_map(|(from, until)| [beginning(from, &zone), ending(until, &zone)]);
    until_next(turns.flatten(), now)
}

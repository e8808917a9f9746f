//! Which agreements of a BilateralLink are in force today, in the zone of its crossing.

use std::time::Duration;

use jiff::Timestamp;
use jiff::civil::Date;
use kalong_crds::bilateral_link::Agreement;
use kalong_crds::units::Name;
use kalong_crds::{BilateralLink, Crossing};

use crate::day::{beginning, ending, until_next, zone_of};

/// How the agreements of a link stand today.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AgreementState {
    /// The link declares no agreement at all.
    NotDeclared,
    /// At least one is in force; these.
    InForce(Vec<Name>),
    /// None is yet; the next one begins on this day.
    Begins(Name, Date),
    /// The last one ended with this day.
    Ended(Name, Date),
    /// A day of this agreement does not exist in the calendar.
    NoDay(Name),
    /// The crossing or its zone does not exist, so the day there is not known.
    NoZone,
}

fn days(agreement: &Agreement) -> Option<(Date, Date)> {
    Some((agreement.valid_from.parse().ok()?, agreement.valid_until.parse().ok()?))
}

/// How the agreements of this link stand at this moment.
pub fn agreement_state(link: &BilateralLink, crossing: Option<&Crossing>, now: Timestamp) -> AgreementState {
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

/// When the last of the agreements that are in force now ends; none while none is.
pub fn ends(link: &BilateralLink, crossing: Option<&Crossing>, now: Timestamp) -> Option<Timestamp> {
    let AgreementState::InForce(current) = agreement_state(link, crossing, now) else { return None };
    let zone = zone_of(crossing)?;
    let agreements = link.spec.agreements.iter().filter(|agreement| current.contains(&agreement.name));
    agreements.filter_map(|agreement| ending(days(agreement)?.1, &zone)).max()
}

/// How long until [`agreement_state`] changes; none if that is later than the periodic resync.
pub fn turns_in(link: &BilateralLink, crossing: Option<&Crossing>, now: Timestamp) -> Option<Duration> {
    let zone = zone_of(crossing)?;
    let turns = link.spec.agreements.iter().filter_map(days);
    let turns = turns.flat_map(|(from, until)| [beginning(from, &zone), ending(until, &zone)]);
    until_next(turns.flatten(), now)
}

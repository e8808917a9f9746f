//! How a vehicle moves and what that costs its battery: a pure machine of the yard's clock.

use std::time::Duration;

use kalong_crds::igv::ZoneSide;

use super::yard;

/// 18 km/h: vehicles cruise at 15 to 20.
pub(super) const CENTIMETRES_A_SECOND: i64 = 500;
/// Loading or unloading at either end, in milliseconds.
const HANDLING: i64 = 60_000;
/// Energy of a kilometre, in watt-hours: a full battery for 150 km.
const WATT_HOURS_A_KILOMETRE: i64 = 1_867;
/// A vehicle charges when it comes home with less, in thousandths of a percent.
const CHARGE_BELOW: i64 = 40_000;
const CHARGED: i64 = 80_000;
/// An empty battery is full after an hour and a half: thousandths of a percent in a step.
const CHARGE_A_STEP: i64 = 5;
const CENTIMETRES_A_KILOMETRE: i64 = 100_000;
/// As finely as a vehicle moves, in milliseconds: a step is a metre and a quarter.
const STEP: i64 = 250;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Doing {
    /// It stands at home and has no order.
    Parked,
    /// It is on its way.
    Driving,
    /// It is loaded or unloaded for so many milliseconds more.
    Handled(i64),
    /// Its battery is charged at home.
    Charging,
}

/// Whether the fleet has work.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum FleetWork {
    Waiting,
    None,
}

/// A vehicle on its loop.
#[derive(Clone, Debug)]
pub(super) struct Drive {
    /// How far along the loop, in centimetres from home.
    along: i64,
    pub doing: Doing,
    battery_watt_hours: i64,
    /// In thousandths of a percent.
    charge: i64,
    /// What was driven, for the energy.
    driven: i64,
    /// Charge when the battery was charged last, and what had been driven then.
    since: (i64, i64),
    pub orders: u64,
    /// Milliseconds that were too few for a step.
    left_over: i64,
}

impl Drive {
    pub fn parked(charge: i64, battery_watt_hours: i64) -> Self {
        let (doing, since) = (Doing::Parked, (charge, 0));
        Self { along: 0, doing, battery_watt_hours, charge, driven: 0, since, orders: 0, left_over: 0 }
    }

    /// Goes on by so much of the yard's clock.
    pub fn advance(&mut self, by: Duration, work: FleetWork) {
        let mut millis = self.left_over + i64::try_from(by.as_millis()).unwrap_or_default();
        while millis >= STEP {
            millis -= STEP;
            self.step(work);
        }
        self.left_over = millis;
    }

    fn step(&mut self, work: FleetWork) {
        match self.doing {
            Doing::Parked if work == FleetWork::Waiting => {
                self.orders += 1;
                self.doing = Doing::Handled(HANDLING);
            }
            Doing::Parked => {}
            Doing::Handled(millis) if millis > STEP => self.doing = Doing::Handled(millis - STEP),
            Doing::Handled(_) => self.doing = Doing::Driving,
            Doing::Driving => self.roll(work),
            Doing::Charging => {
                self.charge += CHARGE_A_STEP;
                self.since = (self.charge, self.driven);
                if self.charge >= CHARGED {
                    self.doing = Doing::Parked;
                }
            }
        }
    }

    fn roll(&mut self, work: FleetWork) {
        let far_before = self.along < yard::LEG;
        let step = CENTIMETRES_A_SECOND * STEP / 1000;
        self.along += step;
        self.driven += step;
        let (charge, driven) = self.since;
        let used = watt_hours(self.driven - driven);
        self.charge = (charge - used * 100_000 / self.battery_watt_hours.max(1)).max(0);
        if far_before && self.along >= yard::LEG {
            self.along = yard::LEG;
            self.doing = Doing::Handled(HANDLING);
        } else if self.along >= 2 * yard::LEG {
            self.along = 0;
            self.doing = match work {
                _ if self.charge < CHARGE_BELOW => Doing::Charging,
                FleetWork::Waiting => {
                    self.orders += 1;
                    Doing::Handled(HANDLING)
                }
                FleetWork::None => Doing::Parked,
            };
        }
    }

    /// Where it is, in centimetres of the map.
    pub fn place(&self) -> (i64, i64) {
        if self.is_outbound() {
            (yard::HOME + self.along, -yard::LANE_OFFSET)
        } else {
            (yard::HOME + 2 * yard::LEG - self.along, yard::LANE_OFFSET)
        }
    }

    /// Whether it is on its way out, loaded; it comes back empty.
    pub fn is_outbound(&self) -> bool {
        self.along < yard::LEG
    }

    pub fn side(&self) -> ZoneSide {
        yard::side(self.place().0)
    }

    pub fn charge_millis(&self) -> i64 {
        self.charge
    }

    pub fn used_watt_hours(&self) -> i64 {
        watt_hours(self.driven)
    }
}

fn watt_hours(centimetres: i64) -> i64 {
    centimetres * WATT_HOURS_A_KILOMETRE / CENTIMETRES_A_KILOMETRE
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const BATTERY: i64 = 280_000;

    #[test]
    fn vehicle_crosses_the_line_and_comes_back_with_less_charge() {
        let mut drive = Drive::parked(90_000, BATTERY);
        let mut sides = vec![drive.side()];
        while drive.orders < 2 {
            drive.advance(SECOND, FleetWork::Waiting);
            if sides.last() != Some(&drive.side()) {
                sides.push(drive.side());
            }
        }
        use ZoneSide::{Domestic, Foreign, OnLine};
        assert_eq!(sides, [Domestic, OnLine, Foreign, OnLine, Domestic]);
        assert_eq!(drive.used_watt_hours(), watt_hours(2 * yard::LEG));
        let lost = 90_000 - drive.charge_millis();
        assert!((1_800..1_950).contains(&lost), "5.2 of 280 kWh: {lost}");
    }

    #[test]
    fn vehicle_without_work_parks_at_home_and_uses_nothing() {
        let mut drive = Drive::parked(90_000, BATTERY);
        drive.advance(SECOND * 200, FleetWork::Waiting);
        assert_ne!(drive.doing, Doing::Parked);
        drive.advance(SECOND * 3600, FleetWork::None);
        let parked = (drive.doing, drive.place(), drive.charge_millis());
        assert_eq!((parked.0, parked.1), (Doing::Parked, (yard::HOME, -yard::LANE_OFFSET)));
        drive.advance(SECOND * 3600, FleetWork::None);
        assert_eq!((drive.doing, drive.place(), drive.charge_millis()), parked);
    }

    #[test]
    fn low_battery_is_charged_at_home_and_energy_never_falls() {
        let mut drive = Drive::parked(41_000, BATTERY);
        let (mut charged, mut before) = (false, 0);
        for _ in 0..3 * 3600 {
            drive.advance(SECOND, FleetWork::Waiting);
            charged |= drive.doing == Doing::Charging && drive.side() == ZoneSide::Domestic;
            assert!(drive.used_watt_hours() >= before && drive.charge_millis() > 30_000);
            before = drive.used_watt_hours();
        }
        assert!(charged);
    }

    #[test]
    fn how_often_it_moves_does_not_matter() {
        let (mut often, mut seldom) = (Drive::parked(80_000, BATTERY), Drive::parked(80_000, BATTERY));
        seldom.advance(SECOND * 700, FleetWork::Waiting);
        (0..7000).for_each(|_| often.advance(Duration::from_millis(100), FleetWork::Waiting));
        assert_eq!((often.place(), often.charge_millis()), (seldom.place(), seldom.charge_millis()));
    }
}

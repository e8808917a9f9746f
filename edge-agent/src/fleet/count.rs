//! What is counted of a vehicle: messages that it numbered and that never came, and the energy that it took from its battery.

/// Gaps wider than this are no losses: the vehicle restarted its count, or another vehicle took its place.
const WIDEST_GAP: u32 = 100_000;
/// A rise of the charge that no driving downhill explains, in thousandths of a percent: it was charged, or its battery was changed, unseen.
const CHARGED_UNSEEN: i64 = 3_000;

/// The numbers of one topic, which run on by one and wrap at 32 bits.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct HeaderSequence {
    last: Option<u32>,
}

impl HeaderSequence {
    /// Takes in the next number; returns how many are missing before it.
    pub(super) fn next(&mut self, number: u32) -> u64 {
        let Some(last) = self.last.replace(number) else { return 0 };
        // Zero is one that came twice; what went backwards is far away once it has wrapped.
        match number.wrapping_sub(last) {
            0 => 0,
            step if step <= WIDEST_GAP => u64::from(step - 1),
            _ => 0,
        }
    }

    /// Starts over: the agent did not listen meanwhile, so nothing was lost.
    pub(super) fn begin(&mut self) {
        self.last = None;
    }
}

/// Energy taken from a battery, from its falling charge.
///
/// Measured from the lowest charge since the last charging, so that a charge that trembles by a tenth of a percent adds up to nothing.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Energy {
    lowest: Option<i64>,
    /// Thousandths of a percent that were used, times watt-hours of the full battery.
    used: u128,
}

impl Energy {
    /// Takes in a charge in thousandths of a percent.
    pub(super) fn charge(&mut self, charge: i64, is_charging: Charging, battery_watt_hours: Option<i64>) {
        let lowest = self.lowest.unwrap_or(charge);
        if is_charging == Charging::Yes || charge > lowest.saturating_add(CHARGED_UNSEEN) {
            self.lowest = Some(charge);
            return;
        }
        self.lowest = Some(lowest.min(charge));
        let fallen = u128::try_from(lowest.saturating_sub(charge)).unwrap_or(0);
        let full = battery_watt_hours.and_then(|wh| u128::try_from(wh).ok()).unwrap_or(0);
        self.used = self.used.saturating_add(fallen.saturating_mul(full));
    }

    /// Whole watt-hours since the first charge that was received.
    pub(super) fn watt_hours(&self) -> u64 {
        u64::try_from(self.used / 100_000).unwrap_or(u64::MAX)
    }
}

/// Whether a battery is being charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Charging {
    /// The battery is being charged.
    Yes,
    /// The battery is not being charged.
    No,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(numbers: &[u32]) -> u64 {
        let mut sequence = HeaderSequence::default();
        numbers.iter().map(|n| sequence.next(*n)).sum()
    }

    #[test]
    fn gaps_are_counted_and_what_comes_twice_or_anew_is_not() {
        assert_eq!(lost(&[7, 8, 9]), 0);
        assert_eq!(lost(&[7, 9, 13]), 4);
        assert_eq!(lost(&[7, 7, 8]), 0);
        assert_eq!(lost(&[90_000, 0, 1, 2]), 0, "the vehicle was started again");
        assert_eq!(lost(&[1, 2_000_000, 2_000_001]), 0, "another vehicle in its place");
    }

    #[test]
    fn numbers_wrap_at_thirty_two_bits() {
        assert_eq!(lost(&[u32::MAX - 1, u32::MAX, 0, 1]), 0);
        assert_eq!(lost(&[u32::MAX - 1, 1]), 2);
    }

    #[test]
    fn what_was_sent_while_nobody_listened_is_not_lost() {
        let mut sequence = HeaderSequence::default();
        sequence.next(5);
        sequence.begin();
        assert_eq!(sequence.next(50), 0);
        assert_eq!(sequence.next(52), 1);
    }

    fn used(full: i64, charges: &[(i64, Charging)]) -> u64 {
        let mut energy = Energy::default();
        for (charge, charging) in charges {
            energy.charge(*charge, *charging, Some(full));
        }
        energy.watt_hours()
    }

    #[test]
    fn energy_is_what_the_charge_falls_while_not_charging() {
        use Charging::{No, Yes};
        assert_eq!(used(200_000, &[(80_000, No), (79_500, No), (79_000, No)]), 2_000);
        assert_eq!(used(200_000, &[(80_000, No), (79_000, No), (79_500, Yes), (90_000, Yes), (89_000, No)]), 4_000);
        assert_eq!(used(200_000, &[(20_000, No), (95_000, No), (94_000, No)]), 2_000, "charged while nobody listened");
    }

    #[test]
    fn trembling_charge_uses_nothing() {
        let trembling: Vec<_> = (0..1000).map(|n| (50_000 + (n % 2) * 100, Charging::No)).collect();
        assert_eq!(used(200_000, &trembling), 0);
    }

    #[test]
    fn small_steps_add_up_without_rounding() {
        let falling: Vec<_> = (0..=1000).map(|n| (50_000 - n, Charging::No)).collect();
        assert_eq!(used(10_000, &falling), 100);
    }
}

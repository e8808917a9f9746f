//! When the weight of a vehicle may be believed.
//!
//! The rule of the weighbridge: ten consecutive frames without motion and in range, after an empty plate was seen since the vehicle before.
//! Whether the vehicle stands wholly on the plate is for the axle loops, which are another device.

use super::frame::{Frame, Mass, Mode};

/// Consecutive steady frames that make a weight valid.
const STEADY_FRAMES: u8 = 10;

/// What the plate is doing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum PlateState {
    /// The weight is within the band around zero.
    Empty,
    /// A load is on it and the ten frames are not complete.
    Settling,
    /// The vehicle on it has a valid weight.
    Valid,
    /// A load is on it, but no empty plate was seen since the vehicle before.
    AwaitingZero,
}

impl PlateState {
    /// The word in the property `weightState`.
    pub(super) fn word(self) -> &'static str {
        match self {
            Self::Empty => "Empty",
            Self::Settling => "Settling",
            Self::Valid => "Valid",
            Self::AwaitingZero => "AwaitingZero",
        }
    }
}

/// Follows the plate frame by frame.
#[derive(Debug)]
pub(super) struct Plate {
    zero_band: Mass,
    state: PlateState,
    steady: u8,
    zero_seen: bool,
    valid: Option<Mass>,
}

impl Plate {
    pub(super) fn new(zero_band: Mass) -> Self {
        // What stands on the plate when the agent starts is unknown.
        Self { zero_band, state: PlateState::AwaitingZero, steady: 0, zero_seen: false, valid: None }
    }

    pub(super) fn state(&self) -> PlateState {
        self.state
    }

    /// Gross weight of the last vehicle that kept the rule.
    pub(super) fn valid_weight(&self) -> Option<Mass> {
        self.valid
    }

    /// The stream broke: what happened meanwhile is not known.
    pub(super) fn interrupted(&mut self) {
        self.steady = 0;
        self.zero_seen = false;
        self.state = PlateState::AwaitingZero;
    }

    /// Takes the next good frame.
    pub(super) fn take(&mut self, frame: &Frame) {
        let Some(gross) = gross(frame).filter(|_| !frame.out_of_range && frame.zero_captured) else {
            return self.unsteady();
        };
        if frame.motion {
            return self.unsteady();
        }
        if gross.is_within(self.zero_band) {
            self.zero_seen = true;
            self.steady = 0;
            self.state = PlateState::Empty;
        } else if gross.is_negative() {
            self.unsteady();
        } else if self.state != PlateState::Valid {
            self.steady = if frame.follows { self.steady.saturating_add(1) } else { 1 };
            self.state = match (self.zero_seen, self.steady >= STEADY_FRAMES) {
                (false, _) => PlateState::AwaitingZero,
                (true, false) => PlateState::Settling,
                (true, true) => {
                    self.valid = Some(gross);
                    PlateState::Valid
                }
            };
        }
    }

    fn unsteady(&mut self) {
        self.steady = 0;
        // The vehicle that was weighed leaves: the next one needs an empty plate before it.
        if self.state == PlateState::Valid {
            self.zero_seen = false;
        }
        self.state = if self.zero_seen { PlateState::Settling } else { PlateState::AwaitingZero };
    }
}

/// Gross weight on the plate; `None` where the frame does not carry it.
fn gross(frame: &Frame) -> Option<Mass> {
    match frame.mode {
        Mode::Gross => frame.weight,
        Mode::Net => Some(frame.weight?.plus(frame.tare?)),
    }
}

#[cfg(test)]
mod tests {
    use super::super::frame::tests::{KG, wire};
    use super::super::frame::{Checksum, Frames, MassUnit};
    use super::*;

    const MOTION: u8 = 0b1000;
    const OUT_OF_RANGE: u8 = 0b100;
    const NET: u8 = 1;

    struct Bridge {
        frames: Frames,
        plate: Plate,
    }

    impl Bridge {
        fn new() -> Self {
            let mut bridge = Self { frames: Frames::new(Checksum::On), plate: Plate::new(Mass::kilograms(20)) };
            bridge.sends(0, KG, 2);
            bridge
        }

        fn sends(&mut self, kilograms: u32, flags: u8, times: usize) -> &mut Self {
            self.bytes(&wire(0b10_0010, KG | flags, &format!("{kilograms:06}"), "000000").repeat(times))
        }

        fn bytes(&mut self, bytes: &[u8]) -> &mut Self {
            for byte in bytes {
                if let Some(frame) = self.frames.take(*byte).frame {
                    self.plate.take(&frame);
                }
            }
            self
        }

        fn valid(&self) -> Option<i64> {
            self.plate.valid_weight().map(|mass| mass.rounded(MassUnit::Kilogram))
        }
    }

    #[test]
    fn nine_steady_frames_are_not_enough_and_ten_are() {
        let mut bridge = Bridge::new();
        bridge.sends(30_000, MOTION, 5).sends(32_480, 0, 9);
        assert_eq!((bridge.valid(), bridge.plate.state()), (None, PlateState::Settling));
        bridge.sends(32_480, 0, 1);
        assert_eq!((bridge.valid(), bridge.plate.state()), (Some(32_480), PlateState::Valid));
    }

    #[test]
    fn motion_overload_or_a_lost_frame_start_the_count_again() {
        let mut broken = wire(0b10_0010, KG, "032480", "000000");
        broken[6] ^= 1;
        for disturbance in [
            wire(0b10_0010, KG | MOTION, "032480", "000000"),
            wire(0b10_0010, KG | OUT_OF_RANGE, "      ", "000000"),
            broken,
            b"noise".to_vec(),
        ] {
            let mut bridge = Bridge::new();
            bridge.sends(32_480, 0, 9).bytes(&disturbance).sends(32_480, 0, 9);
            assert_eq!(bridge.valid(), None);
            bridge.sends(32_480, 0, 1);
            assert_eq!(bridge.valid(), Some(32_480));
        }
    }

    #[test]
    fn the_next_vehicle_needs_an_empty_plate_before_it() {
        let mut bridge = Bridge::new();
        bridge.sends(32_480, 0, 12).sends(20_000, MOTION, 3).sends(18_000, 0, 20);
        assert_eq!((bridge.valid(), bridge.plate.state()), (Some(32_480), PlateState::AwaitingZero));
        bridge.sends(0, 0, 1).sends(9_000, MOTION, 3).sends(18_000, 0, 10);
        assert_eq!((bridge.valid(), bridge.plate.state()), (Some(18_000), PlateState::Valid));
    }

    #[test]
    fn a_net_display_is_weighed_gross() {
        let mut bridge = Bridge::new();
        bridge.bytes(&wire(0b10_0010, KG | NET, "020000", "012000").repeat(10));
        assert_eq!(bridge.valid(), Some(32_000));
        let mut unknown = Bridge::new();
        unknown.bytes(&wire(0b10_0010, KG | NET, "020000", "      ").repeat(20));
        assert_eq!(unknown.valid(), None);
    }

    #[test]
    fn nothing_is_valid_before_the_first_zero_or_after_an_interruption() {
        let mut bridge = Bridge::new();
        bridge.plate.interrupted();
        bridge.sends(32_480, 0, 30);
        assert_eq!((bridge.valid(), bridge.plate.state()), (None, PlateState::AwaitingZero));
    }
}

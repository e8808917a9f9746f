//! Frames of Toledo continuous output, out of bytes that may be anything.
//!
//! Layout in `docs/device-contract/wire-conventions.md`. The buffer is one frame long and never grows, whatever arrives.

/// STX, the first byte of a frame.
const STX: u8 = 0x02;
/// CR, which ends the digits; without checksum it ends the frame.
const CR: u8 = 0x0D;
/// Bit that is set in all three status bytes, so that they are never taken for control characters.
const ALWAYS: u8 = 0b10_0000;
/// Bytes of the longest frame: start, status, weight, tare, end, checksum.
const LONGEST: usize = 18;
/// Digits of the weight, and of the tare.
const DIGITS: usize = 6;

/// Whether frames end with a checksum.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Checksum {
    /// Frames end with a checksum.
    On,
    /// Frames end with CR, without a checksum.
    Off,
}

/// Tenths of a nanogram: fine enough that every unit and decimal of the protocol is a whole number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mass(i128);

/// Units in which a weight is shown or declared.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MassUnit {
    Gram,
    Kilogram,
    Tonne,
    Pound,
}

impl MassUnit {
    /// One hundred-thousandth of the unit, in tenths of a nanogram. A pound is 0.45359237 kg exactly.
    fn hundred_thousandth(self) -> i128 {
        match self {
            Self::Gram => 100_000,
            Self::Kilogram => 100_000_000,
            Self::Tonne => 100_000_000_000,
            Self::Pound => 45_359_237,
        }
    }
}

impl Mass {
    pub(super) fn kilograms(kilograms: i64) -> Self {
        Self(i128::from(kilograms) * MassUnit::Kilogram.hundred_thousandth() * 100_000)
    }

    /// The whole number in this unit, half away from zero.
    pub(super) fn rounded(self, unit: MassUnit) -> i64 {
        let one = unit.hundred_thousandth() * 100_000;
        let whole = (self.0.abs() + one / 2) / one * self.0.signum();
        i64::try_from(whole).unwrap_or(i64::MAX)
    }

    pub(super) fn plus(self, other: Self) -> Self {
        Self(self.0 + other.0)
    }

    /// Whether this is no further from zero than that.
    pub(super) fn is_within(self, band: Self) -> bool {
        self.0.abs() <= band.0
    }

    /// Whether this is below zero.
    pub(super) fn is_negative(self) -> bool {
        self.0 < 0
    }
}

/// Whether the weight shown has the tare taken off.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Gross,
    Net,
}

/// A frame that is complete and whose checksum fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Frame {
    /// As displayed; none where the display is blank.
    pub(super) weight: Option<Mass>,
    pub(super) tare: Option<Mass>,
    pub(super) mode: Mode,
    pub(super) negative: bool,
    pub(super) out_of_range: bool,
    pub(super) motion: bool,
    pub(super) zero_captured: bool,
    /// Whether it followed the frame before without a byte between.
    pub(super) follows: bool,
}

/// What changed with a byte.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct FrameStep {
    /// A good frame that is complete now.
    pub(super) frame: Option<Frame>,
    /// Frames that were begun and thrown away.
    pub(super) dropped: u32,
}

/// What the bytes so far are.
enum FrameVerdict {
    Incomplete,
    Bad,
    Good(Frame, usize),
}

/// Finds frames in a stream of bytes.
#[derive(Debug)]
pub(super) struct Frames {
    checksum: Checksum,
    buffer: [u8; LONGEST],
    length: usize,
    follows: bool,
}

impl Frames {
    pub(super) fn new(checksum: Checksum) -> Self {
        Self { checksum, buffer: [0; LONGEST], length: 0, follows: false }
    }

    /// Takes one byte. The high bit is a parity bit and means nothing.
    pub(super) fn take(&mut self, byte: u8) -> FrameStep {
        let mut step = FrameStep::default();
        let Some(free) = self.buffer.get_mut(self.length) else {
            // Cannot be: a full buffer has a verdict. Start over rather than trust it.
            self.length = 0;
            return step;
        };
        *free = byte & 0x7F;
        self.length += 1;
        loop {
            let held = self.buffer.get(..self.length).unwrap_or_default();
            match held.first() {
                None => return step,
                Some(&STX) => {}
                Some(_) => {
                    self.follows = false;
                    self.skip(1);
                    continue;
                }
            }
            match judge(held, self.checksum) {
                FrameVerdict::Incomplete => return step,
                FrameVerdict::Bad => {
                    step.dropped += 1;
                    self.follows = false;
                    self.skip(1);
                }
                FrameVerdict::Good(frame, used) => {
                    step.frame = Some(Frame { follows: self.follows, ..frame });
                    self.follows = true;
                    self.skip(used);
                }
            }
        }
    }

    /// Removes the first `count` bytes from the buffer.
    fn skip(&mut self, count: usize) {
        let count = count.min(self.length);
        self.buffer.copy_within(count.., 0);
        self.length -= count;
    }
}

fn judge(held: &[u8], checksum: Checksum) -> FrameVerdict {
    let [_, status @ ..] = held else { return FrameVerdict::Incomplete };
    if status.iter().take(3).any(|byte| byte & ALWAYS == 0) {
        return FrameVerdict::Bad;
    }
    let [swa, swb, swc, digits @ ..] = status else { return FrameVerdict::Incomplete };
    let Some(end) = digits.iter().position(|byte| *byte == CR) else {
        let good = digits.len() <= 2 * DIGITS && digits.iter().all(|byte| is_digit(*byte));
        return if good { FrameVerdict::Incomplete } else { FrameVerdict::Bad };
    };
    let (Some(digits), Some(rest)) = (digits.get(..end), digits.get(end + 1..)) else { return FrameVerdict::Bad };
    let (weight, tare) = match digits.split_at_checked(DIGITS) {
        Some((weight, [])) => (weight, None),
        Some((weight, tare)) if tare.len() == DIGITS => (weight, Some(tare)),
        _ => return FrameVerdict::Bad,
    };
    let used = 1 + 3 + end + 1;
    let used = match (checksum, rest) {
        (Checksum::Off, _) => used,
        (Checksum::On, []) => return FrameVerdict::Incomplete,
        (Checksum::On, [told, ..]) if held.get(..used).is_some_and(|bytes| checksum_of(bytes) == *told) => used + 1,
        (Checksum::On, _) => return FrameVerdict::Bad,
    };
    read(*swa, *swb, *swc, weight, tare).map_or(FrameVerdict::Bad, |frame| FrameVerdict::Good(frame, used))
}

/// Two's complement of the low seven bits of the sum.
fn checksum_of(bytes: &[u8]) -> u8 {
    bytes.iter().fold(0_u8, |sum, byte| sum.wrapping_add(*byte)).wrapping_neg() & 0x7F
}

fn is_digit(byte: u8) -> bool {
    byte == b' ' || byte.is_ascii_digit()
}

fn read(swa: u8, swb: u8, swc: u8, weight: &[u8], tare: Option<&[u8]>) -> Option<Frame> {
    let unit = match (swc & 0b111, swb & 0b1_0000) {
        (0, 0) => MassUnit::Pound,
        (0, _) => MassUnit::Kilogram,
        (1, _) => MassUnit::Gram,
        (2, _) => MassUnit::Tonne,
        _ => return None,
    };
    let negative = swb & 0b10 != 0;
    let out_of_range = swb & 0b100 != 0;
    // Decimal position 2 is a whole number; 7 is five decimals, so one in the last digit is a hundred-thousandth.
    let scale = i128::from(10_u32).pow(u32::from(7 - (swa & 0b111)));
    let mass = |number: i128| Mass(number * scale * unit.hundred_thousandth());
    let weight = match number(weight)? {
        Some(number) => Some(mass(if negative { -number } else { number })),
        None if out_of_range => None,
        None => return None,
    };
    let tare = match tare {
        Some(digits) => number(digits)?.map(mass),
        None => None,
    };
    let mode = if swb & 1 == 0 { Mode::Gross } else { Mode::Net };
    Some(Frame {
        weight,
        tare,
        mode,
        negative,
        out_of_range,
        motion: swb & 0b1000 != 0,
        zero_captured: swb & 0b100_0000 == 0,
        follows: false,
    })
}

/// The number in these digits, `Some(None)` where all are blank, none where a blank stands among digits.
#[allow(clippy::option_option, reason = "three answers: not a number, blank, a number")]
fn number(digits: &[u8]) -> Option<Option<i128>> {
    let text = std::str::from_utf8(digits).ok()?.trim_start_matches(' ');
    if text.is_empty() { Some(None) } else { text.parse().ok().map(Some) }
}

#[cfg(test)]
pub(super) mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(in crate::driver::weighing) const KG: u8 = 0b11_0000;
    pub(in crate::driver::weighing) const LB: u8 = 0b10_0000;
    const WHOLE: u8 = 0b10_0010;

    /// A frame as an indicator sends it; written without the parser's own functions.
    pub(in crate::driver::weighing) fn wire(swa: u8, swb: u8, weight: &str, tare: &str) -> Vec<u8> {
        let mut bytes = vec![2, swa, swb, 0b10_0000];
        bytes.extend(weight.bytes().chain(tare.bytes()));
        bytes.push(13);
        let sum: u32 = bytes.iter().map(|b| u32::from(*b)).sum();
        bytes.push(u8::try_from((128 - sum % 128) % 128).unwrap());
        bytes
    }

    fn all(frames: &mut Frames, bytes: &[u8]) -> (Vec<Frame>, u32) {
        let steps: Vec<FrameStep> = bytes.iter().map(|byte| frames.take(*byte)).collect();
        (steps.iter().filter_map(|s| s.frame).collect(), steps.iter().map(|s| s.dropped).sum())
    }

    fn one(bytes: &[u8]) -> Option<Frame> {
        all(&mut Frames::new(Checksum::On), bytes).0.pop()
    }

    #[test]
    fn a_frame_tells_weight_tare_and_state() {
        let frame = one(&wire(WHOLE, KG | 0b1001, " 12340", "   120")).unwrap();
        assert_eq!(frame.weight.unwrap().rounded(MassUnit::Kilogram), 12_340);
        assert_eq!(frame.tare.unwrap().rounded(MassUnit::Kilogram), 120);
        assert_eq!((frame.mode, frame.motion, frame.out_of_range, frame.zero_captured), (Mode::Net, true, false, true));
    }

    #[test]
    fn decimals_come_from_the_status_byte() {
        for (position, kilograms) in [(0, 12_345_600), (1, 1_234_560), (2, 123_456), (3, 12_346), (5, 123), (7, 1)] {
            let frame = one(&wire(ALWAYS | position, KG, "123456", "000000")).unwrap();
            assert_eq!(frame.weight.unwrap().rounded(MassUnit::Kilogram), kilograms, "position {position}");
        }
    }

    #[test]
    fn pounds_become_kilograms() {
        let frame = one(&wire(WHOLE, LB, "080000", "000000")).unwrap();
        assert_eq!(frame.weight.unwrap().rounded(MassUnit::Kilogram), 36_287);
        assert_eq!(frame.weight.unwrap().rounded(MassUnit::Pound), 80_000);
    }

    #[test]
    fn negative_weight_has_its_sign() {
        let frame = one(&wire(WHOLE, KG | 0b10, "000060", "000000")).unwrap();
        assert_eq!(frame.weight.unwrap().rounded(MassUnit::Kilogram), -60);
    }

    #[test]
    fn blank_display_is_believed_only_in_overload() {
        let overload = one(&wire(WHOLE, KG | 0b100, "      ", "000000")).unwrap();
        assert_eq!((overload.weight, overload.out_of_range), (None, true));
        assert_eq!(one(&wire(WHOLE, KG, "      ", "000000")), None);
    }

    #[test]
    fn missing_tare_is_no_tare() {
        for frame in [wire(WHOLE, KG, "012340", "      "), wire(WHOLE, KG, "012340", "")] {
            let frame = one(&frame).unwrap();
            assert_eq!(frame.weight.unwrap().rounded(MassUnit::Kilogram), 12_340);
            assert_eq!(frame.tare, None);
        }
    }

    #[test]
    fn bad_checksum_drops_the_frame() {
        let mut bytes = wire(WHOLE, KG, "012340", "000000");
        let last = bytes.last_mut().unwrap();
        *last = (*last + 1) % 128;
        assert_eq!(all(&mut Frames::new(Checksum::On), &bytes), (vec![], 1));
    }

    #[test]
    fn parity_bit_means_nothing() {
        let bytes = wire(WHOLE, KG, "012340", "000000");
        let parity: Vec<u8> = bytes.iter().map(|b| if b.count_ones() % 2 == 1 { b | 0x80 } else { *b }).collect();
        assert_eq!(one(&parity), one(&bytes));
        assert!(one(&bytes).is_some());
    }

    #[test]
    fn without_checksum_frames_end_at_cr() {
        let mut stream = Vec::new();
        for _ in 0..3 {
            let frame = wire(WHOLE, KG, "012340", "000000");
            stream.extend_from_slice(&frame[..17]);
        }
        let (frames, dropped) = all(&mut Frames::new(Checksum::Off), &stream);
        assert_eq!((frames.len(), dropped), (3, 0));
        assert!(!frames[0].follows && frames[1].follows && frames[2].follows);
    }

    #[test]
    fn a_frame_cut_short_costs_only_itself() {
        let whole = wire(WHOLE, KG, "012340", "000000");
        for cut in 1..whole.len() {
            let stream = [&whole[..cut], &whole[..], &whole[..]].concat();
            let (frames, _) = all(&mut Frames::new(Checksum::On), &stream);
            assert!(!frames.is_empty() && frames.len() <= 2, "cut at {cut}: {}", frames.len());
            assert!(!frames[0].follows);
            assert_eq!(frames.len(), 2, "cut at {cut}");
        }
    }

    #[test]
    fn endless_garbage_needs_no_more_memory_than_one_frame() {
        let mut frames = Frames::new(Checksum::On);
        let mut state = 0x2545_F491_u32;
        for _ in 0..2_000_000 {
            state ^= state << 13;
            state ^= state >> 17;
            state ^= state << 5;
            frames.take(state.to_be_bytes()[0]);
            assert!(frames.length < LONGEST);
        }
        // No heap at all: the parser is one frame and a few words.
        assert!(size_of::<Frames>() <= 48);
        let good = wire(WHOLE, KG, "012340", "000000");
        assert!(!all(&mut frames, &[&good[..], &good[..]].concat()).0.is_empty());
    }

    proptest! {
        #[test]
        fn any_weight_is_read_wherever_the_stream_is_split(
            weight in 0_u32..1_000_000, tare in 0_u32..1_000_000, decimals in 0_u8..8, negative: bool, split in 0_usize..18,
            before in proptest::collection::vec(0_u8..128, 0..40),
        ) {
            let swb = KG | if negative { 0b10 } else { 0 };
            let bytes = wire(ALWAYS | decimals, swb, &format!("{weight:06}"), &format!("{tare:06}"));
            let mut frames = Frames::new(Checksum::On);
            // After garbage at most one frame is lost: the one that the garbage's last STX swallowed.
            let stream = [&before[..], &bytes[..], &bytes[..]].concat();
            let (first, second) = stream.split_at(split.min(stream.len()));
            let mut found = all(&mut frames, first).0;
            found.extend(all(&mut frames, second).0);
            let last = found.last().copied().expect("a frame after garbage");
            let hundred_thousandths = i128::from(weight) * 10_i128.pow(7 - u32::from(decimals));
            let sign = if negative { -1 } else { 1 };
            prop_assert_eq!(last.weight, Some(Mass(hundred_thousandths * 100_000_000 * sign)));
            prop_assert!(frames.length < LONGEST);
        }

        #[test]
        fn no_bytes_make_it_fail(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
            let mut frames = Frames::new(Checksum::On);
            for byte in bytes {
                let before = frames.length;
                frames.take(byte);
                prop_assert!(frames.length <= before + 1 && frames.length < LONGEST);
            }
        }
    }
}

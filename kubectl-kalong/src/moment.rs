//! Times as people read them: how long ago, and the moment itself in UTC.

use jiff::{SignedDuration, Timestamp};

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;

/// A length of time as kubectl prints it: `45s`, `12m`, `3h5m`, `2d4h`, `40d`.
pub(crate) fn length(time: SignedDuration) -> String {
    let seconds = time.as_secs().max(0);
    let pair = |big: i64, big_word: &str, small: i64, small_word: &str| {
        let (whole, rest) = (seconds / big, seconds % big / small);
        if rest == 0 { format!("{whole}{big_word}") } else { format!("{whole}{big_word}{rest}{small_word}") }
    };
    match seconds {
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 2 * DAY => pair(HOUR, "h", MINUTE, "m"),
        s if s < 8 * DAY => pair(DAY, "d", HOUR, "h"),
        s => format!("{}d", s / DAY),
    }
}

/// How long ago this was.
pub(crate) fn ago(since: Timestamp, now: Timestamp) -> String {
    length(now.duration_since(since))
}

/// The moment in UTC to the second, as the API writes it.
pub(crate) fn stamp(moment: Timestamp) -> String {
    Timestamp::from_second(moment.as_second()).unwrap_or(moment).to_string()
}

/// A length of time as people write it: `90s`, `10m`, `2h`, `1d`, or several parts together such as `1h30m`.
pub(crate) fn parse_length(text: &str) -> Result<SignedDuration, String> {
    let wrong = || "write a length of time such as 90s, 10m, 2h or 1h30m".to_owned();
    let mut total: i64 = 0;
    let mut digits = String::new();
    for c in text.chars() {
        if c.is_ascii_digit() {
            digits.push(c);
            continue;
        }
        let unit = match c {
            's' => 1,
            'm' => MINUTE,
            'h' => HOUR,
            'd' => DAY,
            _ => return Err(wrong()),
        };
        let count: i64 = std::mem::take(&mut digits).parse().map_err(|_| wrong())?;
        total = count.checked_mul(unit).and_then(|part| total.checked_add(part)).ok_or_else(wrong)?;
    }
    if total == 0 || !digits.is_empty() { Err(wrong()) } else { Ok(SignedDuration::from_secs(total)) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_read_as_kubectl_prints_them() {
        let of = |seconds| length(SignedDuration::from_secs(seconds));
        assert_eq!(of(-5), "0s");
        assert_eq!(of(119), "119s");
        assert_eq!(of(2 * MINUTE + 59), "2m");
        assert_eq!(of(3 * HOUR + 5 * MINUTE), "3h5m");
        assert_eq!(of(2 * DAY), "2d");
        assert_eq!(of(9 * DAY + 1), "9d");
    }

    #[test]
    fn lengths_are_read_as_people_write_them() {
        assert_eq!(parse_length("90s").unwrap(), SignedDuration::from_secs(90));
        assert_eq!(parse_length("1h30m").unwrap(), SignedDuration::from_mins(90));
        for bad in ["", "5", "h", "2x", "-2h", "0s", "99999999999999999999h"] {
            assert!(parse_length(bad).is_err(), "{bad}");
        }
    }
}

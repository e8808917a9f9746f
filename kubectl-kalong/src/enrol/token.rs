//! The single-use token: 32 random bytes that only the installer sees; the cluster keeps their hash.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use jiff::{SignedDuration, Timestamp};
use kalong_crds::units::Digest;
use kalong_crds::wire::enrol::MAX_TOKEN_LIFE_SECONDS;
use ring::rand::{SecureRandom, SystemRandom};

const TOKEN_BYTES: usize = 32;
/// A token that ends before a person can carry it to the box is a mistake.
const MIN_TOKEN_LIFE_SECONDS: i64 = 60;

/// How long a token lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Life(SignedDuration);

impl Life {
    /// Reads `1h`, `90m`, `1h30m`: at least a minute, at most 24 hours.
    pub(crate) fn parse(text: &str) -> Result<Self, String> {
        let bounds = format!(
            "write a time from {MIN_TOKEN_LIFE_SECONDS}s to {}h, for example 1h or 90m",
            MAX_TOKEN_LIFE_SECONDS / 3600
        );
        let life: SignedDuration = text.parse().map_err(|_| bounds.clone())?;
        if (MIN_TOKEN_LIFE_SECONDS..=MAX_TOKEN_LIFE_SECONDS).contains(&life.as_secs()) {
            Ok(Self(life))
        } else {
            Err(bounds)
        }
    }

    /// The end of a life that begins now, in whole seconds.
    pub(crate) fn end(self, now: Timestamp) -> Timestamp {
        let end = now.saturating_add(self.0).unwrap_or(now);
        Timestamp::from_second(end.as_second()).unwrap_or(end)
    }
}

/// A token. Never logged; shown once.
pub(crate) struct Token(String);

impl Token {
    /// A new token, or nothing where the machine has no randomness.
    pub(crate) fn generate() -> Option<Self> {
        let mut bytes = [0_u8; TOKEN_BYTES];
        SystemRandom::new().fill(&mut bytes).ok()?;
        Some(Self(URL_SAFE_NO_PAD.encode(bytes)))
    }

    /// What the installer is given.
    pub(crate) fn reveal(&self) -> &str {
        &self.0
    }

    pub(crate) fn hash(&self) -> Digest {
        Digest::of(self.0.as_bytes())
    }

    #[cfg(test)]
    pub(super) fn fixed(text: &str) -> Self {
        Self(text.to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn life_is_between_a_minute_and_a_day() {
        for good in ["1m", "1h", "90m", "1h30m", "24h", "3600s"] {
            assert!(Life::parse(good).is_ok(), "{good}");
        }
        for bad in ["", "1", "59s", "24h1s", "-1h", "2d", "soon"] {
            assert!(Life::parse(bad).is_err(), "{bad}");
        }
        let now: Timestamp = "2026-11-22T07:00:00.9Z".parse().unwrap();
        assert_eq!(Life::parse("1h").unwrap().end(now).to_string(), "2026-11-22T08:00:00Z");
    }

    #[test]
    fn tokens_have_43_characters_and_differ() {
        let (a, b) = (Token::generate().unwrap(), Token::generate().unwrap());
        assert_eq!(a.reveal().len(), 43);
        assert_ne!(a.reveal(), b.reveal());
        assert!(!a.hash().as_str().contains(a.reveal()));
    }
}

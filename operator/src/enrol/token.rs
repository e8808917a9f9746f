//! The single-use token: its stored form, and the check of a presented one. Pure.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use k8s_openapi::ByteString;
use kalong_crds::units::Digest;
use kalong_crds::wire::enrol::{MAX_TOKEN_LIFE_SECONDS, TOKEN_EXPIRES_KEY, TOKEN_HASH_KEY};
use ring::hmac;
use ring::rand::SystemRandom;

/// 32 random bytes in unpadded base64url.
const TOKEN_LENGTH: usize = 43;
/// The clock of the machine that made the token may be ahead.
const CLOCK_SLACK: SignedDuration = SignedDuration::from_secs(60);

/// Why a token is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error, strum::IntoStaticStr)]
#[strum(serialize_all = "kebab-case", prefix = "token-")]
pub enum TokenError {
    /// Not the form of a token.
    #[error("this is no enrolment token: copy the whole of it, 43 characters")]
    Malformed,
    /// Not the stored one, or none is stored.
    #[error(
        "the token is not valid for this agent: it was used, or is for another agent; make a new one with `kubectl kalong enrol`"
    )]
    Wrong,
    #[error("the token has expired: make a new one with `kubectl kalong enrol`")]
    Expired,
    /// It would live longer than any token may.
    #[error("the token's life is longer than 24 h: make a new one with `kubectl kalong enrol`")]
    TooLong,
    /// What is stored cannot be read.
    #[error("the stored token cannot be read: make a new one with `kubectl kalong enrol`")]
    Damaged,
}

/// What is stored of a token.
#[derive(Debug)]
pub struct StoredToken {
    hash: Digest,
    expires: Timestamp,
}

impl StoredToken {
    /// Reads what `kubectl kalong enrol` stored.
    pub fn read(data: Option<&BTreeMap<String, ByteString>>) -> Result<Self, TokenError> {
        let text = |key: &str| {
            let bytes = data.and_then(|d| d.get(key)).ok_or(TokenError::Damaged)?;
            std::str::from_utf8(&bytes.0).map(str::trim).map_err(|_| TokenError::Damaged)
        };
        Ok(Self {
            hash: text(TOKEN_HASH_KEY)?.parse().map_err(|_| TokenError::Damaged)?,
            expires: text(TOKEN_EXPIRES_KEY)?.parse().map_err(|_| TokenError::Damaged)?,
        })
    }

    /// Whether this is the token, and it is still good.
    pub fn check(&self, presented: &str, now: Timestamp) -> Result<(), TokenError> {
        check_form(presented)?;
        if !equal(self.hash.as_str(), Digest::of(presented.as_bytes()).as_str()) {
            return Err(TokenError::Wrong);
        }
        if now >= self.expires {
            return Err(TokenError::Expired);
        }
        if self.expires.duration_since(now) > SignedDuration::from_secs(MAX_TOKEN_LIFE_SECONDS) + CLOCK_SLACK {
            return Err(TokenError::TooLong);
        }
        Ok(())
    }
}

/// Whether this could be a token at all.
pub fn check_form(presented: &str) -> Result<(), TokenError> {
    let good = presented.len() == TOKEN_LENGTH
        && presented.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-' || b == b'_');
    if good { Ok(()) } else { Err(TokenError::Malformed) }
}

/// Equality in constant time, by comparing tags under a random key.
fn equal(stored: &str, presented: &str) -> bool {
    let Ok(key) = hmac::Key::generate(hmac::HMAC_SHA256, &SystemRandom::new()) else { return false };
    let tag = hmac::sign(&key, stored.as_bytes());
    hmac::verify(&key, presented.as_bytes(), tag.as_ref()).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

    fn now() -> Timestamp {
        "2026-09-01T12:00:00Z".parse().unwrap()
    }

    fn stored(hash: &str, expires: &str) -> Result<StoredToken, TokenError> {
        let data = [(TOKEN_HASH_KEY, hash), (TOKEN_EXPIRES_KEY, expires)];
        StoredToken::read(Some(
            &data.into_iter().map(|(k, v)| (k.to_owned(), ByteString(v.as_bytes().to_vec()))).collect(),
        ))
    }

    #[test]
    fn only_the_stored_token_within_its_life_is_good() {
        let hash = Digest::of(TOKEN.as_bytes());
        let other = Digest::of(b"another");
        for (hash, expires, presented, expected) in [
            (&hash, "2026-09-01T13:00:00Z", TOKEN, Ok(())),
            (&hash, "2026-09-02T12:00:30Z", TOKEN, Ok(())),
            (&hash, "2026-09-01T12:00:00Z", TOKEN, Err(TokenError::Expired)),
            (&hash, "2026-09-01T11:59:59Z", TOKEN, Err(TokenError::Expired)),
            (&hash, "2026-09-02T12:01:01Z", TOKEN, Err(TokenError::TooLong)),
            (&hash, "9999-01-01T00:00:00Z", TOKEN, Err(TokenError::TooLong)),
            (&other, "2026-09-01T13:00:00Z", TOKEN, Err(TokenError::Wrong)),
            // A wrong token learns nothing of the stored one's life.
            (&other, "2026-09-01T11:00:00Z", TOKEN, Err(TokenError::Wrong)),
            (&hash, "2026-09-01T13:00:00Z", "", Err(TokenError::Malformed)),
            (&hash, "2026-09-01T13:00:00Z", &TOKEN[1..], Err(TokenError::Malformed)),
            (&hash, "2026-09-01T13:00:00Z", hash.as_str(), Err(TokenError::Malformed)),
            (&hash, "2026-09-01T13:00:00Z", "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA=", Err(TokenError::Malformed)),
        ] {
            let result = stored(hash.as_str(), expires).unwrap().check(presented, now());
            assert_eq!(result, expected, "{expires} {presented}");
        }
    }

    #[test]
    fn a_damaged_secret_opens_nothing() {
        let hash = Digest::of(TOKEN.as_bytes());
        assert_eq!(stored(hash.hex(), "2026-09-01T13:00:00Z").unwrap_err(), TokenError::Damaged);
        assert_eq!(stored(hash.as_str(), "tomorrow").unwrap_err(), TokenError::Damaged);
        assert_eq!(StoredToken::read(None).unwrap_err(), TokenError::Damaged);
    }
}

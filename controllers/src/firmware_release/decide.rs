//! Whether the bytes of a FirmwareRelease are fetched. Pure.

use super::observe::Observed;

pub(super) struct Decision {
    /// An artifact for which no author vouches is not even fetched.
    pub(super) wants_artifact: bool,
}

pub(super) fn decide(observed: &Observed) -> Decision {
    Decision { wants_artifact: observed.signed.is_ok() }
}
